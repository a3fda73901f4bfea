package helmprovision

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/chart"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// TestAChartThatIsMissingSaysWhyAndWhichVariableToCheck.
func TestAChartThatIsMissingSaysWhyAndWhichVariableToCheck(t *testing.T) {
	t.Parallel()
	repository := func(status int) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		t.Cleanup(s.Close)
		return s.URL
	}
	empty := t.TempDir()
	const elsewhere = "Check KUBEBYON_VCLUSTER_CHART, KUBEBYON_VCLUSTER_CHART_REPO and KUBEBYON_VCLUSTER_CHART_VERSION."
	for name, c := range map[string]struct{ chart, repo, says string }{
		"no such path":     {filepath.Join(empty, "none"), "", "there is nothing at this path. Check KUBEBYON_VCLUSTER_CHART."},
		"no chart":         {empty, "", "what is at this path is no Helm chart. Check KUBEBYON_VCLUSTER_CHART."},
		"a name alone":     {"vclutser", "", "no repository is named to look for it in. Check KUBEBYON_VCLUSTER_CHART."},
		"away":             {"vcluster", "http://127.0.0.1:1", "its repository does not answer. " + elsewhere},
		"refused":          {"vcluster", repository(403), "its repository refuses to give it. " + elsewhere},
		"gone":             {"vcluster", repository(404), "its repository does not have it. " + elsewhere},
		"broken":           {"vcluster", repository(500), "its repository does not give it. " + elsewhere},
		"a registry, away": {"oci://127.0.0.1:1/vcluster", "", "its repository does not answer. " + elsewhere},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conf := bare(t)
			conf.Chart, conf.ChartRepo, conf.ChartVersion, conf.CacheDir = c.chart, c.repo, "0.1.0", t.TempDir()
			p, err := New(conf)
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.shelf.take(t.Context())
			refused(t, err, fault.Unavailable, "chart_unavailable", c.says)
			if f, ok := errors.AsType[*fault.Error](err); !ok || f.Setting != "KUBEBYON_VCLUSTER_CHART" {
				t.Errorf("the setting is %+v", f)
			}
			err = p.CheckFiles(t.Context())
			if isLocal := !strings.Contains(c.says, elsewhere); isLocal != (err != nil) || isLocal && !strings.Contains(err.Error(), c.says) {
				t.Errorf("at the start: %v", err)
			}
		})
	}
}

// mute is a shelf whose repository takes connections and says nothing, until it is
// to answer.
func mute(t *testing.T, timeout time.Duration, answer http.HandlerFunc) (s *shelf, asked *atomic.Int64, speak func()) {
	t.Helper()
	conf := bare(t)
	conf.Chart, conf.ChartVersion, conf.CacheDir, conf.ChartTimeout = "vcluster", "0.1.0", t.TempDir(), timeout
	t.Cleanup(func() {
		if err := waitFor(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.hanging == 0 }); err != nil {
			t.Error("it is still asked")
		}
	})
	asked = &atomic.Int64{}
	speaks, end := make(chan struct{}), make(chan struct{})
	repository := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		select {
		case <-speaks:
			answer(w, r)
		case <-end:
		}
	}))
	t.Cleanup(repository.Close)
	t.Cleanup(func() { close(end) })
	conf.ChartRepo = repository.URL
	s = newShelf(conf)
	return s, asked, func() { close(speaks) }
}

// TestAChartThatDoesNotComeIsToldWithItsVariable, also to those who cannot wait for
// it, and is asked for once for all of them.
func TestAChartThatDoesNotComeIsToldWithItsVariable(t *testing.T) {
	t.Parallel()
	s, asked, _ := mute(t, 3*time.Second, nil)
	gone, leave := context.WithCancel(t.Context())
	leave()
	for range 5 {
		_, err := s.locate(gone)
		refused(t, err, fault.Unavailable, "chart_unavailable", "is being fetched. If that lasts, check KUBEBYON_VCLUSTER_CHART, KUBEBYON_VCLUSTER_CHART_REPO")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("it does not tell whose time was over: %v", err)
		}
	}
	_, err := s.locate(t.Context())
	refused(t, err, fault.Unavailable, "chart_unavailable", "its repository does not answer. Check KUBEBYON_VCLUSTER_CHART, KUBEBYON_VCLUSTER_CHART_REPO")
	if n := asked.Load(); n != 1 {
		t.Errorf("it was asked for %d times", n)
	}
	_, err = s.locate(gone) // while it is tried again
	refused(t, err, fault.Unavailable, "chart_unavailable", "its repository does not answer")
	if f, ok := errors.AsType[*fault.Error](err); !ok || f.Setting != "KUBEBYON_VCLUSTER_CHART" {
		t.Errorf("the setting is %+v", f)
	}
}

// TestAChartThatComesLateIsTaken, and a repository that hangs is not asked for ever
// more.
func TestAChartThatComesLateIsTaken(t *testing.T) {
	t.Parallel()
	const index = "apiVersion: v1\nentries: {vcluster: [{apiVersion: v2, name: vcluster, version: 0.1.0, urls: [vcluster-0.1.0.tgz]}]}\n"
	s, asked, speak := mute(t, 50*time.Millisecond, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "index.yaml") {
			_, _ = w.Write([]byte(index))
			return
		}
		_, _ = w.Write([]byte("a chart"))
	})
	for range 2 * maxHanging {
		_, err := s.locate(t.Context())
		refused(t, err, fault.Unavailable, "chart_unavailable", "its repository does not answer")
	}
	if n := asked.Load(); n > maxHanging {
		t.Errorf("it was asked for %d times", n)
	}
	speak()
	var path string
	if err := waitFor(t, func() bool {
		var err error
		path, err = s.locate(t.Context())
		return err == nil
	}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "a chart" {
		t.Errorf("it took %q, %v", text, err)
	}
}

// strict is a chart that repeats values in every way that Helm's errors do.
func strict() (*chart.Chart, error) {
	return &chart.Chart{
		Metadata: &chart.Metadata{APIVersion: "v2", Name: "vcluster", Version: "0.1.0"},
		Values:   map[string]any{},
		Schema:   []byte(`{"properties": {"pattern": {"pattern": "^[a-z]+$"}, "format": {"format": "ipv4"}, "small": {"maximum": 10}, "kind": {"enum": ["a", "b"]}}}`),
		Templates: []*chart.File{
			{Name: "templates/a.yaml", Data: []byte(`{{ with .Values.failing }}{{ fail (printf "cannot use %s and %q" . .) }}{{ end }}`)},
			{Name: "templates/b.yaml", Data: []byte(`{{ with .Values.number }}{{ .wrong.type }}{{ end }}`)},
			{Name: "templates/c.yaml", Data: []byte(`{{ with .Values.yaml }}{{ fail (fromYaml . | toString) }}{{ end }}`)},
		},
	}, nil
}

// TestARefusalNamesTheVariableAndTheRuleButNoValue of the operator's file.
func TestARefusalNamesTheVariableAndTheRuleButNoValue(t *testing.T) {
	t.Parallel()
	const hush = `Hunter2's "own" pass`
	for name, c := range map[string]struct {
		file map[string]any
		says string
	}{
		"a pattern":    {map[string]any{"pattern": hush}, "at '/pattern': the value does not match pattern"},
		"a format":     {map[string]any{"format": hush}, ""},
		"a number":     {map[string]any{"small": 20020.5}, "at '/small': maximum: got …, want 10"},
		"a word":       {map[string]any{"kind": hush}, "at '/kind': value must be one of"},
		"a template":   {map[string]any{"failing": hush}, "cannot use … and"},
		"lines":        {map[string]any{"failing": "first line\nHunter2's own pass\n"}, "cannot use"},
		"a wrong type": {map[string]any{"number": hush}, "templates/b.yaml"},
		"text as YAML": {map[string]any{"yaml": "a: [" + hush}, ""},
	} {
		conf := bare(t)
		conf.ValuesFile = "/etc/values.yaml"
		a := access{Host: "a.example", Port: 443}
		tried := conf.try(strict, c.file, demo(), a)
		if tried == nil {
			if c.says != "" {
				t.Errorf("%s: it is accepted", name)
			}
			continue
		}
		err := conf.blame(tried, strict, c.file, demo(), a)
		refused(t, err, fault.Invalid, "chart_refuses", c.says)
		refused(t, err, fault.Invalid, "chart_refuses", "Check /etc/values.yaml (KUBEBYON_VCLUSTER_VALUES_FILE).")
		if strings.Contains(err.Error(), "Hunter2") || strings.Contains(err.Error(), "own") || strings.Contains(err.Error(), "20") {
			t.Errorf("%s: it repeats a value: %v", name, err)
		}
	}
}

// TestAChartThatRefusesKubeBYONsValuesIsToBlame, whatever the operator's are.
func TestAChartThatRefusesKubeBYONsValuesIsToBlame(t *testing.T) {
	t.Parallel()
	other := func() (*chart.Chart, error) {
		return &chart.Chart{Metadata: &chart.Metadata{APIVersion: "v2", Name: "other", Version: "0.1.0"}, Schema: []byte(`{"additionalProperties": false, "properties": {"fine": {}}}`)}, nil
	}
	for _, file := range []map[string]any{{}, {"fine": true}} {
		conf := bare(t)
		a := access{Host: "a.example", Port: 443}
		err := conf.blame(conf.try(other, file, demo(), a), other, file, demo(), a)
		refused(t, err, fault.Invalid, "chart_refuses", "Check KUBEBYON_VCLUSTER_CHART.")
	}
}

// TestTheChartIsTriedBeforeAnybodyAsks for a control plane, and again when the file
// of values has been mended.
func TestTheChartIsTriedBeforeAnybodyAsks(t *testing.T) {
	t.Parallel()
	conf := bare(t)
	conf.Chart, conf.ValuesFile = fixture, valuesFile(t, "controlPlane: {statefulSett: {password: hunter2}}")
	p, err := New(conf)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // what was wrong is not taken for right the second time
		err = p.rehearse(t.Context())
		refused(t, err, fault.Invalid, "chart_refuses", "statefulSett")
		if f, ok := errors.AsType[*fault.Error](err); !ok || f.Setting != "KUBEBYON_VCLUSTER_VALUES_FILE" || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v", err)
		}
	}
	writeFile(t, conf.ValuesFile, "controlPlane: {statefulSet: {}}")
	if err := p.rehearse(t.Context()); err != nil {
		t.Errorf("once it is mended: %v", err)
	}
	writeFile(t, conf.ValuesFile, "controlPlane: {statefulSett: {}}")
	refused(t, p.rehearse(t.Context()), fault.Invalid, "chart_refuses", "statefulSett")
	if err := os.Remove(conf.ValuesFile); err != nil {
		t.Fatal(err)
	}
	refused(t, p.rehearse(t.Context()), fault.Unavailable, "values_file_wrong", "KUBEBYON_VCLUSTER_VALUES_FILE")
}

// TestAComplaintLosesItsValue also where it is too short to be looked for.
func TestAComplaintLosesItsValue(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		`- at '/a': 'it\'s x' does not match pattern '^y$'`:          `- at '/a': the value does not match pattern '^y$'`,
		`- at '/a': 'x' is not valid ipv4: unable to parse "x"`:      `- at '/a': the value is not valid ipv4`,
		"- at '/a': 7 is not valid date: x\n- at '/b': 'not' failed": "- at '/a': the value is not valid date\n- at '/b': 'not' failed",
		`- at '/a': exclusiveMinimum: got 12,345.5, want 20,000`:     `- at '/a': exclusiveMinimum: got …, want 20,000`,
		`- at '/a': minLength: got 5, want 8`:                        `- at '/a': minLength: got 5, want 8`,
		`- at '/a': got string, want object`:                         `- at '/a': got string, want object`,
		`- at '/a': additional properties 'b', 'c' not allowed`:      `- at '/a': additional properties 'b', 'c' not allowed`,
	} {
		if got := withoutValues(said, nil); got != want {
			t.Errorf("%s\nbecomes %s\nwant    %s", said, got, want)
		}
	}
}

package helmprovision

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"helm.sh/helm/v3/pkg/chart"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// The variables that an operator has to look at when kubeconfig, chart or values are
// wrong.
const (
	kubeconfigVariable = "KUBEBYON_KUBECONFIG_PATH"
	chartVariable      = "KUBEBYON_VCLUSTER_CHART"
	valuesVariable     = "KUBEBYON_VCLUSTER_VALUES_FILE"
)

// missing is a chart that cannot be used. Helm's own words are for the log.
func (s *shelf) missing(err error) error {
	f := fault.Unavailable.New("chart_unavailable", "The vCluster chart %s could not be read: %s. Check %s.", s.name(), s.whyMissing(err), s.variables())
	return f.At(chartVariable).Because(errors.New(withoutUser(err.Error())))
}

// coming is a chart that somebody could not wait for.
func (s *shelf) coming(err error) error {
	f := fault.Unavailable.New("chart_unavailable", "The vCluster chart %s is being fetched. If that lasts, check %s.", s.name(), s.variables())
	return f.At(chartVariable).Because(err)
}

// variables are those that say where the chart is.
func (s *shelf) variables() string {
	if s.isLocal() {
		return chartVariable
	}
	return chartVariable + ", " + chartVariable + "_REPO and " + chartVariable + "_VERSION"
}

var (
	refuses = regexp.MustCompile(`(?i)\b(401|403|unauthorized|forbidden|denied)\b`) //nolint:gochecknoglobals // a constant
	lacks   = regexp.MustCompile(`(?i)\b(404|not found)\b`)                         //nolint:gochecknoglobals // a constant
)

func (s *shelf) whyMissing(err error) string {
	if s.isPath() {
		if errors.Is(err, fs.ErrNotExist) {
			return "there is nothing at this path"
		}
		if errors.Is(err, fs.ErrPermission) {
			return "KubeBYON may not read what is at this path"
		}
		return "what is at this path is no Helm chart"
	}
	if s.isLocal() {
		return "there is no such path, and no repository is named to look for it in"
	}
	said := err.Error()
	if _, ok := errors.AsType[net.Error](err); ok {
		return "its repository does not answer"
	}
	switch {
	case refuses.MatchString(said):
		return "its repository refuses to give it"
	case lacks.MatchString(said):
		return "its repository does not have it"
	}
	return "its repository does not give it"
}

// isLocal reports whether nobody elsewhere is asked for the chart.
func (s *shelf) isLocal() bool {
	return s.isPath() || s.config.ChartRepo == "" && !strings.Contains(s.config.Chart, "://")
}

// refusal is what a chart says against its values, in Helm's words, which may
// repeat them.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// try has the chart judge what want is to be installed with.
func (c Config) try(load func() (*chart.Chart, error), file map[string]any, w provision.Want, a access) error {
	ch, err := load()
	if err != nil {
		return err
	}
	plan, err := c.plan(ch, file, w, a)
	if err != nil {
		return err
	}
	if ch, err = load(); err != nil {
		return err
	}
	return check(ch, w.Name, plan.values)
}

// blame puts a refusal into words without the operator's values, and names the
// variable to look at: that of the file of values, unless the chart refuses
// KubeBYON's own as well.
func (c Config) blame(err error, load func() (*chart.Chart, error), file map[string]any, w provision.Want, a access) error {
	said, ok := errors.AsType[refusal](err)
	if !ok {
		return err
	}
	at, where := chartVariable, chartVariable
	if len(file) > 0 && c.try(load, map[string]any{}, w, a) == nil {
		at, where = valuesVariable, fmt.Sprintf("%s (%s)", c.ValuesFile, valuesVariable)
	}
	told := clause(withoutValues(said.Error(), file))
	return fault.Invalid.New("chart_refuses", "The vCluster chart refuses its values: %s. Check %s.", told, where).At(at)
}

// repeated are the places where a schema's complaint repeats a value. The rule that
// it breaks stays.
var repeated = []struct { //nolint:gochecknoglobals // a constant table
	where *regexp.Regexp
	stays string
}{
	{regexp.MustCompile(`'(?:[^'\\]|\\.)*' does not match pattern`), "the value does not match pattern"},
	{regexp.MustCompile(`(at '[^']*': ).* is not valid ([a-z0-9-]+): .*`), "${1}the value is not valid $2"},
	{regexp.MustCompile(`((?i:minimum|maximum|multipleOf): got )[^\s]+, want`), "$1…, want"},
}

// distinctive is how long a value is that stands for itself wherever it is found.
// A shorter one may be a part of any word, and is looked for in quotation marks.
const distinctive = 8

// withoutValues takes from Helm's words what they repeat of the operator's values.
func withoutValues(said string, file map[string]any) string {
	for _, r := range repeated {
		said = r.where.ReplaceAllString(said, r.stays)
	}
	for _, v := range leaves(file) {
		if len(v) >= distinctive {
			said = strings.ReplaceAll(said, v, "…")
			continue
		}
		said = strings.ReplaceAll(strings.ReplaceAll(said, "'"+v+"'", "'…'"), `"`+v+`"`, `"…"`)
	}
	return said
}

// leaves are the texts and numbers of values, and each line of those, as they are
// and as Go quotes them; longest first.
func leaves(values any) (all []string) {
	add := func(text string) {
		q := strconv.Quote(text)
		for _, form := range []string{text, q[1 : len(q)-1]} {
			all = append(all, form, strings.NewReplacer(`\"`, `"`, `'`, `\'`).Replace(form))
		}
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, below := range v {
				walk(below)
			}
		case []any:
			for _, below := range v {
				walk(below)
			}
		case string:
			for line := range strings.Lines(v) {
				add(strings.TrimSpace(line))
			}
			add(v)
		case float64:
			add(strconv.FormatFloat(v, 'f', -1, 64))
		}
	}
	walk(values)
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	return slices.DeleteFunc(slices.Compact(all), func(s string) bool { return s == "" })
}

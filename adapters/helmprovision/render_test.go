package helmprovision

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// rendered is what the chart makes of a want.
type rendered struct {
	values   map[string]any // as the control plane reads them
	service  corev1.Service
	set      appsv1.StatefulSet
	deployed appsv1.Deployment
	ingress  networkingv1.Ingress
	hash     string
}

// chartUnderTest is the stand-in, or what the environment names: the values are
// tried with the official chart so.
func chartUnderTest(t testing.TB) *chart.Chart {
	t.Helper()
	path := os.Getenv("KUBEBYON_TEST_CHART")
	if path == "" {
		path = fixture
	}
	c, err := loader.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func render(t testing.TB, c Config, file string, w provision.Want, a access) rendered {
	t.Helper()
	values := map[string]any{}
	if err := yaml.Unmarshal([]byte(file), &values); err != nil {
		t.Fatal(err)
	}
	plan, err := c.plan(chartUnderTest(t), values, w, a)
	if err != nil {
		t.Fatal(err)
	}
	if err := check(chartUnderTest(t), w.Name, plan.values); err != nil {
		t.Fatal(err)
	}
	op := action.NewInstall(&action.Configuration{Log: t.Logf})
	op.ClientOnly, op.DryRun, op.ReleaseName, op.Namespace = true, true, w.Name, w.Name
	release, err := op.Run(chartUnderTest(t), plan.values)
	if err != nil {
		t.Fatal(err)
	}
	out := rendered{hash: plan.hash}
	for doc := range strings.SplitSeq(release.Manifest, "\n---\n") {
		var head struct {
			Kind     string
			Metadata struct{ Name string }
		}
		into := map[string]any{
			"Service/" + w.Name: &out.service, "StatefulSet/" + w.Name: &out.set, "Deployment/" + w.Name: &out.deployed, "Ingress/" + w.Name: &out.ingress,
		}
		read(t, doc, &head)
		if o := into[head.Kind+"/"+head.Metadata.Name]; o != nil {
			read(t, doc, o)
		}
		if head.Kind == "Secret" && head.Metadata.Name == "vc-config-"+w.Name {
			var s corev1.Secret
			read(t, doc, &s)
			read(t, string(s.Data["config.yaml"]), &out.values)
		}
	}
	return out
}

func read(t testing.TB, text string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}

func bare(t testing.TB) Config {
	t.Helper()
	c, err := Config{Log: slog.New(slog.DiscardHandler), Now: time.Now}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func demo() provision.Want {
	return provision.Want{
		ID: newID(), Name: "demo", KubernetesVersion: "v1.35.0", Host: "203.0.113.10", FormerHosts: []string{"old.example.com"},
		CPURequestMilli: 100, MemoryRequestMiB: 512, Public: true, PublicMode: provision.NodePort,
	}
}

func TestTheChartGetsAllThatIsWanted(t *testing.T) {
	t.Parallel()
	c := bare(t)
	c.LicenceSecret = "platform/vcluster-licence"
	got := render(t, c, "", demo(), access{Host: "203.0.113.10", Port: 30443, NodePort: 30443, Near: []string{"192.0.2.7"}})
	for path, want := range map[string]any{
		"controlPlane.distro.k8s.version":                          "v1.35.0",
		"controlPlane.statefulSet.resources.requests.cpu":          "100m",
		"controlPlane.statefulSet.resources.requests.memory":       "512Mi",
		"controlPlane.statefulSet.resources.limits.memory":         "4Gi",
		"controlPlane.service.spec.type":                           "NodePort",
		"controlPlane.service.httpsNodePort":                       float64(30443),
		"controlPlane.ingress.enabled":                             false,
		"controlPlane.endpoint":                                    "203.0.113.10:30443",
		"exportKubeConfig.server":                                  "https://203.0.113.10:30443",
		"privateNodes.enabled":                                     true,
		"platform.apiKey.secretName":                               "vcluster-licence",
		"platform.apiKey.namespace":                                "platform",
		"telemetry.enabled":                                        false,
		"controlPlane.statefulSet.annotations.kubebyon\x00io/hash": got.hash,
	} {
		names := strings.Split(path, ".")
		for i := range names {
			names[i] = strings.ReplaceAll(names[i], "\x00", ".")
		}
		if v := setting(got.values, names...); v != want {
			t.Errorf("%s is %v, want %v", path, v, want)
		}
	}
	sans := []any{"203.0.113.10", "old.example.com", "192.0.2.7", "demo.demo", "demo.demo.svc"}
	if diff := cmp.Diff(sans, setting(got.values, "controlPlane", "proxy", "extraSANs")); diff != "" {
		t.Errorf("names in the certificate (-want +got):\n%s", diff)
	}
	if s := got.service; s.Spec.Type != corev1.ServiceTypeNodePort || nodePortOf(&s) != 30443 {
		t.Errorf("the Service is %+v", s.Spec)
	}
	if pod := got.set.Spec.Template; got.set.Annotations[noteHash] != got.hash || pod.Annotations[noteHash] != got.hash || pod.Labels["app"] != "vcluster" || pod.Labels["release"] != "demo" {
		t.Errorf("workload and pods are not marked with %s: %v, %v", got.hash, got.set.Annotations, pod.ObjectMeta)
	}
	if requests := got.set.Spec.Template.Spec.Containers[0].Resources.Requests; requests.Cpu().String() != "100m" || requests.Memory().String() != "512Mi" {
		t.Errorf("requests are %v", requests)
	}
}

func TestTheMemoryLimitIsRaisedWhenTheRequestPassesIt(t *testing.T) {
	t.Parallel()
	for _, step := range []struct {
		file  string
		asked int64
		want  string
	}{
		{"", 4096, "4Gi"},
		{"", 4097, "4097Mi"},
		{"", 8192, "8Gi"},
		{"controlPlane: {statefulSet: {resources: {limits: {memory: 1Gi}}}}", 1000, "1Gi"},
		{"controlPlane: {statefulSet: {resources: {limits: {memory: 1Gi}}}}", 1025, "1025Mi"},
	} {
		w := demo()
		w.MemoryRequestMiB = step.asked
		got := render(t, bare(t), step.file, w, access{Host: "a.example", Port: 443})
		if limit := got.set.Spec.Template.Spec.Containers[0].Resources.Limits.Memory().String(); limit != step.want {
			t.Errorf("%q and a request of %d MiB: the limit is %s, want %s", step.file, step.asked, limit, step.want)
		}
	}
}

func TestEachWayToPublishIsTheCharts(t *testing.T) {
	t.Parallel()
	for _, step := range []struct {
		public bool
		mode   provision.AccessMode
		a      access
		kind   corev1.ServiceType
		server string
		rule   string
	}{
		{true, provision.NodePort, access{Host: "203.0.113.10", Port: 30500, NodePort: 30500}, "NodePort", "https://203.0.113.10:30500", ""},
		{true, provision.LoadBalancer, access{Host: "api.example.com", Port: 443, NodePort: 30500}, "LoadBalancer", "https://api.example.com:443", ""},
		{true, provision.Ingress, access{Host: "api.example.com", Port: 443}, "ClusterIP", "https://api.example.com:443", "api.example.com"},
		{false, provision.Ingress, access{Host: "demo.demo.svc", Port: 443}, "ClusterIP", "https://demo.demo.svc:443", ""},
	} {
		w := demo()
		w.Public, w.PublicMode, w.Host = step.public, step.mode, step.a.Host
		got := render(t, bare(t), "", w, step.a)
		if server := setting(got.values, "exportKubeConfig", "server"); server != step.server {
			t.Errorf("%s: the kubeconfig's server is %v", step.mode, server)
		}
		if "https://"+settingText(got.values, "controlPlane", "endpoint") != step.server {
			t.Errorf("%s: the endpoint is %v", step.mode, setting(got.values, "controlPlane", "endpoint"))
		}
		rule := ""
		if len(got.ingress.Spec.Rules) > 0 {
			rule = got.ingress.Spec.Rules[0].Host
		}
		if got.service.Spec.Type != step.kind || nodePortOf(&got.service) != step.a.NodePort || rule != step.rule {
			t.Errorf("%s: Service %s, node port %d, Ingress for %q", step.mode, got.service.Spec.Type, nodePortOf(&got.service), rule)
		}
	}
}

func TestTheOperatorsValuesAreUnderKubeBYONs(t *testing.T) {
	t.Parallel()
	c := bare(t)
	c.SharedNodes = true
	got := render(t, c, `
controlPlane:
  proxy: {extraSANs: [operator.example.com, 203.0.113.10]}
  distro: {k8s: {version: v1.30.0}}
  statefulSet:
    pods: {annotations: {team: a}}
    scheduling: {nodeSelector: {disk: fast}}
telemetry: {enabled: true}
`, demo(), access{Host: "203.0.113.10", Port: 443})
	if v := setting(got.values, "controlPlane", "distro", "k8s", "version"); v != "v1.35.0" {
		t.Errorf("the operator's version won: %v", v)
	}
	if setting(got.values, "telemetry", "enabled") != false || settingText(got.values, "controlPlane", "endpoint") != "" || setting(got.values, "privateNodes", "enabled") == true {
		t.Error("telemetry is on, or there is an endpoint without nodes that need it")
	}
	pod := got.set.Spec.Template
	if pod.Annotations["team"] != "a" || pod.Spec.NodeSelector["disk"] != "fast" {
		t.Errorf("the operator's values are lost: %v, %v", pod.Annotations, pod.Spec.NodeSelector)
	}
	sans := []any{"operator.example.com", "203.0.113.10", "old.example.com", "demo.demo", "demo.demo.svc"}
	if diff := cmp.Diff(sans, setting(got.values, "controlPlane", "proxy", "extraSANs")); diff != "" {
		t.Errorf("names in the certificate (-want +got):\n%s", diff)
	}
}

func TestADeployedEtcdMakesADeploymentWithTheSameMarks(t *testing.T) {
	t.Parallel()
	got := render(t, bare(t), "controlPlane: {backingStore: {etcd: {deploy: {enabled: true}}}}", demo(), access{Host: "a.example", Port: 443})
	pod := got.deployed.Spec.Template
	if got.set.Name != "" || got.deployed.Annotations[noteHash] != got.hash || pod.Annotations[noteHash] != got.hash {
		t.Errorf("the workload is not a marked Deployment: %v, %v", got.deployed.ObjectMeta, pod.ObjectMeta)
	}
}

func TestOnlyAChangeChangesTheHash(t *testing.T) {
	t.Parallel()
	a := access{Host: "203.0.113.10", Port: 30443, NodePort: 30443}
	first := render(t, bare(t), "", demo(), a)
	if again := render(t, bare(t), "", demo(), a); again.hash != first.hash {
		t.Error("the same want has another hash")
	}
	for name, change := range map[string]func(*provision.Want, *access){
		"memory":  func(w *provision.Want, _ *access) { w.MemoryRequestMiB++ },
		"version": func(w *provision.Want, _ *access) { w.KubernetesVersion = "v1.36.0" },
		"host":    func(_ *provision.Want, a *access) { a.Host = "b.example" },
		"former":  func(w *provision.Want, _ *access) { w.FormerHosts = nil },
	} {
		w, a := demo(), a
		change(&w, &a)
		if render(t, bare(t), "", w, a).hash == first.hash {
			t.Errorf("%s: another want has the same hash", name)
		}
	}
}

func TestValuesThatTheSchemaRefusesAreInvalidAndNotRepeated(t *testing.T) {
	t.Parallel()
	for file, says := range map[string]string{
		"controlPlane: {statefulSett: {password: hunter2}}": "statefulSett",
		"rbac: [hunter2]": "rbac",
		"controlPlane: {statefulSet: {highAvailability: {replicas: x}}}": "replicas",
	} {
		values := map[string]any{}
		read(t, file, &values)
		c := bare(t)
		c.ValuesFile = "values.yaml"
		load := func() (*chart.Chart, error) { return chartUnderTest(t), nil }
		err := c.blame(c.try(load, values, demo(), access{Host: "a.example", Port: 443}), load, values, demo(), access{Host: "a.example", Port: 443})
		if e, ok := errors.AsType[*fault.Error](err); !ok || e.Kind != fault.Invalid || e.Code != "chart_refuses" || !strings.Contains(e.Msg, says) || !strings.HasSuffix(e.Msg, ".") {
			t.Errorf("%s: %v", file, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error repeats a value: %v", file, err)
		}
	}
}

func TestAnIngressNeedsANameOfItsOwn(t *testing.T) {
	t.Parallel()
	for host, ok := range map[string]bool{"": false, "203.0.113.10": false, "2001:db8::1": false, "api.example.com": true} {
		w := demo()
		w.Host, w.PublicMode = host, provision.Ingress
		err := checkAccess(w)
		if (err == nil) != ok || !ok && (!errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "control_plane_host")) {
			t.Errorf("host %q: %v", host, err)
		}
	}
}

func TestTheChartIsFoundOrMissedByName(t *testing.T) {
	t.Parallel()
	c := bare(t)
	c.Chart, c.ChartRepo, c.ChartVersion, c.CacheDir = "vcluster", "https://user:hunter2@127.0.0.1:1/charts", "0.36.1", filepath.Join(t.TempDir(), "cache")
	_, err := newShelf(c).take(t.Context())
	if fault.CodeOf(err) != "chart_unavailable" || !strings.Contains(err.Error(), "vcluster 0.36.1 of 127.0.0.1:1") {
		t.Errorf("a repository that is away: %v", err)
	}
	if e, ok := errors.AsType[*fault.Error](err); ok && strings.Contains(e.Msg, "hunter2") {
		t.Errorf("the error tells the password: %v", err)
	}
	c.Chart = filepath.Join(t.TempDir(), "nowhere")
	if _, err := newShelf(c).take(t.Context()); fault.CodeOf(err) != "chart_unavailable" || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a path that leads nowhere: %v", err)
	}
}

func TestAFileOfValuesThatIsWrongIsNamedAndNotQuoted(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"a: b\npassword: [hunter2": "is no YAML: see line 2", "password: *hunter2": "is no YAML", "- hunter2": "must hold a YAML object", "hunter2": "must hold a YAML object",
	} {
		file := valuesFile(t, text)
		_, err := readValues(file)
		refused(t, err, fault.Unavailable, "values_file_wrong", file+" (KUBEBYON_VCLUSTER_VALUES_FILE), "+says)
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := readValues(filepath.Join(t.TempDir(), "none")); fault.CodeOf(err) != "values_file_wrong" {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestAValueOfAWrongTypeIsNamedAndNotReplaced by KubeBYON's own.
func TestAValueOfAWrongTypeIsNamedAndNotReplaced(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"privateNodes: hunter2":                                            "privateNodes must be an object",
		"privateNodes: {enabled: hunter2}":                                 "privateNodes.enabled must be true or false",
		"controlPlane: [hunter2]":                                          "controlPlane must be an object",
		"controlPlane: {statefulSet: {resources: {requests: hunter2}}}":    "controlPlane.statefulSet.resources.requests must be an object",
		"controlPlane: {statefulSet: {pods: {annotations: hunter2}}}":      "controlPlane.statefulSet.pods.annotations must be an object",
		"controlPlane: {service: {httpsNodePort: hunter2}}":                "controlPlane.service.httpsNodePort must be a number",
		"controlPlane: {proxy: {extraSANs: hunter2}}":                      "controlPlane.proxy.extraSANs must be a list",
		"controlPlane: {distro: {k8s: {version: {a: hunter2}}}}":           "controlPlane.distro.k8s.version must be a text",
		"controlPlane: {endpoint: [hunter2]}":                              "controlPlane.endpoint must be a text",
		"{privateNodes: , controlPlane: {distro: {k8s: {version: 1.35}}}}": "",
	} {
		conf := bare(t)
		conf.ValuesFile = valuesFile(t, text)
		file, err := readValues(conf.ValuesFile)
		if err != nil {
			t.Fatal(err)
		}
		load := func() (*chart.Chart, error) { return chartUnderTest(t), nil }
		a := access{Host: "203.0.113.10", Port: 30443}
		err = conf.blame(conf.try(load, file, demo(), a), load, file, demo(), a)
		if says == "" {
			if err != nil {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		refused(t, err, fault.Unavailable, "values_file_wrong", conf.ValuesFile+" (KUBEBYON_VCLUSTER_VALUES_FILE), is wrong: "+says)
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("it repeats a value: %v", err)
		}
	}
}

func TestHostsAreRememberedOnceTheLastOnesLongest(t *testing.T) {
	t.Parallel()
	var hosts []string
	for i := range 40 {
		hosts = remember(hosts, string(rune('a'+i%20)))
	}
	if len(hosts) != maxHosts || hosts[maxHosts-1] != "t" || slices.Contains(hosts, "a") {
		t.Errorf("got %v", hosts)
	}
}

// TestNoErrorRepeatsARepositorysPassword, though Helm's do.
func TestNoErrorRepeatsARepositorysPassword(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{
		"refused":      "https://somebody:hunter2@127.0.0.1:1/charts",
		"no scheme":    "nothing://somebody:hunter2@127.0.0.1:1/charts",
		"an @ in it":   "https://somebody:hun@ter2@127.0.0.1:1/charts",
		"only a token": "https://hunter2@127.0.0.1:1/charts",
	} {
		for _, inChart := range []bool{false, true} {
			c := bare(t)
			c.Chart, c.ChartRepo, c.ChartVersion, c.CacheDir = "vcluster", address, "1.0.0", t.TempDir()
			if inChart {
				c.Chart, c.ChartRepo = address+"/vcluster-1.0.0.tgz", ""
			}
			_, err := newShelf(c).take(t.Context())
			refused(t, err, fault.Unavailable, "chart_unavailable", "could not be read")
			for ; err != nil; err = errors.Unwrap(err) {
				if said := err.Error(); strings.Contains(said, "hunter2") || strings.Contains(said, "ter2") {
					t.Errorf("%s: the error repeats the password: %v", name, err)
				}
			}
		}
	}
}

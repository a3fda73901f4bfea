// Package deploy_test holds what KubeBYON is deployed with to its word: every
// object that the chart makes is taken by a real API server, the rights it gives
// are enough for tenants and reach nothing else, and image and compose file name
// what this repository builds.
package deploy_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	corev1 "k8s.io/api/core/v1"
)

const (
	chartPath   = "chart/kubebyon"
	ourRelease  = "kb"
	ourHome     = "kubebyon-system"
	ourFullName = "kb-kubebyon"
)

// existing is what somebody installs who keeps secrets elsewhere.
const existing = `
secrets:
  databaseUrl: {existingSecret: kubebyon}
  amqpUrl: {existingSecret: kubebyon}
  secretKey: {existingSecret: kubebyon}
`

// inline gives the secrets as values.
const inline = `
secrets:
  databaseUrl: {value: "postgres://kb:database-pw@db/kb"}
  amqpUrl: {value: "amqp://kb:broker-pw@mq/"}
  secretKey: {value: "key-of-32-bytes"}
  adminPassword: {value: "first-pw"}
`

const everything = existing + `
  adminPassword: {existingSecret: admin, key: pw}
adminEmail: root@example.com
commonLabels: {team: platform}
image: {tag: v1.2.3, pullSecrets: [registry]}
config:
  publicBaseUrl: https://kubebyon.example.com
  joinBaseUrl: https://join.example.com
  corsAllowedOrigins: [https://console.example.com, https://other.example.com]
  trustedProxyCidrs: [10.0.0.0/8]
  otlpEndpoint: http://otel:4317
  extra: {KUBEBYON_MAX_CONNECTIONS: 8192}
vcluster:
  chart: oci://registry.example.com/vcluster
  chartVersion: 0.36.1
  values: {controlPlane: {backingStore: {etcd: {deploy: {enabled: true}}}}}
  licenceSecret: licences/vcluster
  sharedNodes: true
  kubernetesVersions: [v1.36.3, v1.35.7]
serviceAccount: {annotations: {example.com/role: kubebyon}}
rbac:
  extraRules: [{apiGroups: [storage.k8s.io], resources: [storageclasses], verbs: [get]}]
server: &component
  digest: sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
  autoscaling: {enabled: true}
  podAnnotations: {example.com/a: b}
  podLabels: {example.com/c: d}
  nodeSelector: {kubernetes.io/os: linux}
  tolerations: [{key: infra, operator: Exists}]
  affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}
  priorityClassName: system-cluster-critical
  extraVolumes: [{name: ca, configMap: {name: ca}}]
  extraVolumeMounts: [{name: ca, mountPath: /etc/ssl/certs}]
worker: *component
service: {type: NodePort, nodePort: 31999, annotations: {example.com/lb: internal}}
ingress: {enabled: true, className: nginx, host: kubebyon.example.com, tlsSecret: tls, annotations: {example.com/x: "1"}}
metrics: {serviceMonitor: {enabled: true, labels: {release: prometheus}}}
networkPolicy:
  apiFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress}}}]
  metricsFrom: [{namespaceSelector: {}}]
  egress: {restrict: true, rules: [{ports: [{port: 5432}]}]}
`

// worlds are the values that the chart is rendered with.
func worlds() map[string]string {
	return map[string]string{
		"existing secrets":      existing,
		"secrets as values":     inline,
		"everything":            everything,
		"no workers":            existing + "worker: {enabled: false}",
		"a host elsewhere":      existing + "hostCluster: {existingKubeconfigSecret: host}",
		"rights everywhere":     existing + "rbac: {admissionPolicy: false}",
		"accounts of their own": existing + "serviceAccount: {create: false, serverName: s, workerName: w}",
		"as little as possible": existing + `
rbac: {create: false}
metrics: {enabled: false}
networkPolicy: {enabled: false}
server: {podDisruptionBudget: {enabled: false}}
worker: {podDisruptionBudget: {enabled: false}, topologySpread: false}
`,
	}
}

func values(t *testing.T, text string) map[string]any {
	t.Helper()
	out := map[string]any{}
	if err := sigsyaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// render is helm template.
func render(t *testing.T, text string) ([]unstructured.Unstructured, error) {
	t.Helper()
	c, err := loader.Load(chartPath)
	if err != nil {
		t.Fatal(err)
	}
	install := action.NewInstall(&action.Configuration{Log: func(string, ...any) {}})
	install.ClientOnly, install.DryRun, install.IncludeCRDs = true, true, true
	install.ReleaseName, install.Namespace = ourRelease, ourHome
	install.KubeVersion = &chartutil.KubeVersion{Version: "v1.36.3", Major: "1", Minor: "36"}
	release, err := install.Run(c, values(t, text))
	if err != nil {
		return nil, err
	}
	all := release.Manifest
	for _, hook := range release.Hooks {
		all += "\n---\n" + hook.Manifest
	}
	return objects(all)
}

func objects(manifest string) (out []unstructured.Unstructured, err error) {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewBufferString(manifest), 4096)
	for {
		var object map[string]any
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(object) > 0 {
			out = append(out, unstructured.Unstructured{Object: object})
		}
	}
}

func mustRender(t *testing.T, text string) []unstructured.Unstructured {
	t.Helper()
	out, err := render(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func title(u unstructured.Unstructured) string { return u.GetKind() + " " + u.GetName() }

func find(t *testing.T, all []unstructured.Unstructured, want string) unstructured.Unstructured {
	t.Helper()
	for _, u := range all {
		if title(u) == want {
			return u
		}
	}
	t.Fatalf("there is no %s", want)
	return unstructured.Unstructured{}
}

// pods returns the pod of each Deployment, by component.
func pods(t *testing.T, all []unstructured.Unstructured) map[string]corev1.PodTemplateSpec {
	t.Helper()
	out := map[string]corev1.PodTemplateSpec{}
	for _, u := range all {
		if u.GetKind() != "Deployment" {
			continue
		}
		template, _, _ := unstructured.NestedMap(u.Object, "spec", "template")
		text, _ := json.Marshal(template)
		var pod corev1.PodTemplateSpec
		if err := json.Unmarshal(text, &pod); err != nil {
			t.Fatal(err)
		}
		out[u.GetLabels()["app.kubernetes.io/component"]] = pod
	}
	if len(out) == 0 {
		t.Fatal("no Deployment was rendered")
	}
	return out
}

func TestAMissingSecretIsNamed(t *testing.T) {
	t.Parallel()
	for missing, text := range map[string]string{
		"secrets.databaseUrl.existingSecret": "",
		"secrets.amqpUrl.existingSecret":     "secrets: {databaseUrl: {value: a}, secretKey: {value: b}}",
		"secrets.secretKey.existingSecret":   "secrets: {databaseUrl: {value: a}, amqpUrl: {value: b}}",
	} {
		if _, err := render(t, text); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("got %v, want the advice to set %s", err, missing)
		}
	}
	if _, err := render(t, "{worker: {enabled: false}, secrets: {databaseUrl: {value: a}, secretKey: {value: b}}}"); err != nil {
		t.Errorf("without workers nobody needs a broker: %v", err)
	}
}

func TestAnUnknownValueIsRefused(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{
		"replicas: 3",
		"server: {replica: 3}",
		"worker: {autoscaling: {enable: true}}",
		"config: {publicBaseUrl: kubebyon.example.com}",
		"config: {logLevel: loud}",
		"config: {extra: {PATH: /bin}}",
		"config: {trustedProxyCidrs: [10.0.0.1]}",
		"rbac: {extraRules: [{resources: [pods]}]}",
		"  adminPassword: {file: pw}",
		"image: {pullPolicy: Sometimes}",
		"server: {digest: sha256:short}",
		"service: {port: 0}",
		"networkPolicy: {egress: {rules: none}}",
	} {
		if _, err := render(t, existing+wrong); err == nil || !strings.Contains(err.Error(), "schema") {
			t.Errorf("%s: got %v, want the schema's refusal", wrong, err)
		}
	}
}

// TestSecretsReachThePodsAsFilesOnly: a variable shows in the object, in
// describe and in every child process.
func TestSecretsReachThePodsAsFilesOnly(t *testing.T) {
	t.Parallel()
	all := mustRender(t, inline+"vcluster: {values: {registry: {password: registry-pw}}}")
	for _, u := range all {
		text, _ := json.Marshal(u.Object)
		for _, password := range []string{"database-pw", "broker-pw", "key-of-32-bytes", "first-pw", "registry-pw"} {
			if bytes.Contains(text, []byte(password)) {
				t.Errorf("%s shows %s", title(u), password)
			}
		}
	}
	for component, pod := range pods(t, all) {
		for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
			for _, v := range c.Env {
				if v.ValueFrom != nil && v.ValueFrom.SecretKeyRef != nil {
					t.Errorf("%s, %s: %s is a secret in a variable", component, c.Name, v.Name)
				}
			}
			for _, from := range c.EnvFrom {
				if from.SecretRef != nil {
					t.Errorf("%s, %s: all of a Secret as variables", component, c.Name)
				}
			}
		}
		for _, v := range pod.Spec.Containers[0].Env {
			if file, ok := strings.CutSuffix(v.Name, "_FILE"); ok && !slices.Contains(files(pod, "secrets"), filepath.Base(v.Value)) {
				t.Errorf("%s: %s names %s, which is not mounted", component, file, v.Value)
			}
		}
	}
}

func files(pod corev1.PodTemplateSpec, volume string) (out []string) {
	for _, v := range pod.Spec.Volumes {
		if v.Name != volume || v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				out = append(out, s.Secret.Items[0].Path)
			}
		}
	}
	return out
}

// TestTheTenantsValuesComeFromASecret, the chart's or the operator's.
func TestTheTenantsValuesComeFromASecret(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                       "",
		"vcluster: {values: {a: 17}}":            "kb-kubebyon-vcluster",
		"vcluster: {existingValuesSecret: mine}": "mine",
	} {
		all := mustRender(t, existing+text)
		if want == "kb-kubebyon-vcluster" {
			kept, _, _ := unstructured.NestedString(find(t, all, "Secret "+want).Object, "data", "values.yaml")
			if got, err := base64.StdEncoding.DecodeString(kept); err != nil || strings.TrimSpace(string(got)) != "a: 17" {
				t.Errorf("the Secret holds %q, %v", got, err)
			}
		}
		variable, _, _ := unstructured.NestedString(find(t, all, "ConfigMap kb-kubebyon").Object, "data", "KUBEBYON_VCLUSTER_VALUES_FILE")
		if (variable != "") != (want != "") {
			t.Errorf("%s: the programs read %q", text, variable)
		}
		for component, pod := range pods(t, all) {
			got := ""
			for _, v := range pod.Spec.Volumes {
				if v.Name == "vcluster-values" {
					got = v.Secret.SecretName
					if item := v.Secret.Items[0]; item.Key != "values.yaml" || item.Path != filepath.Base(variable) {
						t.Errorf("%s, %s: mounts %+v, and %s is read", text, component, item, variable)
					}
				}
			}
			if got != want {
				t.Errorf("%s, %s: values from Secret %q, want %q", text, component, got, want)
			}
		}
	}
	if _, err := render(t, existing+"vcluster: {values: {a: b}, existingValuesSecret: mine}"); err == nil || !strings.Contains(err.Error(), "not both") {
		t.Errorf("two kinds of values: %v", err)
	}
}

func TestAWorkerIsNotGivenTheAdministratorsPassword(t *testing.T) {
	t.Parallel()
	all := pods(t, mustRender(t, inline))
	if !slices.Contains(files(all["server"], "secrets"), "admin-password") {
		t.Error("the server has no administrator's password")
	}
	if slices.Contains(files(all["worker"], "secrets"), "admin-password") {
		t.Error("the worker is given the administrator's password")
	}
}

// TestEveryContainerIsConfined is the restricted Pod Security Standard, and a
// root file system that nobody writes to.
func TestEveryContainerIsConfined(t *testing.T) {
	t.Parallel()
	for name, text := range worlds() {
		for component, pod := range pods(t, mustRender(t, text)) {
			in := name + ", " + component
			security := pod.Spec.SecurityContext
			if security == nil || security.RunAsNonRoot == nil || !*security.RunAsNonRoot || security.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
				t.Errorf("%s: the pod is not confined: %+v", in, security)
			}
			if pod.Spec.AutomountServiceAccountToken == nil || *pod.Spec.AutomountServiceAccountToken {
				t.Errorf("%s: every container gets a token", in)
			}
			for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
				s := c.SecurityContext
				if s == nil || !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
					t.Errorf("%s: container %s is not confined: %+v", in, c.Name, s)
				}
				if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
					t.Errorf("%s: container %s has no resources", in, c.Name)
				}
				hasToken := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
					return strings.HasPrefix(m.MountPath, "/var/run/secrets/kubernetes.io")
				})
				if want := c.Name != "migrate" && name != "a host elsewhere"; hasToken != want {
					t.Errorf("%s: container %s has a token: %v", in, c.Name, hasToken)
				}
			}
			if grace := *pod.Spec.TerminationGracePeriodSeconds; grace < 5+30+60 {
				t.Errorf("%s: %d s to stop in are too few: 5 to be forgotten, 30 for requests, 60 for jobs and leases", in, grace)
			}
		}
	}
}

func TestAChangedSettingRollsThePods(t *testing.T) {
	t.Parallel()
	for _, change := range []struct{ what, before, after string }{
		{"setting", existing, existing + "config: {logLevel: debug}"},
		{"tenants' values", existing, existing + "vcluster: {values: {a: b}}"},
		{"secret", inline, strings.ReplaceAll(inline, "first-pw", "second-pw")},
	} {
		before, after := pods(t, mustRender(t, change.before)), pods(t, mustRender(t, change.after))
		for _, component := range []string{"server", "worker"} {
			if sameText(before[component].Annotations, after[component].Annotations) {
				t.Errorf("another %s leaves the old pods of the %s", change.what, component)
			}
		}
	}
	if !sameText(pods(t, mustRender(t, existing)), pods(t, mustRender(t, existing))) {
		t.Error("rendering twice gives two pods")
	}
}

func sameText(a, b any) bool {
	left, _ := json.Marshal(a)
	right, _ := json.Marshal(b)
	return bytes.Equal(left, right)
}

// TestServicesAndPoliciesFindTheirPods: a selector that matches nothing is no
// error to Kubernetes.
func TestServicesAndPoliciesFindTheirPods(t *testing.T) {
	t.Parallel()
	all := mustRender(t, everything)
	templates := pods(t, all)
	matches := func(selector map[string]string) (out []string) {
		for component, pod := range templates {
			if isSubset(selector, pod.Labels) {
				out = append(out, component)
			}
		}
		slices.Sort(out)
		return out
	}
	for who, want := range map[string]struct {
		path []string
		pods []string
	}{
		"Service kb-kubebyon":                    {[]string{"spec", "selector"}, []string{"server"}},
		"Service kb-kubebyon-metrics":            {[]string{"spec", "selector"}, []string{"server", "worker"}},
		"NetworkPolicy kb-kubebyon-server":       {[]string{"spec", "podSelector", "matchLabels"}, []string{"server"}},
		"NetworkPolicy kb-kubebyon-worker":       {[]string{"spec", "podSelector", "matchLabels"}, []string{"worker"}},
		"PodDisruptionBudget kb-kubebyon-server": {[]string{"spec", "selector", "matchLabels"}, []string{"server"}},
		"PodDisruptionBudget kb-kubebyon-worker": {[]string{"spec", "selector", "matchLabels"}, []string{"worker"}},
		"Deployment kb-kubebyon-server":          {[]string{"spec", "selector", "matchLabels"}, []string{"server"}},
	} {
		selector, _, _ := unstructured.NestedStringMap(find(t, all, who).Object, want.path...)
		if got := matches(selector); len(selector) == 0 || !slices.Equal(got, want.pods) {
			t.Errorf("%s selects %v by %v, want %v", who, got, selector, want.pods)
		}
	}
	selector, _, _ := unstructured.NestedStringMap(find(t, all, "ServiceMonitor kb-kubebyon").Object, "spec", "selector", "matchLabels")
	metrics, api := find(t, all, "Service kb-kubebyon-metrics"), find(t, all, "Service kb-kubebyon")
	if !isSubset(selector, metrics.GetLabels()) || isSubset(selector, api.GetLabels()) {
		t.Errorf("the ServiceMonitor selects by %v, which is not the metrics' Service alone", selector)
	}
}

func isSubset(part, whole map[string]string) bool {
	for k, v := range part {
		if whole[k] != v {
			return false
		}
	}
	return true
}

// TestTheReadmeListsEveryValue holds the table to values.yaml.
func TestTheReadmeListsEveryValue(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(chartPath, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(chartPath, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(string(readme), -1) {
		listed = append(listed, m[1])
	}
	for _, path := range leaves("", values(t, string(text))) {
		if !slices.ContainsFunc(listed, func(row string) bool { return path == row || isBelow(path, row) }) {
			t.Errorf("README.md does not list %s", path)
		}
	}
	for _, row := range listed {
		if !slices.ContainsFunc(leaves("", values(t, string(text))), func(path string) bool { return path == row || isBelow(path, row) }) {
			t.Errorf("README.md lists %s, which values.yaml does not have", row)
		}
	}
}

// isBelow understands rows such as server.resources and (server|worker).replicas.
func isBelow(path, row string) bool {
	for component := range strings.SplitSeq("server worker", " ") {
		concrete := strings.Replace(row, "COMPONENT", component, 1)
		if path == concrete || strings.HasPrefix(path, concrete+".") {
			return true
		}
	}
	for secret := range strings.SplitSeq("databaseUrl amqpUrl secretKey adminPassword", " ") {
		if path == strings.Replace(row, "NAME", secret, 1) {
			return true
		}
	}
	return false
}

func leaves(path string, v any) (out []string) {
	table, ok := v.(map[string]any)
	if !ok || len(table) == 0 {
		return []string{strings.TrimPrefix(path, ".")}
	}
	for name, below := range table {
		out = append(out, leaves(path+"."+name, below)...)
	}
	return out
}

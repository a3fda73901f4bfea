package deploy_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	authv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/kubebyon/kubebyon/adapters/helmprovision"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// monitors is as much of the Prometheus operator's definition as the chart uses,
// and refuses everything else.
const monitors = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.monitoring.coreos.com, annotations: {api-approved.kubernetes.io: unapproved}}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {kind: ServiceMonitor, listKind: ServiceMonitorList, plural: servicemonitors, singular: servicemonitor}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          required: [spec]
          properties:
            spec:
              type: object
              required: [endpoints, selector]
              properties:
                selector: {type: object, properties: {matchLabels: {type: object, additionalProperties: {type: string}}}}
                namespaceSelector: {type: object, properties: {matchNames: {type: array, items: {type: string}}}}
                endpoints:
                  type: array
                  items:
                    type: object
                    properties: {port: {type: string}, path: {type: string}, interval: {type: string, pattern: "^[0-9]+(ms|s|m|h)$"}}
`

func (u user) client(t *testing.T, o unstructured.Unstructured) dynamic.ResourceInterface {
	t.Helper()
	kind := o.GroupVersionKind()
	mapping, err := u.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		t.Fatalf("%s: %v", title(o), err)
	}
	if o.GetNamespace() == "" {
		return u.dynamic.Resource(mapping.Resource)
	}
	return u.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace())
}

func (u user) namespace(t *testing.T, name string, labels map[string]string) {
	t.Helper()
	_, err := u.kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// eventually tries until what says nothing more is wrong. The last complaint is
// the one from before the time was up, which is no reason itself.
func eventually(t *testing.T, what func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var last error
	for {
		err := what(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still after two minutes: %v", last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestARealAPIServerTakesEveryObject: unknown fields, wrong types and values
// that no API server would store fail here and not on somebody's cluster.
func TestARealAPIServerTakesEveryObject(t *testing.T) {
	t.Parallel()
	admin := thePlane(t).administrator(t)
	definition, err := objects(monitors)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.client(t, definition[0]).Create(t.Context(), &definition[0], metav1.CreateOptions{FieldValidation: "Strict"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func(context.Context) error {
		admin.found.Invalidate()
		_, err := admin.mapper.RESTMapping(schema.GroupKind{Group: "monitoring.coreos.com", Kind: "ServiceMonitor"}, "v1")
		return err
	})
	for _, name := range []string{ourHome, "licences"} {
		// The chart's pods have to pass the strictest of Kubernetes' own standards.
		admin.namespace(t, name, map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	}
	eventually(t, func(ctx context.Context) error {
		_, err := admin.kube.CoreV1().ServiceAccounts(ourHome).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	for name, text := range worlds() {
		all := mustRender(t, text)
		for _, u := range all {
			_, err := admin.client(t, u).Create(t.Context(), &u, metav1.CreateOptions{FieldValidation: "Strict", DryRun: []string{metav1.DryRunAll}})
			if err != nil {
				t.Errorf("%s: %s: %v", name, title(u), err)
			}
		}
		for component, pod := range pods(t, all) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: component, Namespace: ourHome, Labels: pod.Labels, Annotations: pod.Annotations}, Spec: pod.Spec}
			pod.Spec.ServiceAccountName = "default" // the chart's is not there in a dry run
			_, err := admin.kube.CoreV1().Pods(ourHome).Create(t.Context(), pod, metav1.CreateOptions{FieldValidation: "Strict", DryRun: []string{metav1.DryRunAll}})
			if err != nil {
				t.Errorf("%s: the pod of the %s: %v", name, component, err)
			}
		}
	}
}

// helm returns a configuration that acts as u.
func (u user) helm(t *testing.T, namespace string) *action.Configuration {
	t.Helper()
	c := new(action.Configuration)
	if err := c.Init(getter{u, namespace}, namespace, "secrets", func(string, ...any) {}); err != nil {
		t.Fatal(err)
	}
	return c
}

func (u user) install(t *testing.T, path, namespace, name, text string) error {
	t.Helper()
	c, err := loader.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	install := action.NewInstall(u.helm(t, namespace))
	install.ReleaseName, install.Namespace = name, namespace
	_, err = install.RunWithContext(t.Context(), c, values(t, text))
	return err
}

func (u user) upgrade(t *testing.T, path, namespace, name, text string) error {
	t.Helper()
	c, err := loader.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	upgrade := action.NewUpgrade(u.helm(t, namespace))
	upgrade.Namespace = namespace
	_, err = upgrade.RunWithContext(t.Context(), name, c, values(t, text))
	return err
}

func (u user) uninstall(t *testing.T, namespace, name string) error {
	t.Helper()
	uninstall := action.NewUninstall(u.helm(t, namespace))
	uninstall.DeletionPropagation, uninstall.Wait, uninstall.Timeout = "foreground", true, time.Minute
	_, err := uninstall.Run(name)
	return err
}

// TestTheChartInstallsUpgradesAndLeavesNothing runs on a cluster without nodes:
// no pod starts, so that nothing is said here of the programs in them.
func TestTheChartInstallsUpgradesAndLeavesNothing(t *testing.T) {
	t.Parallel()
	const home, name = "life", "life"
	admin := thePlane(t).administrator(t)
	admin.namespace(t, home, nil)
	if err := admin.install(t, chartPath, home, name, inline); err != nil {
		t.Fatal(err)
	}
	before := admin.generation(t, home, name)
	if err := admin.upgrade(t, chartPath, home, name, inline+"config: {logLevel: debug}"); err != nil {
		t.Fatal(err)
	}
	if after := admin.generation(t, home, name); after <= before {
		t.Errorf("an upgrade with another setting left the Deployment at generation %d", after)
	}
	if len(admin.left(t, name)) == 0 {
		t.Fatal("nothing was installed, or it cannot be found")
	}
	if err := admin.uninstall(t, home, name); err != nil {
		t.Fatal(err)
	}
	eventually(t, func(context.Context) error {
		if left := admin.left(t, name); len(left) > 0 {
			return fmt.Errorf("an uninstalled release left %s", left)
		}
		return nil
	})
}

func (u user) generation(t *testing.T, home, name string) int64 {
	t.Helper()
	d, err := u.kube.AppsV1().Deployments(home).Get(t.Context(), name+"-kubebyon-server", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d.Generation
}

// left is everything of a release on the whole cluster, and of Helm's own notes.
func (u user) left(t *testing.T, release string) (out []string) {
	t.Helper()
	lists, err := u.kube.Discovery().ServerPreferredResources()
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		version, _ := schema.ParseGroupVersion(list.GroupVersion)
		for _, r := range list.APIResources {
			if !slices.Contains(r.Verbs, "list") || !slices.Contains(r.Verbs, "delete") {
				continue
			}
			for _, selector := range []string{"app.kubernetes.io/instance=" + release, "owner=helm,name=" + release} {
				found, err := u.dynamic.Resource(version.WithResource(r.Name)).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
				if err != nil {
					continue // what cannot be listed holds nothing of ours
				}
				for _, o := range found.Items {
					out = append(out, title(o))
				}
			}
		}
	}
	return out
}

// hosted is a host cluster with the chart on it, a namespace of a tenant, and one
// of somebody else.
type hosted struct {
	admin, server, worker user
	home, ours, theirs    string
}

// installed are the releases that tests share, by their values.
var installed struct {
	sync.Mutex
	releases map[string]string
}

// host returns a cluster on which the chart is installed with these values, and a
// tenant's namespace of that name. Tests that want the same values share a release.
func host(t *testing.T, tenant, text string) hosted {
	t.Helper()
	p := thePlane(t)
	installed.Lock()
	defer installed.Unlock()
	home, isThere := installed.releases[text]
	if !isThere {
		home = fmt.Sprintf("host-%d", len(installed.releases))
	}
	h := hosted{
		admin: p.administrator(t), server: p.account(t, home, home+"-kubebyon-server"), worker: p.account(t, home, home+"-kubebyon-worker"),
		home: home, ours: tenant, theirs: home + "-theirs",
	}
	if !isThere {
		h.begin(t, text)
		if installed.releases == nil {
			installed.releases = map[string]string{}
		}
		installed.releases[text] = home
	}
	h.worker.namespace(t, h.ours, marks("kubebyon", "cl_"+tenant))
	return h
}

// marks are the labels of a tenant's namespace.
func marks(installation, cluster string) map[string]string {
	return map[string]string{"app.kubernetes.io/managed-by": "kubebyon", "kubebyon.io/installation": installation, "kubebyon.io/cluster": cluster}
}

func (h hosted) begin(t *testing.T, text string) {
	t.Helper()
	h.admin.namespace(t, h.home, nil)
	h.admin.namespace(t, h.theirs, nil)
	if err := h.admin.install(t, chartPath, h.home, h.home, text); err != nil {
		t.Fatal(err)
	}
	// Policies begin to work a moment after they were made.
	eventually(t, func(ctx context.Context) error {
		_, contents := h.worker.kube.CoreV1().ConfigMaps(h.theirs).Create(ctx, configMap(), dryRun())
		namespaces := h.worker.kube.CoreV1().Namespaces().Delete(ctx, h.theirs, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
		for _, err := range []error{contents, namespaces} {
			if err == nil || !strings.Contains(err.Error(), "namespaces of its own") {
				return fmt.Errorf("the admission policy is not at work yet: %w", err)
			}
		}
		return nil
	})
}

func dryRun() metav1.CreateOptions { return metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}} }

func configMap() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "anything"}}
}

// can asks the API server's authorizer, "verb group/resource[/subresource]".
func (u user) can(t *testing.T, namespace, right string) bool {
	t.Helper()
	verb, what, _ := strings.Cut(right, " ")
	group, resource, _ := strings.Cut(what, "/")
	resource, sub, _ := strings.Cut(resource, "/")
	review := &authv1.SelfSubjectAccessReview{Spec: authv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authv1.ResourceAttributes{
		Namespace: namespace, Verb: verb, Group: group, Resource: resource, Subresource: sub,
	}}}
	answer, err := u.kube.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Status.Allowed
}

// TestTheRightsAreEnoughForTheChart installs, changes and removes what a tenant
// with an etcd of its own consists of, and asks for what nothing else here needs.
func TestTheRightsAreEnoughForTheChart(t *testing.T) {
	t.Parallel()
	h := host(t, "enough", existing)
	for _, text := range []string{
		"{privateNodes: {enabled: true}, policies: {resourceQuota: {enabled: true}}, controlPlane: {backingStore: {etcd: {deploy: {enabled: true}}}}}",
	} {
		if err := h.worker.install(t, fixture, h.ours, h.ours, text); err != nil {
			t.Fatalf("install with %s: %v", text, err)
		}
		if err := h.worker.upgrade(t, fixture, h.ours, h.ours, strings.TrimSuffix(text, "}")+`, exportKubeConfig: {server: "https://a.example.com:443"}}`); err != nil {
			t.Fatalf("upgrade from %s: %v", text, err)
		}
		if err := h.worker.uninstall(t, h.ours, h.ours); err != nil {
			t.Fatalf("uninstall: %v", err)
		}
	}
	patch := []byte(`{"metadata":{"annotations":{"kubebyon.io/want":"{}"}}}`)
	if _, err := h.worker.kube.CoreV1().Namespaces().Patch(t.Context(), h.ours, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Error(err)
	}
	if err := h.worker.kube.CoreV1().Namespaces().Delete(t.Context(), h.ours, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	for right := range strings.SplitSeq("list /namespaces,watch /namespaces,list /nodes,watch /pods,list /services,watch apps/statefulsets,"+
		"watch apps/deployments,watch /secrets,get /secrets,get /pods/log,list /events,list metrics.k8s.io/pods", ",") {
		for program, u := range map[string]user{"server": h.server, "worker": h.worker} {
			if !u.can(t, "", right) {
				t.Errorf("the %s cannot %s", program, right)
			}
		}
	}
	for right := range strings.SplitSeq("create /namespaces,patch /namespaces,delete /namespaces,create /secrets,update /secrets,patch /services,patch apps/statefulsets,"+
		"delete /pods,delete /persistentvolumeclaims,create coordination.k8s.io/leases,update coordination.k8s.io/leases,create rbac.authorization.k8s.io/roles", ",") {
		if !h.worker.can(t, "", right) {
			t.Errorf("the worker cannot %s", right)
		}
		if h.server.can(t, "", right) {
			t.Errorf("the server can %s, which it leaves to workers", right)
		}
	}
}

// TestTheRightToWriteIsTheirsWhoDoTheJobs: the worker's, or the server's when there
// is no worker.
func TestTheRightToWriteIsTheirsWhoDoTheJobs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{existing: "kb-kubebyon-worker", existing + "worker: {enabled: false}": "kb-kubebyon-server"} {
		bound, _, _ := unstructured.NestedSlice(find(t, mustRender(t, text), "ClusterRoleBinding "+ourHome+":"+ourFullName+":provisioner").Object, "subjects")
		if len(bound) != 1 || bound[0].(map[string]any)["name"] != want {
			t.Errorf("bound are %v, want %s alone", bound, want)
		}
	}
}

const fixture = "../testdata/charts/vcluster"

// provisioner is KubeBYON's own, as one of the chart's programs.
func (h hosted) provisioner(t *testing.T, u user, lookOnly bool) *helmprovision.Provisioner {
	t.Helper()
	p, err := helmprovision.New(helmprovision.Config{
		LookOnly:       lookOnly,
		KubeconfigPath: thePlane(t).kubeconfig(t, u), Chart: fixture, CacheDir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := p.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return p
}

// TestKubeBYONProvisionsWithTheRightsOfTheChart is a tenant's life: made, reached,
// changed and removed.
func TestKubeBYONProvisionsWithTheRightsOfTheChart(t *testing.T) {
	t.Parallel()
	h := host(t, "provisions-other", existing)
	worker, server := h.provisioner(t, h.worker, false), h.provisioner(t, h.server, true)
	eventually(t, worker.Ping)
	eventually(t, server.Ping)
	want := provision.Want{ID: id.New[id.ClusterKind](time.Now(), [10]byte{1}), Name: "provisions", KubernetesVersion: worker.Versions()[0].Name, Public: true, PublicMode: provision.NodePort}
	for _, milli := range []int64{100, 200} {
		want.CPURequestMilli = milli
		eventually(t, func(ctx context.Context) error {
			if err := worker.Apply(ctx, want); err != nil {
				return err
			}
			seen, err := worker.Observe(ctx, want.ID)
			if err == nil && seen.Phase != provision.Ready {
				err = fmt.Errorf("it is %+v", seen)
			}
			return err
		})
	}
	eventually(t, func(ctx context.Context) error {
		_, err := server.Kubeconfig(ctx, want.ID)
		return err
	})
	eventually(t, func(ctx context.Context) error { return worker.Destroy(ctx, want.ID) })
	if _, err := h.admin.kube.CoreV1().Namespaces().Get(t.Context(), want.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a removed tenant's namespace is there: %v", err)
	}
}

// official are the rules of the Role that vCluster's chart 0.36 makes with nodes
// of the tenant's own, and what it adds when pods run on the host.
var official = []rbacv1.PolicyRule{
	rule("", "secrets configmaps", "create delete patch update get list watch"),
	rule("", "services pods persistentvolumeclaims", "get list watch"),
	rule("", "pods/resize", "patch update"),
	rule("apps", "statefulsets replicasets deployments", "get list watch patch update"),
	rule("", "endpoints pods/log", "get list watch"),
	rule("", "events", "create get list watch"),
	rule("events.k8s.io", "events", "create get list watch"),
	rule("", "endpoints", "create delete patch update"),
	rule("discovery.k8s.io", "endpointslices", "create list get delete patch update watch"),
	rule("coordination.k8s.io", "leases", "create delete patch update get list watch"),
}

var onSharedNodes = []rbacv1.PolicyRule{
	rule("", "services pods pods/attach pods/portforward pods/exec persistentvolumeclaims", "create delete patch update get list watch"),
	rule("", "pods/status pods/ephemeralcontainers", "patch update"),
}

// variant has all that widens the rights.
const variant = existing + "vcluster: {sharedNodes: true, licenceSecret: beside-the-licence/vcluster}"

func rule(group, resources, verbs string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: strings.Fields(resources), Verbs: strings.Fields(verbs)}
}

func role(rules ...rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "vc-x"}, Rules: rules}
}

// TestTheWorkerCanGrantWhatVClusterNeedsAndNoMore: the API server refuses roles
// that hold more than their maker does.
func TestTheWorkerCanGrantWhatVClusterNeedsAndNoMore(t *testing.T) {
	t.Parallel()
	h, shared := host(t, "grants", existing), host(t, "shared", variant)
	for _, c := range []struct {
		what  string
		on    hosted
		rules []rbacv1.PolicyRule
		want  bool
	}{
		{"vCluster's rules", h, official, true},
		{"rules for shared nodes", shared, append(slices.Clone(official), onSharedNodes...), true},
		{"rules for shared nodes, which were not asked for", h, onSharedNodes, false},
		{"everything", h, []rbacv1.PolicyRule{rule("*", "*", "*")}, false},
		{"tokens of others", h, []rbacv1.PolicyRule{rule("", "serviceaccounts/token", "create")}, false},
		{"the right to grant more", h, []rbacv1.PolicyRule{rule("rbac.authorization.k8s.io", "roles", "escalate bind")}, false},
	} {
		_, err := c.on.worker.kube.RbacV1().Roles(c.on.ours).Create(t.Context(), role(c.rules...), dryRun())
		if (err == nil) != c.want {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "x"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "default", Namespace: h.ours}},
	}
	if _, err := h.worker.kube.RbacV1().RoleBindings(h.ours).Create(t.Context(), binding, dryRun()); !apierrors.IsForbidden(err) {
		t.Errorf("the worker made an administrator of its namespace: %v", err)
	}
}

// TestBesideTheLicenceOnlyRightsAreGiven: there the vCluster chart lets each
// control plane read the one Secret.
func TestBesideTheLicenceOnlyRightsAreGiven(t *testing.T) {
	t.Parallel()
	const beside = "beside-the-licence"
	thePlane(t).administrator(t).namespace(t, beside, nil)
	h := host(t, "licence", variant)
	read := rule("", "secrets", "get")
	read.ResourceNames = []string{"vcluster"}
	if _, err := h.worker.kube.RbacV1().Roles(beside).Create(t.Context(), role(read), dryRun()); err != nil {
		t.Errorf("a control plane cannot be let read its licence: %v", err)
	}
	if _, err := h.worker.kube.CoreV1().Secrets(beside).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, dryRun()); !apierrors.IsForbidden(err) {
		t.Errorf("the worker changes Secrets beside the licence: %v", err)
	}
	if _, err := h.worker.kube.RbacV1().Roles(h.theirs).Create(t.Context(), role(read), dryRun()); !apierrors.IsForbidden(err) {
		t.Errorf("the worker gives rights in a namespace of somebody else: %v", err)
	}
}

// TestTheRightsReachNothingElse tries what somebody with a stolen token would.
func TestTheRightsReachNothingElse(t *testing.T) {
	t.Parallel()
	h := host(t, "else", existing)
	for right := range strings.SplitSeq("create /pods,create /pods/exec,create /pods/attach,create /pods/portforward,create /pods/eviction,patch /pods/ephemeralcontainers,"+
		"get /nodes/proxy,create /nodes/proxy,patch /nodes,delete /nodes,create /serviceaccounts/token,impersonate /users,impersonate /serviceaccounts,"+
		"create rbac.authorization.k8s.io/clusterroles,create rbac.authorization.k8s.io/clusterrolebindings,bind rbac.authorization.k8s.io/clusterroles,"+
		"escalate rbac.authorization.k8s.io/roles,bind rbac.authorization.k8s.io/roles,approve certificates.k8s.io/signers,create certificates.k8s.io/certificatesigningrequests,"+
		"create apiextensions.k8s.io/customresourcedefinitions,create admissionregistration.k8s.io/mutatingwebhookconfigurations,"+
		"delete admissionregistration.k8s.io/validatingadmissionpolicies,delete admissionregistration.k8s.io/validatingadmissionpolicybindings,"+
		"create /persistentvolumes,create apps/daemonsets,create batch/jobs,create batch/cronjobs,update /namespaces/finalize,deletecollection /secrets,* */*", ",") {
		for program, u := range map[string]user{"server": h.server, "worker": h.worker} {
			if u.can(t, "kube-system", right) {
				t.Errorf("the %s can %s in kube-system", program, right)
			}
		}
	}
	h.admin.namespace(t, "else-installed", marks("another", "cl_else"))
	for _, namespace := range []string{"kube-system", h.theirs, h.home, "else-installed"} {
		for what, err := range h.attacks(t, namespace) {
			if !apierrors.IsForbidden(err) {
				t.Errorf("the worker could %s in %s: %v", what, namespace, err)
			}
		}
	}
	for what, err := range h.attacks(t, h.ours) {
		if err != nil && what != "label it as its own" && !apierrors.IsNotFound(err) {
			t.Errorf("the worker could not %s in its own namespace: %v", what, err)
		}
	}
	unlabelled := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "else-stray"}}
	if _, err := h.worker.kube.CoreV1().Namespaces().Create(t.Context(), unlabelled, dryRun()); !apierrors.IsForbidden(err) {
		t.Errorf("the worker made a namespace that does not say whose it is: %v", err)
	}
}

// attacks are changes that the worker's rights allow by themselves.
func (h hosted) attacks(t *testing.T, namespace string) map[string]error {
	ctx, core := t.Context(), h.worker.kube.CoreV1()
	remove := metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}
	patch := metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}
	out := map[string]error{}
	_, out["create a config map"] = core.ConfigMaps(namespace).Create(ctx, configMap(), dryRun())
	_, out["create a secret"] = core.Secrets(namespace).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, dryRun())
	_, out["create a service account"] = core.ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, dryRun())
	_, out["grant rights"] = h.worker.kube.RbacV1().Roles(namespace).Create(ctx, role(official...), dryRun())
	_, out["change a config map"] = core.ConfigMaps(namespace).Patch(ctx, "kube-root-ca.crt", types.MergePatchType, []byte(`{"data":{"a":"b"}}`), patch)
	out["delete a config map"] = core.ConfigMaps(namespace).Delete(ctx, "kube-root-ca.crt", remove)
	out["delete the namespace"] = core.Namespaces().Delete(ctx, namespace, remove)
	_, out["label it as its own"] = core.Namespaces().Patch(ctx, namespace, types.MergePatchType, []byte(`{"metadata":{"labels":{"app.kubernetes.io/managed-by":"kubebyon","kubebyon.io/installation":"kubebyon"}}}`), patch)
	return out
}

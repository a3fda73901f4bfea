package helmprovision

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/provision"
)

func TestAHostThatIsAwayIsNoReasonNotToStart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	writeFile(t, file, "{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}], users: [{name: u, user: {token: hunter2}}], contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}")
	c := bare(t)
	c.KubeconfigPath, c.Chart = file, fixture
	p := start(t, c)
	want := demo()
	_, observed := p.Observe(t.Context(), want.ID)
	_, kubeconfig := p.Kubeconfig(t.Context(), want.ID)
	for name, err := range map[string]error{
		"Ping": p.Ping(t.Context()), "Apply": p.Apply(t.Context(), want), "Observe": observed, "Kubeconfig": kubeconfig, "Destroy": p.Destroy(t.Context(), want.ID),
	} {
		if fault.CodeOf(err) != "host_unreachable" || !errors.Is(err, fault.Unavailable) || !errors.Is(err, provision.ErrAway) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAKubeconfigThatIsWrongStopsTheStart(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"rubbish": "hunter2: [", "nothing": "",
		"an address that is none": "{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {server: 'https://u:hunter2@host:port'}}], contexts: [{name: x, context: {cluster: c}}], current-context: x}",
	} {
		file := filepath.Join(t.TempDir(), "kubeconfig")
		writeFile(t, file, text)
		c := bare(t)
		c.KubeconfigPath = file
		p, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		for when, err := range map[string]error{"before": p.CheckFiles(t.Context()), "at the start": p.Start(t.Context())} {
			if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "KUBEBYON_KUBECONFIG_PATH: "+file) {
				t.Errorf("%s, %s: %v", name, when, err)
			}
		}
	}
}

func TestWhatIsWaitedForFitsIntoAnAttempt(t *testing.T) {
	t.Parallel()
	for attempt, want := range map[time.Duration][3]time.Duration{
		0: {2 * time.Minute, 2 * time.Minute, 4 * time.Minute}, time.Hour: {2 * time.Minute, 2 * time.Minute, 4 * time.Minute},
		time.Minute: {24 * time.Second, 24 * time.Second, 48 * time.Second},
	} {
		c := bare(t)
		c.AttemptDeadline, c.PublishTimeout, c.StuckTimeout, c.DeleteDeadline = attempt, 0, 0, 0
		c, err := c.withDefaults()
		if got := [3]time.Duration{c.PublishTimeout, c.StuckTimeout, c.DeleteDeadline}; err != nil || got != want {
			t.Errorf("an attempt of %v: %v, %v", attempt, got, err)
		}
	}
	for name, set := range map[string]func(*Config){
		"publish": func(c *Config) { c.PublishTimeout = 5 * time.Minute }, "stuck": func(c *Config) { c.StuckTimeout = 6 * time.Minute },
		"chart":  func(c *Config) { c.ChartTimeout = time.Hour },
		"delete": func(c *Config) { c.DeleteDeadline = time.Minute; c.AttemptDeadline = time.Minute },
	} {
		c := bare(t)
		set(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), "KUBEBYON_JOB_DEADLINE_SECONDS") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestANamespaceOfSomebodyElseIsNotTouched(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	p, client := start(t, b.config(t)), b.client(t)
	w, other := wanted(t, p), wanted(t, p)
	foreign := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.Name, Labels: map[string]string{labelCluster: w.ID.String()}}}
	before, err := client.CoreV1().Namespaces().Create(t.Context(), foreign, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, p.Apply(t.Context(), w), fault.Invalid, "namespace_taken", w.Name+" of the host cluster belongs to somebody else")
	if err := p.Destroy(t.Context(), w.ID); err != nil {
		t.Errorf("Destroy: %v", err)
	}
	after, err := client.CoreV1().Namespaces().Get(t.Context(), w.Name, metav1.GetOptions{})
	if err != nil || after.ResourceVersion != before.ResourceVersion {
		t.Errorf("the namespace went from %s to %s: %v", before.ResourceVersion, after.ResourceVersion, err)
	}
	another := *foreign
	another.ObjectMeta = metav1.ObjectMeta{Name: other.Name, Labels: p.config.marks(newID())}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &another, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	refused(t, p.Apply(t.Context(), other), fault.Invalid, "namespace_taken", "another cluster")
}

func TestWhatTheChartRefusesChangesNothingOnTheHost(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	c := b.config(t)
	writeFile(t, c.ValuesFile, "controlPlane: {statefulSett: {}}")
	p := start(t, c)
	w := wanted(t, p)
	refused(t, p.Apply(t.Context(), w), fault.Invalid, "chart_refuses", "statefulSett")
	writeFile(t, c.ValuesFile, "password: [hunter2")
	refused(t, p.Apply(t.Context(), w), fault.Unavailable, "values_file_wrong", c.ValuesFile)
	refused(t, p.Ping(t.Context()), fault.Unavailable, "values_file_wrong", c.ValuesFile)
	if _, err := b.client(t).CoreV1().Namespaces().Get(t.Context(), w.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("there is a namespace: %v", err)
	}
	c.Chart, c.ValuesFile = filepath.Join(t.TempDir(), "nowhere"), ""
	q := start(t, c)
	if err := q.window.await(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	refused(t, q.Apply(t.Context(), w), fault.Unavailable, "chart_unavailable", "nowhere")
	refused(t, q.Ping(t.Context()), fault.Unavailable, "chart_unavailable", "nowhere")
}

// TestTenantsThatFailSayWhy: the pod's own words, or the Secret's fault.
func TestTenantsThatFailSayWhy(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	for word, says := range map[string]string{
		"never":            "no place for the control plane",
		"no-licence":       "for want of a licence",
		"image-pull-error": "cannot be pulled",
		"bad-secret":       "holds no kubeconfig that can be used",
	} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			c := b.config(t)
			writeFile(t, c.ValuesFile, "controlPlane: {statefulSet: {pods: {annotations: {localplane.kubebyon.io/behave: "+word+"}}}}")
			p := start(t, c)
			w := wanted(t, p)
			apply(t, p, w)
			if o := until(t, p, w.ID, provision.Failed); !strings.Contains(o.Reason, says) {
				t.Errorf("it failed: %s", o.Reason)
			}
			apply(t, p, w) // tries again
			if o, err := p.Observe(t.Context(), w.ID); err != nil || o.Phase == provision.Failed {
				t.Errorf("after another Apply it is %+v, %v", o, err)
			}
		})
	}
}

func TestARemovalThatIsBlockedSaysByWhat(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	c := b.config(t)
	c.DeleteDeadline = 3 * time.Second
	p, client := start(t, c), b.client(t)
	w := wanted(t, p)
	apply(t, p, w)
	_, err := client.CoreV1().ConfigMaps(w.Name).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "kept", Finalizers: []string{"example.com/keep"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Destroy(t.Context(), w.ID)
	refused(t, err, fault.Unavailable, "deletion_blocked", "was not removed within 3s")
	refused(t, eventually(t, func() error {
		err := p.Destroy(t.Context(), w.ID)
		if err != nil && !strings.Contains(err.Error(), "example.com/keep") {
			return nil
		}
		return err
	}, "deletion_blocked"), fault.Unavailable, "deletion_blocked", "example.com/keep")
	if o, err := p.Observe(t.Context(), w.ID); err != nil || o.Phase != provision.Removing || !strings.Contains(o.Reason, "example.com/keep") {
		t.Errorf("meanwhile it is %+v, %v", o, err)
	}
	refused(t, p.Apply(t.Context(), w), fault.Unavailable, "control_plane_removing", "being removed")
	if _, err := client.CoreV1().ConfigMaps(w.Name).Patch(t.Context(), "kept", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := eventually(t, func() error {
		if err := p.Destroy(t.Context(), w.ID); err != nil {
			return err
		}
		return fault.Internal.New("gone", "It is gone.")
	}, "gone"); fault.CodeOf(err) != "gone" {
		t.Errorf("unblocked: %v", err)
	}
}

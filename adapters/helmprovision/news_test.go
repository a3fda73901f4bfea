package helmprovision

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// windowOn is one that nobody opens: what it sees is put into it.
func windowOn(t *testing.T, namespaces ...*corev1.Namespace) *window {
	t.Helper()
	h := hostAt(t, nil)
	w := newWindow(h, labelCluster, newNews(), nil)
	if err := w.kinds["namespaces"].AddIndexers(cache.Indexers{byCluster: clusterOf}); err != nil {
		t.Fatal(err)
	}
	for _, n := range namespaces {
		put(t, w, "namespaces", n)
	}
	return w
}

func put(t *testing.T, w *window, kind string, o any) {
	t.Helper()
	if err := w.kinds[kind].GetStore().Add(o); err != nil {
		t.Fatal(err)
	}
}

func namespaceOf(name, cluster string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{labelCluster: cluster}}}
}

// TestNewsWakeOnlyThoseWhomTheyConcern: events of one cluster's objects, of
// whatever kind, are nothing to those who wait for another's.
func TestNewsWakeOnlyThoseWhomTheyConcern(t *testing.T) {
	t.Parallel()
	one, other := namespaceOf("one", "c1"), namespaceOf("other", "c2")
	w := windowOn(t, one, other)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "one-0"}}
	for name, c := range map[string]struct {
		happens    func()
		one, other bool
	}{
		"a pod appears":                    {func() { w.added(pod) }, true, false},
		"a pod changes":                    {func() { w.updated(pod, pod) }, true, false},
		"a pod goes":                       {func() { w.deleted(pod) }, true, false},
		"a pod has gone, nobody knew when": {func() { w.deleted(cache.DeletedFinalStateUnknown{Key: "one/one-0", Obj: pod}) }, true, false},
		"a namespace appears":              {func() { w.added(one) }, true, false},
		"a namespace goes":                 {func() { w.deleted(other) }, false, true},
		"a namespace changes hands":        {func() { w.updated(one, other) }, true, true},
		"something of nobody's":            {func() { w.added(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "x"}}) }, false, false},
		"all is seen":                      {w.news.ringAll, true, true},
	} {
		mine, leave := w.news.of("c1")
		theirs, leaveToo := w.news.of("c2")
		again, leaveAgain := w.news.of("c1")
		first, second, third := mine.C(), theirs.C(), again.C()
		leaveAgain()
		c.happens()
		for who, heard := range map[string]struct {
			rung <-chan struct{}
			want bool
		}{"one": {first, c.one}, "other": {second, c.other}, "one, which somebody has left": {third, c.one}} {
			got := false
			select {
			case <-heard.rung:
				got = true
			default:
			}
			if got != heard.want {
				t.Errorf("%s: who waits for %s is woken: %v", name, who, got)
			}
		}
		leave()
		leaveToo()
	}
	if len(w.news.bells) > 0 {
		t.Errorf("nobody waits, and there are %d bells", len(w.news.bells))
	}
}

// TestAKubeconfigIsReadOnce, until its Secret is another one, and not kept for
// longer than that is seen.
func TestAKubeconfigIsReadOnce(t *testing.T) {
	t.Parallel()
	c := newID()
	w := windowOn(t, namespaceOf("demo", c.String()))
	secret := secretWith(t, authority(t))
	secret.Namespace, secret.UID, secret.ResourceVersion = "demo", "1", "1"
	put(t, w, "secrets", secret)
	first := w.scene(c)
	if first.unusable != nil || first.key.file == nil || w.scene(c).key.file != first.key.file {
		t.Fatalf("it is not read, or read again: %v", first.unusable)
	}
	seen := first.key.file
	for _, step := range []struct{ uid, version string }{{"1", "2"}, {"2", "2"}} {
		next := secret.DeepCopy()
		next.UID, next.ResourceVersion = types.UID(step.uid), step.version
		put(t, w, "secrets", next)
		now := w.scene(c)
		if now.unusable != nil || now.key.file == seen || w.scene(c).key.file != now.key.file {
			t.Errorf("%v is not read, or read again: %v", step, now.unusable)
		}
		seen = now.key.file
	}
	broken := secret.DeepCopy()
	broken.ResourceVersion, broken.Data = "3", nil
	put(t, w, "secrets", broken)
	if s := w.scene(c); s.unusable == nil || w.scene(c).unusable != s.unusable { //nolint:errorlint // the very same
		t.Errorf("one that cannot be read: %v", s.unusable)
	}
	if len(w.keys.kept) != 1 {
		t.Errorf("of one Secret %d are kept", len(w.keys.kept))
	}

	if err := w.kinds["secrets"].GetStore().Delete(broken); err != nil {
		t.Fatal(err)
	}
	w.deleted(cache.DeletedFinalStateUnknown{Key: "demo/vc-demo", Obj: broken})
	if len(w.keys.kept) != 0 {
		t.Error("a Secret has gone, and what was read of it is kept")
	}
	if _, err := w.keys.read(secret, func() bool { return false }); err != nil || len(w.keys.kept) != 0 {
		t.Errorf("what was read of one that has gone meanwhile is kept: %v", err)
	}
}

package helmprovision

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubebyon/kubebyon/ports/provision"
)

// TestWhatWaitedForALoadBalancerDoesNotUndoWhatCameAfterIt: neither a newer want,
// nor a removal.
func TestWhatWaitedForALoadBalancerDoesNotUndoWhatCameAfterIt(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	p := start(t, b.config(t))
	w := wanted(t, p)
	old := namespaceFor(p, w)
	w.PublicMode = provision.LoadBalancer
	a := &attempt{p: p, want: w}
	made, err := b.client(t).CoreV1().Namespaces().Create(t.Context(), old, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a.namespace = made
	if err := a.write(t.Context(), "", ""); err != nil { // as one that waits does
		t.Fatal(err)
	}
	waits := a.namespace

	writeFile(t, p.config.ValuesFile, "controlPlane: {statefulSett: {}}")
	p.resume(t.Context(), waits)
	if why := p.recall.unfinished(waits); !strings.Contains(why, "statefulSett") {
		t.Errorf("that it cannot go on is because of %q", why)
	}
	writeFile(t, p.config.ValuesFile, "")

	w.PublicMode, w.CPURequestMilli = provision.NodePort, 200
	apply(t, p, w)
	newer := namespace(t, b, w.Name).Annotations
	p.resume(t.Context(), waits)
	after := namespace(t, b, w.Name).Annotations
	if after[noteWant] != newer[noteWant] || after[noteTried] != newer[noteTried] || after[noteHash] != newer[noteHash] {
		t.Errorf("what waited is wanted again: %s", after[noteWant])
	}
	if s, err := b.client(t).CoreV1().Services(w.Name).Get(t.Context(), w.Name, metav1.GetOptions{}); err != nil || s.Spec.Type != corev1.ServiceTypeNodePort {
		t.Errorf("the Service is %v, %v", s.Spec.Type, err)
	}
	if err := p.Destroy(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	p.resume(t.Context(), waits)
	if _, err := b.client(t).CoreV1().Namespaces().Get(t.Context(), w.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("what was removed is made again: %v", err)
	}
}

func namespaceFor(p *Provisioner, w provision.Want) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.Name, Labels: p.config.marks(w.ID)}}
}

// TestAnObservationIsNotOlderThanApply: also when the watches hear nothing, and
// the host answers all the same.
func TestAnObservationIsNotOlderThanApply(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	p := start(t, b.config(t))
	w := wanted(t, p)
	w.Public = false // so that nothing but what is seen decides
	apply(t, p, w)
	until(t, p, w.ID, provision.Ready)
	p.window.close()
	w.CPURequestMilli = 200
	apply(t, p, w)
	if o, err := p.Observe(t.Context(), w.ID); err != nil || o.Phase != provision.Pending {
		t.Errorf("after Apply of another want it is %+v, %v", o, err)
	}
	q := start(t, b.config(t))
	if o := until(t, q, w.ID, provision.Ready); o.Endpoint == "" {
		t.Errorf("for another process it is %+v", o)
	}
	if err := q.Destroy(t.Context(), w.ID); err != nil {
		t.Error(err)
	}
}

// TestAPanicIsAnErrorOfItsCall and takes nothing with it.
func TestAPanicIsAnErrorOfItsCall(t *testing.T) {
	t.Parallel()
	h := new(leaseHost)
	p, _ := process(t, h, "p")
	p.life = context.Background()
	err := p.do(t.Context(), func(ctx context.Context) error {
		g, err := p.reserve(ctx, "demo")
		if err != nil {
			return err
		}
		defer g.release()
		panic("boom")
	})
	if err == nil || !strings.Contains(err.Error(), "boom") || h.holder() != "" || h.removed != 1 {
		t.Errorf("the call ends with %v, and %q has the lease", err, h.holder())
	}
	p.findOut(newID(), "x", func(context.Context) { panic("boom") })
	p.living.Wait()
	if !p.recall.begin("x") {
		t.Error("what panicked is never asked again")
	}
}

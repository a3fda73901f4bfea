package helmprovision

import (
	"errors"
	"sync"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/release"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/provision"
)

func history(t testing.TB, p *Provisioner, name string) []*release.Release {
	t.Helper()
	c, err := p.helm(name)
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.Releases.History(name)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestWhatAKilledProcessLeftIsGoneOnWith: a release that its process did not end,
// and a lease that nobody renews.
func TestWhatAKilledProcessLeftIsGoneOnWith(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	p, client := start(t, b.config(t)), b.client(t)
	p.leaseTime = 4 * time.Second
	w := wanted(t, p)

	// Killed in the middle of the first installation: a record, and half of the objects.
	a := &attempt{p: p, want: w}
	if err := a.makeNamespace(t.Context()); err != nil {
		t.Fatal(err)
	}
	plan, err := p.config.plan(chartUnderTest(t), nil, w, access{Host: "dead.example.com", Port: 30001})
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.helm(w.Name)
	if err != nil {
		t.Fatal(err)
	}
	op := action.NewInstall(c)
	op.ReleaseName, op.Namespace, op.DryRun, op.DisableOpenAPIValidation = w.Name, w.Name, true, true
	half, err := op.Run(chartUnderTest(t), plan.values)
	if err != nil {
		t.Fatal(err)
	}
	half.SetStatus(release.StatusPendingInstall, "Initial install underway")
	if err := c.Releases.Create(half); err != nil {
		t.Fatal(err)
	}
	dead, seconds, long := "dead", int32(15), metav1.NewMicroTime(time.Now().Add(time.Hour)) // its clock is ahead
	_, err = client.CoordinationV1().Leases(w.Name).Create(t.Context(), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: leaseName}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &dead, LeaseDurationSeconds: &seconds, RenewTime: &long},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, p, w)
	until(t, p, w.ID, provision.Ready)
	before, err := p.Kubeconfig(t.Context(), w.ID)
	if err != nil {
		t.Fatal(err)
	}

	// Killed in the middle of an upgrade, and of a removal by hand.
	for _, status := range []release.Status{release.StatusPendingUpgrade, release.StatusPendingRollback, release.StatusUninstalling} {
		all := history(t, p, w.Name)
		last := all[len(all)-1]
		last.SetStatus(status, "Preparing")
		if err := c.Releases.Update(last); err != nil {
			t.Fatal(err)
		}
		if err := client.CoreV1().ServiceAccounts(w.Name).Delete(t.Context(), "vc-"+w.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		apply(t, p, w)
		until(t, p, w.ID, provision.Ready)
		all = history(t, p, w.Name)
		if last := all[len(all)-1]; last.Info.Status != release.StatusDeployed || len(all) > maxHistory {
			t.Errorf("after %s: %d revisions, the last is %s", status, len(all), last.Info.Status)
		}
		if _, err := client.CoreV1().ServiceAccounts(w.Name).Get(t.Context(), "vc-"+w.Name, metav1.GetOptions{}); err != nil {
			t.Errorf("after %s what was missing is missing: %v", status, err)
		}
	}
	after, err := p.Kubeconfig(t.Context(), w.ID)
	if err != nil || !after.Equal(before) {
		t.Errorf("clients and nodes that knew it do so no more: %v", err)
	}
}

func TestARepeatedWantIsNoUpgradeAndTwoProcessesAreOne(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	p, q := start(t, b.config(t)), start(t, b.config(t))
	q.config.ValuesFile = p.config.ValuesFile
	w := wanted(t, p)
	var all sync.WaitGroup
	for _, each := range []*Provisioner{p, q, p, q} {
		all.Go(func() {
			if err := each.Apply(t.Context(), w); err != nil && !errors.Is(err, fault.Unavailable) {
				t.Errorf("Apply: %v", err)
			}
		})
	}
	all.Wait()
	apply(t, p, w)
	one, two := until(t, p, w.ID, provision.Ready), until(t, q, w.ID, provision.Ready)
	if one != two {
		t.Errorf("two processes see %+v and %+v", one, two)
	}
	apply(t, q, w)
	if all := history(t, p, w.Name); len(all) != 1 {
		t.Errorf("there are %d revisions", len(all))
	}
	speaks(t, p.Kubeconfig, w.ID)
	speaks(t, p.Inside, w.ID)

	// What is lost is not made anew.
	w.Existed = true
	apply(t, p, w)
	client, now := b.client(t), int64(0)
	claim := "data-" + w.Name + "-0" // goes with the pod that uses it
	if err := client.CoreV1().PersistentVolumeClaims(w.Name).Delete(t.Context(), claim, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	refused(t, p.Apply(t.Context(), w), fault.Invalid, "data_gone", "The volumes of this control plane")
	if _, err := client.CoreV1().PersistentVolumeClaims(w.Name).Patch(t.Context(), claim, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	if err := client.CoreV1().Pods(w.Name).Delete(t.Context(), w.Name+"-0", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(t, func() bool { // the host makes a new and empty one
		c, err := client.CoreV1().PersistentVolumeClaims(w.Name).Get(t.Context(), claim, metav1.GetOptions{})
		return err == nil && c.DeletionTimestamp == nil
	}); err != nil {
		t.Fatal(err)
	}
	w.CPURequestMilli++
	refused(t, p.Apply(t.Context(), w), fault.Invalid, "data_gone", "The volumes of this control plane")
	for _, err := range []error{
		client.AppsV1().StatefulSets(w.Name).Delete(t.Context(), w.Name, metav1.DeleteOptions{}),
		client.CoreV1().Pods(w.Name).DeleteCollection(t.Context(), metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{}),
		client.CoreV1().PersistentVolumeClaims(w.Name).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	refused(t, eventually(t, func() error { return p.Apply(t.Context(), w) }, "data_gone"), fault.Invalid, "data_gone", "delete the cluster")
}

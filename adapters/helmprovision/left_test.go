package helmprovision

import (
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/release"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubebyon/kubebyon/ports/provision"
)

// TestNothingStaysOfAnUpgradeThatFailed: Helm compares with the last one that
// succeeded, which did not have what the failed one made.
func TestNothingStaysOfAnUpgradeThatFailed(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	p, client := start(t, b.config(t)), b.client(t)
	w := wanted(t, p)
	w.Public = false // nobody has to find it
	apply(t, p, w)
	until(t, p, w.ID, provision.Ready)

	// Interrupted when the Ingress was made, and another want before that.
	behind := w
	behind.Public, behind.PublicMode, behind.Host = true, provision.Ingress, w.Name+".example.com"
	plan, err := p.config.plan(chartUnderTest(t), nil, behind, access{Host: behind.Host, Port: 443})
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.helm(w.Name)
	if err != nil {
		t.Fatal(err)
	}
	op := action.NewUpgrade(c)
	op.Namespace, op.DryRun, op.DisableOpenAPIValidation = w.Name, true, true
	half, err := op.Run(w.Name, chartUnderTest(t), plan.values)
	if err != nil {
		t.Fatal(err)
	}
	half.SetStatus(release.StatusPendingUpgrade, "Preparing upgrade")
	if err := c.Releases.Create(half); err != nil {
		t.Fatal(err)
	}
	for manifest := range strings.SplitSeq(half.Manifest, "\n---\n") {
		if !strings.Contains(manifest, "\nkind: Ingress") {
			continue
		}
		objects, err := c.KubeClient.Build(strings.NewReader(manifest), false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.KubeClient.Create(objects); err != nil {
			t.Fatal(err)
		}
	}
	ingresses, err := client.NetworkingV1().Ingresses(w.Name).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(ingresses.Items) != 1 {
		t.Fatalf("there are %d Ingresses, %v", len(ingresses.Items), err)
	}
	owned := []byte(`{"metadata":{"annotations":{"meta.helm.sh/release-name":"` + w.Name + `","meta.helm.sh/release-namespace":"` + w.Name + `"}}}`) // as Helm marks what it makes
	if _, err := client.NetworkingV1().Ingresses(w.Name).Patch(t.Context(), ingresses.Items[0].Name, types.MergePatchType, owned, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}

	w.CPURequestMilli = 200
	apply(t, p, w)
	until(t, p, w.ID, provision.Ready)
	if ingresses, err = client.NetworkingV1().Ingresses(w.Name).List(t.Context(), metav1.ListOptions{}); err != nil || len(ingresses.Items) != 0 {
		t.Errorf("there are %d Ingresses left, %v", len(ingresses.Items), err)
	}
	if all := history(t, p, w.Name); all[len(all)-1].Info.Status != release.StatusDeployed {
		t.Errorf("the last revision is %s", all[len(all)-1].Info.Status)
	}
}

// TestARemovalThatWaitsForPodsLetsOthersWork: Helm is done by then.
func TestARemovalThatWaitsForPodsLetsOthersWork(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	config := b.config(t)
	config.MaxOperations = 1
	p, client := start(t, config), b.client(t)
	w := wanted(t, p)
	apply(t, p, w)
	until(t, p, w.ID, provision.Ready)
	pod := p.window.scene(w.ID).pods[0].Name
	keep := func(finalizers string) {
		t.Helper()
		_, err := client.CoreV1().Pods(w.Name).Patch(t.Context(), pod, types.MergePatchType, []byte(`{"metadata":{"finalizers":`+finalizers+`}}`), metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	keep(`["example.com/keep"]`)
	done := make(chan error, 1)
	go func() { done <- p.Destroy(t.Context(), w.ID) }()
	for range 600 { // until Helm has removed the release
		if _, err := client.AppsV1().StatefulSets(w.Name).Get(t.Context(), w.Name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	select {
	case p.operations <- struct{}{}:
		<-p.operations
	case <-time.After(podPatience / 2):
		t.Error("whoever wants to work waits for another's pods")
	}
	if n := namespace(t, b, w.Name); n.DeletionTimestamp != nil {
		t.Error("the removal did not wait for its pods")
	}
	keep(`null`)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

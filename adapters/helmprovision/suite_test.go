package helmprovision

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/provision/provisiontest"
)

func randomID() (random [10]byte) {
	_, _ = rand.Read(random[:])
	return random
}

const noImage = `controlPlane: {statefulSet: {pods: {annotations: {localplane.kubebyon.io/behave: image-pull-error}}}}`

// forsake has the host remove what this provisioner made, and does not wait.
func (p *Provisioner) forsake(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	h, err := openHost(p.config.KubeconfigPath, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	all, err := h.client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: managedBy + "=" + managedName})
	if err != nil {
		t.Fatal(err)
	}
	p.recall.mu.Lock()
	defer p.recall.mu.Unlock()
	for _, n := range all.Items {
		for c := range p.recall.probes { // those that got so far that they have a plane
			if n.Labels[labelCluster] == c.String() {
				_ = h.client.CoreV1().Namespaces().Delete(ctx, n.Name, metav1.DeleteOptions{})
			}
		}
	}
}

func TestProvisioner(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	client := b.client(t)
	provisiontest.Run(t, provisiontest.Harness{
		New: func(t *testing.T) provision.Provisioner {
			p := start(t, b.config(t))
			t.Cleanup(func() { p.forsake(t) })
			return p
		},
		Want:    provision.Want{KubernetesVersion: "v1.36.3", CPURequestMilli: 100, MemoryRequestMiB: 512, Public: true, PublicMode: provision.NodePort},
		Arrives: 2 * time.Minute,
		Break: func(t *testing.T, p provision.Provisioner, _ string) func() {
			file := p.(*Provisioner).config.ValuesFile
			writeFile(t, file, noImage)
			return func() { writeFile(t, file, "") }
		},
		Kill: func(t *testing.T, p provision.Provisioner, c id.Cluster) {
			n, now := p.(*Provisioner).window.namespaceOf(c), int64(0)
			err := client.CoreV1().Pods(n.Name).DeleteCollection(t.Context(), metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{LabelSelector: "app=vcluster"})
			if err != nil {
				t.Fatal(err)
			}
		},
		Restart: func(t *testing.T, p provision.Provisioner) provision.Provisioner {
			stop(t, p.(*Provisioner))
			return start(t, p.(*Provisioner).config)
		},
		OtherHost: "clusters.example.com",
	})
}

package helmprovision

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/provision"
)

func apply(t testing.TB, p *Provisioner, w provision.Want) {
	t.Helper()
	if err := p.Apply(t.Context(), w); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}

// until looks until the cluster is in a phase, and shows what it sees.
func until(t testing.TB, p *Provisioner, c id.Cluster, phase provision.Phase, show ...func(provision.Observed)) provision.Observed {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for seen := (provision.Observed{}); ; {
		if seen.Phase == provision.Failed && phase != provision.Failed {
			t.Fatalf("it failed: %s", seen.Reason)
		}
		next, err := p.Await(ctx, c, seen)
		if err != nil {
			t.Fatalf("it is %+v, want %s: %v", seen, phase, err)
		}
		for _, s := range show {
			s(next)
		}
		if seen = next; seen.Phase == phase {
			return seen
		}
	}
}

// refused checks an error's kind and code, and that it is a sentence that says
// this.
func refused(t testing.TB, err error, kind fault.Kind, code, says string) {
	t.Helper()
	e, ok := errors.AsType[*fault.Error](err)
	if !ok || e.Kind != kind || e.Code != code || !strings.Contains(e.Msg, says) || !strings.HasSuffix(e.Msg, ".") {
		t.Errorf("got %v, want %s %s that says %q", err, kind, code, says)
	}
}

// eventually tries until an error has a code.
func eventually(t testing.TB, try func() error, code string) (err error) {
	t.Helper()
	for range 300 {
		if err = try(); fault.CodeOf(err) == code {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// waitFor waits until something is so.
func waitFor(t testing.TB, isSo func() bool) error {
	t.Helper()
	for range 600 {
		if isSo() {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("it did not come so")
}

// speaks has a kubeconfig used as kubectl would.
func speaks(t testing.TB, give func(context.Context, id.Cluster) (secret.Text, error), c id.Cluster) {
	t.Helper()
	text, err := give(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	writeFile(t, file, text.Reveal())
	h, err := openHost(file, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	if _, err := h.client.CoreV1().Namespaces().Get(t.Context(), "kube-system", metav1.GetOptions{}); err != nil {
		t.Errorf("the kubeconfig does not work: %v", err)
	}
}

// notes are annotations; nil removes one.
type notes = map[string]any

// mark writes notes on the namespace, and waits until a process sees them.
func mark(t testing.TB, b *hostBox, p *Provisioner, w provision.Want, n notes) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": n}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.client(t).CoreV1().Namespaces().Patch(t.Context(), w.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	sees(t, p, w, "the notes", func(s scene) bool {
		for name, value := range n {
			if text, _ := value.(string); s.note(name) != text {
				return false
			}
		}
		return true
	})
}

// sees waits until a process sees a cluster as it should be.
func sees(t testing.TB, p *Provisioner, w provision.Want, what string, good func(scene) bool) {
	t.Helper()
	if err := waitFor(t, func() bool { return good(p.window.scene(w.ID)) }); err != nil {
		t.Fatalf("it does not see %s", what)
	}
}

func namespace(t testing.TB, b *hostBox, name string) *corev1.Namespace {
	t.Helper()
	n, err := b.client(t).CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

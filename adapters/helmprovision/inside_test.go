package helmprovision

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// TestTheWaysInFollowWhatIsInstalled, not what is only wanted yet, nor what took
// the place of what was there.
func TestTheWaysInFollowWhatIsInstalled(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	client := b.client(t)
	p := start(t, b.config(t))
	w := wanted(t, p)
	apply(t, p, w)
	until(t, p, w.ID, provision.Ready)
	c := b.config(t)
	c.LookOnly = true // it leaves everything as this test makes it
	q := start(t, c)
	until(t, q, w.ID, provision.Ready)
	before, err := q.Kubeconfig(t.Context(), w.ID)
	if err != nil {
		t.Fatal(err)
	}
	installed := q.window.scene(w.ID)

	// A change waits for a load balancer, and then one is refused by the host.
	changed := w
	changed.PublicMode = provision.LoadBalancer
	for _, on := range []struct{ hash, endpoint string }{{"", ""}, {"refused", "refused.example.com:443"}, {"", ""}} {
		a := &attempt{p: q, want: changed}
		if err := a.find(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := a.write(t.Context(), on.hash, on.endpoint); err != nil {
			t.Fatal(err)
		}
		sees(t, q, w, "the change", func(s scene) bool { return s.note(noteTried) == a.note(noteTried) })
		if after, err := q.Kubeconfig(t.Context(), w.ID); err != nil || !after.Equal(before) {
			t.Errorf("with %+v wanted, what is installed is not published where it was: %v", on, err)
		}
		speaks(t, q.Kubeconfig, w.ID)
		speaks(t, q.Inside, w.ID)
	}
	mark(t, b, q, w, notes{noteEndpoint: installed.note(noteEndpoint)})
	mark(t, b, q, w, notes{noteHash: installed.note(noteHash)})
	until(t, q, w.ID, provision.Ready)

	// Another control plane under the old name is no way into the old one.
	mark(t, b, q, w, notes{noteExisted: "another"})
	_, published := q.Kubeconfig(t.Context(), w.ID)
	_, inside := q.Inside(t.Context(), w.ID)
	refused(t, published, fault.Unavailable, "control_plane_not_ready", "not ready")
	refused(t, inside, fault.Unavailable, "control_plane_not_ready", "not ready")
	mark(t, b, q, w, notes{noteExisted: installed.note(noteExisted)})

	// Where there is no way of the platform's own, the users' is not taken.
	c = b.config(t)
	c.LookOnly = true
	c.KubeconfigPath, _, _ = account(t, b, []rbacv1.PolicyRule{
		look(",apps", "namespaces pods secrets services statefulsets deployments", "list watch"),
	})
	blind := start(t, c)
	until(t, blind, w.ID, provision.Ready)
	_, inside = blind.Inside(t.Context(), w.ID)
	refused(t, inside, fault.Unavailable, "host_forbidden", "list nodes")
	if _, err := client.CoreV1().Services(w.Name).Patch(t.Context(), w.Name, types.MergePatchType, []byte(`{"spec":{"type":"ClusterIP"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	sees(t, q, w, "the Service", func(s scene) bool { return s.service != nil && s.service.Spec.Type == corev1.ServiceTypeClusterIP })
	_, inside = q.Inside(t.Context(), w.ID)
	refused(t, inside, fault.Unavailable, "control_plane_out_of_reach", "no way of its own")
}

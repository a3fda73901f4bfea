package helmprovision

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
)

func look(groups, resources, verbs string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: strings.Split(groups, ","), Resources: strings.Fields(resources), Verbs: strings.Fields(verbs)}
}

// asked are the questions that a look raises.
func (p *Provisioner) asked(c id.Cluster) (out []string) {
	p.look(c)
	p.recall.mu.Lock()
	defer p.recall.mu.Unlock()
	for q := range p.recall.questions {
		out = append(out, q)
	}
	return out
}

// TestWhoOnlyLooksNeedsNoRightToWriteAndLeavesNothingUndone: beside a process that
// does the jobs, one sees all that there is and changes nothing; what it leaves
// undone the other one does when it looks.
func TestWhoOnlyLooksNeedsNoRightToWriteAndLeavesNothingUndone(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	var to atomic.Value // where port 443 of any name leads to
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if _, port, _ := net.SplitHostPort(address); port == "443" {
			address, _ = to.Load().(string)
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	c := b.config(t)
	c.Dial = dial
	p := start(t, c)
	w := wanted(t, p)
	apply(t, p, w)
	first := until(t, p, w.ID, provision.Ready)
	to.Store(strings.TrimPrefix(first.Endpoint, "https://"))
	w.PublicMode = provision.LoadBalancer
	apply(t, p, w)
	until(t, p, w.ID, provision.Ready)

	small := b.config(t)
	small.Dial, small.LookOnly, small.Chart = dial, true, "/nowhere"
	small.KubeconfigPath, _, _ = account(t, b, []rbacv1.PolicyRule{
		look(",apps", "namespaces nodes pods secrets services statefulsets deployments", "list watch"),
	})
	q := start(t, small)
	if err := eventually(t, func() error {
		if err := q.Ping(t.Context()); err != nil {
			return err
		}
		return fault.Internal.New("sees", "It sees.")
	}, "sees"); fault.CodeOf(err) != "sees" {
		t.Errorf("Ping: %v", err)
	}
	until(t, q, w.ID, provision.Ready)
	speaks(t, q.Kubeconfig, w.ID)
	speaks(t, q.Inside, w.ID)
	refused(t, q.Apply(t.Context(), w), fault.Unavailable, "left_to_workers", "to workers")
	refused(t, q.Destroy(t.Context(), w.ID), fault.Unavailable, "left_to_workers", "to workers")

	// The worker dies between the last step and the note that it was ready.
	stop(t, p)
	mark(t, b, q, w, notes{noteExisted: nil})
	until(t, q, w.ID, provision.Ready)
	if asked := q.asked(w.ID); len(asked) > 0 {
		t.Errorf("who only looks begins %v", asked)
	}
	p = start(t, c)
	until(t, p, w.ID, provision.Ready)
	if n := namespace(t, b, w.Name); n.Annotations[noteExisted] == "" {
		t.Error("the job's process says that it is ready before that is written down")
	}
	stop(t, p)

	// And before the load balancer had its address.
	mark(t, b, q, w, notes{noteHash: "", noteEndpoint: ""})
	sees(t, q, w, "the load balancer's address", func(s scene) bool { return balancer(s.service) != "" })
	if v := q.look(w.ID); !v.Resume || v.Phase != provision.Pending {
		t.Fatalf("it is %+v", v)
	}
	if asked := q.asked(w.ID); len(asked) > 0 {
		t.Errorf("who only looks begins %v", asked)
	}
	p = start(t, c)
	until(t, p, w.ID, provision.Ready)
	until(t, q, w.ID, provision.Ready)
	if err := p.Destroy(t.Context(), w.ID); err != nil {
		t.Error(err)
	}
}

package memtenant_test

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/memtenant"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/tenant"
	"github.com/kubebyon/kubebyon/ports/tenant/tenanttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	t.Parallel()
	tenanttest.Run(t, tenanttest.Harness{New: newWorld})
}

func newWorld(*testing.T) tenanttest.World {
	var random [10]byte
	_, _ = rand.Read(random[:])
	connector := memtenant.New()
	connector.Now = time.Now
	of := id.New[id.ClusterKind](time.Now(), random)
	h := hands{connector.Cluster(of)}
	return tenanttest.World{
		Connector: connector, Cluster: of, Kubeconfig: secret.New("any"), Namespace: "default",
		AddNode: h.addNode, SetReady: h.setReady, Heartbeat: h.heartbeat, RemoveNode: h.removeNode,
		AddPod: h.addPod, HasPod: h.hasPod, Protect: h.protect,
		Ask: h.ask, AskOtherwise: h.askOtherwise, Verdict: h.verdict, Forget: h.forget, Replace: h.replace,
		Authenticates: h.authenticates, Signed: h.signed, Cut: h.cut,
	}
}

type hands struct{ c *memtenant.Cluster }

func (h hands) addNode(_ *testing.T, name string) {
	h.c.PutNode(tenant.Node{Name: name, UID: rand.Text(), Ready: tenant.True, CreatedAt: time.Now(), ReadySince: time.Now()})
}

func (h hands) setReady(_ *testing.T, name string, c tenant.Condition, message string) {
	h.c.ChangeNode(name, func(n *tenant.Node) { n.Ready, n.ReadyMessage = c, message })
}

func (h hands) heartbeat(_ *testing.T, name string) { h.c.ChangeNode(name, func(*tenant.Node) {}) }

func (h hands) removeNode(_ *testing.T, name string) { h.c.RemoveNode(name) }

func (h hands) addPod(_ *testing.T, p tenanttest.Pod) tenant.Pod {
	name := tenant.Pod{Namespace: "default", Name: p.Name}
	h.c.PutPod(memtenant.Pod{
		Pod: name, Node: p.Node, App: p.App, DaemonSet: p.Kind == tenanttest.DaemonSet, Mirror: p.Kind == tenanttest.Mirror,
		Unmanaged: p.Kind == tenanttest.Unmanaged, EmptyDir: p.EmptyDir, Finished: p.Finished, Stuck: p.Stuck,
	})
	return name
}

func (h hands) hasPod(_ *testing.T, p tenant.Pod) bool { return h.c.HasPod(p) }

func (h hands) protect(_ *testing.T, app string) func() { return h.c.Protect(app) }

func (h hands) ask(_ *testing.T, b tenant.BootstrapToken, node string) tenant.JoinRequest {
	return h.submit("csr-"+rand.Text(), b, node)
}

func (h hands) submit(name string, b tenant.BootstrapToken, node string) tenant.JoinRequest {
	r := tenant.JoinRequest{Name: name, UID: rand.Text(), Bootstrap: b.ID, NodeName: node, KeyHash: rand.Text()}
	h.c.Submit(r)
	return r
}

func (h hands) replace(_ *testing.T, r tenant.JoinRequest, b tenant.BootstrapToken, node string) tenant.JoinRequest {
	h.c.Withdraw(r.Name)
	return h.submit(r.Name, b, node)
}

// askOtherwise has nothing to ask: this tenant knows join requests only.
func (h hands) askOtherwise(*testing.T, tenant.BootstrapToken) []string { return nil }

func (h hands) verdict(_ *testing.T, name string) tenanttest.Verdict {
	v := h.c.Verdict(name)
	return tenanttest.Verdict{Approved: v.Decided && v.Approved, Denied: v.Decided && !v.Approved, Message: v.Reason}
}

func (h hands) forget(_ *testing.T, name string) { h.c.Withdraw(name) }

func (h hands) authenticates(_ *testing.T, tokenID string, value secret.Text) bool {
	b, ok := h.c.Token(tokenID)
	return ok && b.Secret.Equal(value) && b.Expires.After(time.Now())
}

func (h hands) signed(_ *testing.T, tokenID string) bool {
	_, ok := h.c.Token(tokenID)
	return ok
}

func (h hands) cut(*testing.T, bool) func() {
	h.c.SetReachable(false)
	return func() { h.c.SetReachable(true) }
}

func TestTokensAreOrdered(t *testing.T) {
	t.Parallel()
	connector := memtenant.New()
	var of id.Cluster
	in, err := connector.Connect(t.Context(), of, secret.New("any"))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{3, 1, 2} {
		b := tenant.BootstrapToken{ID: fmt.Sprintf("aaaaa%d", i), Secret: secret.New("0123456789abcdef")}
		if err := in.PutBootstrapToken(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if got := connector.Cluster(of).Tokens(); len(got) != 3 || got[0].ID != "aaaaa1" || got[2].ID != "aaaaa3" {
		t.Errorf("tokens %v", got)
	}
}

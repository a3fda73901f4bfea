// Package tenanttest is the contract of package tenant, as tests. It knows no
// adapter: what a machine or a tenant's owner would do, the Harness does.
package tenanttest

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Harness adapts the suite to one adapter.
type Harness struct {
	// New gives one test a way into a tenant. Several tests may share the tenant:
	// they use names of their own, and overlook what is not theirs.
	New func(t *testing.T) World
	// Broken are kubeconfigs that Connect must refuse. Each holds the word
	// "confidential", which the refusal must not.
	Broken []secret.Text
}

// World is a tenant, and hands inside it. What a hand makes, it removes when
// the test ends.
type World struct {
	Connector  tenant.Connector
	Cluster    id.Cluster
	Kubeconfig secret.Text
	Namespace  string // where AddPod puts pods

	AddNode    func(t *testing.T, name string) // a Ready one
	SetReady   func(t *testing.T, name string, c tenant.Condition, message string)
	Heartbeat  func(t *testing.T, name string) // a change of nothing that tenant.Node shows
	RemoveNode func(t *testing.T, name string)

	AddPod  func(t *testing.T, p Pod) tenant.Pod
	HasPod  func(t *testing.T, p tenant.Pod) bool
	Protect func(t *testing.T, app string) (release func()) // a budget that forbids evicting an app's pods

	// Ask does what a kubelet does first: it uses a bootstrap token to ask for a
	// certificate. It returns what the platform should see of that.
	Ask func(t *testing.T, b tenant.BootstrapToken, node string) tenant.JoinRequest
	// AskOtherwise makes requests that are no machine's request to join: by
	// somebody else, for somebody else. It returns their names.
	AskOtherwise func(t *testing.T, b tenant.BootstrapToken) []string
	Verdict      func(t *testing.T, request string) Verdict
	Forget       func(t *testing.T, request string) // deletes a request
	// Replace deletes a request and makes another of the same name.
	Replace func(t *testing.T, r tenant.JoinRequest, b tenant.BootstrapToken, node string) tenant.JoinRequest

	Authenticates func(t *testing.T, tokenID string, value secret.Text) bool
	Signed        func(t *testing.T, tokenID string) bool // cluster-info, with the token

	// Cut makes the tenant unreachable for this World: refusing, or, with silent,
	// taking what is sent and never answering.
	Cut func(t *testing.T, silent bool) (heal func())
}

// Kind is what keeps a pod running.
type Kind string

// The kinds of pods that a drain tells apart.
const (
	Managed   Kind = "managed" // by a controller other than a DaemonSet
	DaemonSet Kind = "DaemonSet"
	Unmanaged Kind = "unmanaged"
	Mirror    Kind = "mirror"
)

// Pod is one to put on a node. It ends at once when it is told to, unless
// Stuck.
type Pod struct {
	Name     string // a prefix is enough for an adapter that cannot choose
	Node     string
	App      string // for Protect
	Kind     Kind
	EmptyDir bool
	Finished bool
	Stuck    bool // for an hour, unless the grace period is zero
}

// Verdict is what has become of a certificate request.
type Verdict struct {
	Approved, Denied bool
	Message          string
}

// Run checks everything package tenant promises.
func Run(t *testing.T, h Harness) {
	for name, group := range map[string]map[string]func(*testing.T, World){
		"Health":  health(),
		"Watch":   watching(),
		"Joining": joining(),
		"Nodes":   nodes(),
		"Drain":   draining(),
		"Objects": objects(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for name, test := range group {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					test(t, h.New(t))
				})
			}
		})
	}
	t.Run("Connect", func(t *testing.T) {
		t.Parallel()
		connecting(t, h)
	})
}

// open connects to the world's tenant.
func (w World) open(t *testing.T) tenant.Tenant {
	t.Helper()
	in, err := w.Connector.Connect(t.Context(), w.Cluster, w.Kubeconfig)
	if err != nil {
		t.Fatalf("Connect: %v", err)
	}
	return in
}

// unique returns a DNS label that no other test uses.
func unique(prefix string) string { return prefix + "-" + strings.ToLower(rand.Text()[:10]) }

// lowerText returns n characters of a-z and 0-9, as bootstrap tokens have.
func lowerText(n int) string { return strings.ToLower(rand.Text()[:n]) }

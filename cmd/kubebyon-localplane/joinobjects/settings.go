// Package joinobjects keeps in a tenant what `kubeadm join` reads, and the permissions it needs
// to read it. The set was found by leaving out one object after the other: nothing else is
// needed, and nothing here can be spared.
//
// Everything is applied on the server's side under one field manager. An object that is already
// as it should be is not written, so nothing changes from one start to the next; the signatures
// that the bootstrap-signer adds to cluster-info belong to another manager and stay.
package joinobjects

// Settings are what the objects tell a joining machine.
type Settings struct {
	ClusterName       string
	Endpoint          string // https://host:port
	Authority         []byte // PEM
	KubernetesVersion string
	PodCIDR           string
	ServiceCIDR       string
	DNSDomain         string
}

const (
	// joiners is the group that a kubeadm bootstrap token carries.
	joiners = "system:bootstrappers:kubeadm:default-node-token"
	nodes   = "system:nodes"

	fieldManager = "kubebyon-localplane"
)

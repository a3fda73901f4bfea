// Package hostplane is a host in a box: a real host cluster (etcd, kube-apiserver,
// kube-controller-manager) in one process that also plays everything below the API. It schedules
// pods, is their kubelet, provides volumes, publishes Services and Ingresses, and serves the
// metrics API. Of pods labelled app=vcluster it runs what they stand for: a real tenant plane, as
// a process of its own. All other pods are said to run and do nothing.
//
// # What a tenant gets
//
// What the Secret vc-config-NAME asks for when the pod starts: the Kubernetes version, networks,
// names in the certificate, the endpoint and the server of the exported kubeconfig. A patch
// version is taken for its minor; a minor that is not offered is an image that is not there. The
// kubeconfig is written into the Secret vc-NAME, a while after the API is ready.
//
// A tenant's data is in the host's directory. It outlives its pods for as long as a volume claim
// labelled release=NAME is in its namespace, and goes with the last of them; without a claim it
// goes with the last pod.
//
// # How it is reached
//
// Each host has a part of 127.0.0.0/8 to itself, which Linux serves without set-up: ClusterIPs
// are real there, and so are the addresses of load balancers. Node ports are on the address that
// the Node has as its InternalIP; the hosts of Ingresses are told apart by the name in the TLS
// handshake, on one port. Ports below 1024 need root or a sysctl; where they are refused, an
// event on the Service says so.
//
// # Misbehaviour
//
// The annotation localplane.kubebyon.io/behave, on the pod or else its namespace, or else the
// flag --behave PATTERN=WORD for names of releases, makes a tenant fail as one may:
//
//	slow=10s          starts that much later
//	crash             ends right after its start, again and again; crash=2: the first two times
//	never             no node has room: the pod stays Pending
//	image-pull-error  the image is not there
//	no-licence        the image wants a licence for private nodes, and ends
//	no-secret         runs, and never writes vc-NAME
//	bad-secret        runs, and writes a vc-NAME that cannot be parsed
//
// The annotation localplane.kubebyon.io/light: "true", or the flag --light-tenants, leaves out a
// tenant's controllers and scheduler: half the memory, for those who only look at its API.
//
// # What it does not do
//
// Nothing is executed: logs, exec and port-forward have no kubelet to ask. Resource requests are
// not counted against the node. One plane serves all replicas of a control plane.
package hostplane

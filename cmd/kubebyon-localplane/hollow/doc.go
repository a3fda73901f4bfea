// Package hollow joins a machine to a control plane as a node and then is that node: the real
// kubelet, over a container runtime that only keeps books. Pods scheduled to it run, are drained
// and evicted as on any node; nothing is ever executed, and nothing is written outside one
// directory. It needs neither root nor a port: a hollow node serves nothing.
//
// The join is kubeadm's. cluster-info is read without trusting anybody, its signature is checked
// with the token and its authority with the pinned hash, it is read again over a connection that
// authority vouches for, and the token then buys a certificate through a signing request, whose
// spec.username is system:bootstrap:<token id>. The token is used from memory only.
//
// A joined directory needs no token again: its certificate and what it joined as are in it. Like
// any kubelet a hollow node registers once, when it starts; if its Node is deleted it comes back
// with the next start, as long as its certificate is accepted.
//
// What a hollow node does not do: logs, exec and port-forward have nothing to show and answer
// with an error; the certificate, good for a year, is not rotated; a restart of the process
// starts its pods' containers anew, as a reboot would.
package hollow

// Package joining makes a machine a node of a control plane, as kubeadm does. cluster-info is
// read without trusting anybody, its signature is checked with the token and its authority with
// the pinned hash, it is read again over a connection that this authority vouches for, and the
// token then buys a certificate through a signing request, whose spec.username is
// system:bootstrap:<token id>. The token is used from memory only: it is in no file that this
// package writes, in no argument and in no log.
//
// A joined directory needs no token again: kubelet.conf, the certificate and what it joined as
// are in it. A join that fails leaves nothing there.
package joining

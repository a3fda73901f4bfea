// Package plane runs a tenant: etcd, kube-apiserver, kube-controller-manager and kube-scheduler
// in one process.
package plane

// Package publish makes tenants reachable: it does for Services and Ingresses what kube-proxy, a
// load balancer and an ingress controller do in a cluster, with plain TCP listeners. TLS is never
// ended here: clients see the tenant's own certificate, whichever way they come.
package publish

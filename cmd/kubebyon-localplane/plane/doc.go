// Package plane runs a tenant: etcd, kube-apiserver, kube-controller-manager and kube-scheduler in
// one process, from one directory that holds everything the tenant is. It knows nothing of
// KubeBYON; what it hands over is progress, an admin.kubeconfig and an API that nodes can join.
//
// One process a tenant, not one for all: the components keep global state (flags, feature gates,
// metrics), and a tenant that dies should die alone. They are reached through their packages'
// functions: their commands each claim the process-wide signal handler.
//
// # Why each tenant has its own etcd
//
// Measured on two processors: a member with nothing in it costs this process 2 MB of its own, 5 MB
// after a few hundred writes, and 0.15 to 0.4 s that pass while kube-apiserver initialises. A
// store shared under prefixes would save that, and would need a process of its own (25 MB), a
// listener that every tenant can reach, and an answer to who else can; one full or broken store
// would be everybody's. A tenant's directory would no longer be the tenant.
//
// # What makes the start fast
//
// From nothing to ready takes 1.4 s of processor time, on a machine that does nothing else 1.3 s,
// on a busy one 1.9 s; a known directory takes 1 s; both with the disk waited for (`go test
// ./acceptance -run '^$' -bench Tenant`). The same components with their defaults need 8 s. What
// counts, most first:
//
//   - The controller-manager is the masters group and not one service account for each of some
//     forty controllers, and its client is not held to 20 requests a second: 5 s.
//   - kube-apiserver's hooks that write the first objects begin with a second of sleep; they are
//     replaced (firstobjects.go): 1 s.
//   - Memory is collected rarely during the start (memory.go): 0.3 s.
//   - A store of one member elects itself after 0.25 s, not 1 s, and nobody waits for it but the
//     first request.
//
// A tenant at rest uses 1.3 % of one processor and some 200 MB of its own; another 110 MB are the
// program itself, which all tenants share.
package plane

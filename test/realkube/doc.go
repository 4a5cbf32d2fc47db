// Package realkube runs a real Kubernetes for the end-to-end tests, in mount, PID and
// network namespaces of its own, so that it changes nothing of the machine and no process
// outlives the tests.
//
// A [Server] is an API server and its etcd: objects can be made and watched, and nothing
// acts on them. A [Node] is a whole cluster of one node: also controllers, scheduler,
// kubelet, proxy, containerd and runc, so that pods run.
//
// It needs Linux, root and what `scripts/tools kubernetes helm` installs. The TestMain of a
// package that uses it calls [Main].
package realkube

// Package hollow is a node without a machine behind it: the real kubelet, over a container
// runtime that only keeps books. Pods scheduled to it run, are drained and evicted as on any
// node; nothing is ever executed, and nothing is written outside one directory. It needs neither
// root nor a port: a hollow node serves nothing.
//
// Like any kubelet it registers once, when it starts; if its Node is deleted it comes back with
// the next start, as long as its certificate is accepted.
//
// What a hollow node does not do: logs, exec and port-forward have nothing to show and answer
// with an error; the certificate, good for a year, is not rotated; a restart of the process
// starts its pods' containers anew, as a reboot would.
package hollow

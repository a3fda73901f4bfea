package planeprovision

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// host is where clients find the control plane.
func (c Config) host(r record) string { return cmp.Or(r.Host, c.Host) }

// shape is everything about a running child that an Apply may change. Another
// shape takes another process.
func (c Config) shape(r record) []string {
	args := []string{"--name", r.Name, "--host", c.host(r), "--kubernetes-version", r.KubernetesVersion}
	known := []string{c.host(r)}
	for _, h := range append(slices.Clone(r.FormerHosts), c.Host) {
		if !slices.Contains(known, h) {
			known, args = append(known, h), append(args, "--san", h)
		}
	}
	return args
}

// arguments are the child's command line.
func (c Config) arguments(r record, dir string) []string {
	args := []string{"tenant", "--dir", dir, "--port", strconv.Itoa(r.Port), "--lifeline-fd", strconv.Itoa(lifelineFD)}
	args = append(args, c.shape(r)...)
	if c.Bind != "127.0.0.1" {
		args = append(args, "--bind-address", c.Bind)
	}
	if c.UnsafeNoFsync {
		args = append(args, "--unsafe-no-fsync")
	}
	return args
}

func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

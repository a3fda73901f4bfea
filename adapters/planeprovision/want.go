package planeprovision

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// check refuses what no control plane can be.
func check(w provision.Want, versions []provision.Version) error {
	var c fault.Check
	c.That(!w.ID.IsZero(), "id", "must not be empty")
	c.That(len(w.Name) <= 40 && label.MatchString(w.Name), "name", "must be a DNS label of at most 40 characters")
	offered := slices.ContainsFunc(versions, func(v provision.Version) bool { return v.Name == w.KubernetesVersion })
	c.That(offered, "kubernetes_version", "is not on offer")
	c.That(w.Host == "" || isHost(w.Host), "host", "must be a DNS name or an IP address")
	c.That(!slices.ContainsFunc(w.FormerHosts, func(h string) bool { return !isHost(h) }), "former_hosts", "must be DNS names or IP addresses")
	c.That(w.CPURequestMilli >= 0 && w.MemoryRequestMiB >= 0, "resources", "must not be negative")
	return c.Err()
}

var (
	label   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	dnsName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
)

// isHost accepts what the child does: names in lower case and addresses without
// a zone. What begins with a dash, and could be taken for a flag, is neither.
func isHost(h string) bool {
	if a, err := netip.ParseAddr(h); err == nil {
		return a.Zone() == ""
	}
	return len(h) <= 253 && dnsName.MatchString(h)
}

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

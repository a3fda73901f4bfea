package provision

import (
	"net/netip"
	"regexp"
	"slices"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// Check refuses, with fault.Invalid, what no control plane can be, whatever runs
// it. Offered are the versions that the backend has.
func (w Want) Check(offered []Version) error {
	var c fault.Check
	c.That(!w.ID.IsZero(), "id", "must not be empty")
	c.That(len(w.Name) <= 40 && label.MatchString(w.Name), "name", "must be a DNS label of at most 40 characters")
	known := slices.ContainsFunc(offered, func(v Version) bool { return v.Name == w.KubernetesVersion })
	c.That(known, "kubernetes_version", "is not on offer")
	c.That(w.Host == "" || IsHost(w.Host), "host", "must be a DNS name or an IP address")
	c.That(!slices.ContainsFunc(w.FormerHosts, func(h string) bool { return !IsHost(h) }), "former_hosts", "must be DNS names or IP addresses")
	c.That(w.CPURequestMilli >= 0 && w.MemoryRequestMiB >= 0, "resources", "must not be negative")
	return c.Err()
}

// HasIngressName says whether an Ingress, if one is wanted, can tell the control
// plane from others, which takes a DNS name: an address leads to all of them.
func (w Want) HasIngressName() bool {
	if !w.Public || w.PublicMode != Ingress {
		return true
	}
	_, err := netip.ParseAddr(w.Host)
	return w.Host != "" && err != nil
}

var (
	label   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)                                   //nolint:gochecknoglobals // a constant
	dnsName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`) //nolint:gochecknoglobals // a constant
)

// IsHost says whether clients can be told to find a control plane under h: a DNS
// name in lower case, or an address without a zone. What begins with a dash, and
// could be taken for a flag, is neither.
func IsHost(h string) bool {
	if a, err := netip.ParseAddr(h); err == nil {
		return a.Zone() == ""
	}
	return len(h) <= 253 && dnsName.MatchString(h)
}

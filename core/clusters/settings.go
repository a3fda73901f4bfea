package clusters

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/text"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Request asks for a cluster. Nil and empty fields take the defaults.
type Request struct {
	Name              string
	VclusterName      string
	Namespace         string
	KubernetesVersion string
	Settings
}

// Settings are what may change during a cluster's life. A nil field stays.
type Settings struct {
	ControlPlaneHost             *string
	WorkloadCPULimitMilli        *int64
	WorkloadMemoryLimitMiB       *int64
	ControlPlaneCPURequestMilli  *int64
	ControlPlaneMemoryRequestMiB *int64
	PublicAccessEnabled          *bool
	PublicAccessMode             *string
	ManagedIngressEnabled        *bool
}

// Defaults of a new cluster.
const (
	defaultWorkloadCPUMilli      = 2000
	defaultWorkloadMemoryMiB     = 4096
	defaultControlPlaneCPUMilli  = 100
	defaultControlPlaneMemoryMiB = 512
)

const (
	maxName         = 63
	maxVclusterName = 40
	maxFormerHosts  = 16
	maxMilli        = 10_000_000
	maxMiB          = 100_000_000
)

var (
	labelRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)                                             //nolint:gochecknoglobals // RFC 1123 label
	hostRE  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`) //nolint:gochecknoglobals // RFC 1123 name
)

func newCluster(i id.Cluster, owner id.User, r Request, versions []provision.Version, now time.Time) (Cluster, error) {
	var check fault.Check
	name := strings.TrimSpace(r.Name)
	check.That(text.IsName(name, maxName), "body.name", "must be 1 to %d printable characters", maxName)
	vcluster, location := r.VclusterName, "body.vcluster_name"
	if vcluster == "" {
		vcluster, location = labelFrom(name), "body.name"
		check.That(vcluster != "" || name == "", "body.vcluster_name", "is required, because none can be made from the name")
	}
	if vcluster != "" {
		check.That(len(vcluster) <= maxVclusterName && labelRE.MatchString(vcluster), location, "must be a DNS-1123 label of at most %d characters", maxVclusterName)
		check.That(!reserved(vcluster), location, "must not be default or begin with kube-")
	}
	version, ok := offered(versions, r.KubernetesVersion)
	check.That(ok, "body.kubernetes_version", "must be one of %s", strings.Join(names(versions), ", "))
	c := Cluster{store.Cluster{
		ID: i, OwnerUserID: owner, Origin: string(Hosted),
		Name: name, VclusterName: vcluster, Namespace: vcluster, KubernetesVersion: version,
		WorkloadCPULimitMilli: defaultWorkloadCPUMilli, WorkloadMemoryLimitMiB: defaultWorkloadMemoryMiB,
		ControlPlaneCPURequestMilli: defaultControlPlaneCPUMilli, ControlPlaneMemoryRequestMiB: defaultControlPlaneMemoryMiB,
		// Machines of the users' own can join only what they can reach.
		PublicAccessEnabled: true, PublicAccessMode: string(provision.NodePort),
		Status: string(Provisioning), ConnectionStatus: string(ConnectionPending),
		Generation: 1, CreatedAt: now, UpdatedAt: now,
	}}
	c.set(&check, r.Settings)
	if err := check.Err(); err != nil {
		return Cluster{}, err
	}
	if r.Namespace != "" && r.Namespace != vcluster {
		e := fault.Invalid.New("namespace_mismatch", "The namespace must be the vcluster_name or left out.")
		e.Fields = []fault.Field{{Location: "body.namespace", Message: "must be equal to vcluster_name"}}
		return Cluster{}, e
	}
	return c, nil
}

// reserved names are namespaces of the host's own, which a tenant's removal
// would take with it.
func reserved(label string) bool { return label == "default" || strings.HasPrefix(label, "kube-") }

// labelFrom turns a name for people into a DNS label, or into nothing.
func labelFrom(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	label := b.String()
	if len(label) > maxVclusterName {
		label = label[:maxVclusterName]
	}
	return strings.Trim(label, "-")
}

// offered finds the version that was asked for, the newest when none was. A
// leading "v" may be left out.
func offered(versions []provision.Version, asked string) (string, bool) {
	if asked == "" {
		return versions[0].Name, true
	}
	i := slices.IndexFunc(versions, func(v provision.Version) bool {
		return v.Name == asked || strings.TrimPrefix(v.Name, "v") == asked
	})
	if i < 0 {
		return "", false
	}
	return versions[i].Name, true
}

func names(versions []provision.Version) []string {
	out := make([]string, len(versions))
	for i, v := range versions {
		out[i] = v.Name
	}
	return out
}

// change applies s and reports whether anything is different.
func (c *Cluster) change(s Settings, now time.Time) (changed bool, err error) {
	if c.Status() == Deleting || c.Status() == Deleted {
		return false, fault.Conflict.New("cluster_not_updatable", "The cluster is being deleted and cannot be changed.")
	}
	before := c.rec
	var check fault.Check
	c.set(&check, s)
	if err := check.Err(); err != nil {
		return false, err
	}
	after := c.rec
	if sameSettings(before, after) && c.Status() != Error {
		return false, nil
	}
	c.rec.Generation++
	c.rec.UpdatedAt = now
	return true, nil
}

func sameSettings(a, b store.Cluster) bool {
	return a.ControlPlaneHost == b.ControlPlaneHost &&
		a.WorkloadCPULimitMilli == b.WorkloadCPULimitMilli && a.WorkloadMemoryLimitMiB == b.WorkloadMemoryLimitMiB &&
		a.ControlPlaneCPURequestMilli == b.ControlPlaneCPURequestMilli && a.ControlPlaneMemoryRequestMiB == b.ControlPlaneMemoryRequestMiB &&
		a.PublicAccessEnabled == b.PublicAccessEnabled && a.PublicAccessMode == b.PublicAccessMode &&
		a.ManagedIngressEnabled == b.ManagedIngressEnabled
}

func (c *Cluster) set(check *fault.Check, s Settings) {
	if s.ControlPlaneHost != nil {
		c.moveTo(check, *s.ControlPlaneHost)
	}
	amount(check, &c.rec.WorkloadCPULimitMilli, s.WorkloadCPULimitMilli, "body.workload_cpu_limit_milli_cores", maxMilli)
	amount(check, &c.rec.WorkloadMemoryLimitMiB, s.WorkloadMemoryLimitMiB, "body.workload_memory_limit_mib", maxMiB)
	amount(check, &c.rec.ControlPlaneCPURequestMilli, s.ControlPlaneCPURequestMilli, "body.control_plane_cpu_request_milli_cores", maxMilli)
	amount(check, &c.rec.ControlPlaneMemoryRequestMiB, s.ControlPlaneMemoryRequestMiB, "body.control_plane_memory_request_mib", maxMiB)
	if s.PublicAccessMode != nil {
		mode := provision.AccessMode(*s.PublicAccessMode)
		check.That(mode == provision.NodePort || mode == provision.LoadBalancer || mode == provision.Ingress,
			"body.public_access_mode", "must be nodeport, loadbalancer or ingress")
		c.rec.PublicAccessMode = string(mode)
	}
	if s.PublicAccessEnabled != nil {
		c.rec.PublicAccessEnabled = *s.PublicAccessEnabled
		if !c.rec.PublicAccessEnabled {
			c.rec.PublicAccessPort = 0
		}
	}
	if s.ManagedIngressEnabled != nil {
		c.rec.ManagedIngressEnabled = *s.ManagedIngressEnabled
	}
	check.That(c.Want().HasIngressName(), "body.control_plane_host", "must be a DNS name when public_access_mode is ingress: one that leads to the ingress")
}

// moveTo changes the host and keeps the old one valid for nodes that joined
// under it.
func (c *Cluster) moveTo(check *fault.Check, host string) {
	host = normalHost(host)
	if host == c.rec.ControlPlaneHost {
		return
	}
	check.That(host == "" || validHost(host), "body.control_plane_host", "must be an IP address or a DNS name, without a port")
	former := slices.DeleteFunc(slices.Clone(c.rec.FormerHosts), func(h string) bool { return h == host || h == c.rec.ControlPlaneHost })
	if c.rec.ControlPlaneHost != "" {
		former = append(former, c.rec.ControlPlaneHost)
	}
	if len(former) > maxFormerHosts {
		former = former[len(former)-maxFormerHosts:]
	}
	c.rec.ControlPlaneHost, c.rec.FormerHosts = host, former
}

// normalHost is the one spelling of a name or an address.
func normalHost(host string) string {
	host = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(host), "."))
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().String()
	}
	return host
}

func validHost(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast()
	}
	return len(host) <= 253 && hostRE.MatchString(host) && strings.ContainsFunc(lastLabel(host), isNotDigit)
}

// lastLabel of a name tells it from a mistyped address: it is never all digits.
func lastLabel(host string) string { return host[strings.LastIndexByte(host, '.')+1:] }

func isNotDigit(r rune) bool { return r < '0' || r > '9' }

func amount(check *fault.Check, field *int64, asked *int64, location string, most int64) {
	if asked == nil {
		return
	}
	check.That(*asked > 0 && *asked <= most, location, "must be between 1 and %d", most)
	*field = *asked
}

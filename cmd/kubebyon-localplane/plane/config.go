package plane

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	netutils "k8s.io/utils/net"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/filestore"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/logfile"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/progress"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

// Config is what a tenant is asked to be.
type Config struct {
	Name        string // of the cluster, in kubeconfigs and kubeadm's objects
	BindAddress string
	Port        int
	Host        string   // the name or address that clients and nodes use
	SANs        []string // further names and addresses the API server answers to
	Version     Version
	PodCIDR     string
	ServiceCIDR string
	NoFsync     bool // loses data in a power cut: for tests

	// Public is the host:port that clients and nodes are told, where something in front of the
	// API server publishes it; Host and Port when empty.
	Public string

	// Listener is what the API server takes over instead of listening on BindAddress and Port,
	// which then say where it listens.
	Listener net.Listener

	Parts Parts

	Dir      *filestore.Dir
	Log      *logfile.Log
	Progress *progress.Reporter
	Now      func() time.Time

	// Dying ends the process from within a component that gives up, and does not return.
	Dying func(reason string)
}

// Parts are what runs beside etcd and kube-apiserver: all of it, unless left out.
type Parts struct {
	NoControllers bool
	NoScheduler   bool
	NoJoin        bool // nothing joins: no objects for kubeadm

	// Controllers is kube-controller-manager's flag of that name; all and those that joining
	// needs when empty.
	Controllers string

	// Residents are run once the API server and the controllers are.
	Residents []Resident
}

// Resident is something that lives in the plane's process and off its API. Like every component
// it takes the plane with it when it ends before ctx does.
type Resident struct {
	Name string
	Run  func(ctx context.Context, client *rest.Config) error
}

// Endpoint is where clients and nodes find the API server.
func (c Config) Endpoint() string {
	if c.Public != "" {
		return "https://" + c.Public
	}
	return "https://" + net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
}

// Check refuses what no component could work with, before anything is written.
func (c Config) Check() error {
	if c.Port < 1 || c.Port > 65535 {
		return refusal.New("The port %d is not within 1 and 65535.", c.Port)
	}
	if net.ParseIP(c.BindAddress) == nil {
		return refusal.New("The bind address %q is not an IP address.", c.BindAddress)
	}
	for _, host := range append([]string{c.Host}, c.SANs...) {
		if !isHost(host) {
			return refusal.New("%q is neither an IP address nor a host name.", host)
		}
	}
	if err := c.checkPublic(); err != nil {
		return err
	}
	if problems := validation.IsDNS1123Subdomain(c.Name); len(problems) > 0 {
		return refusal.New("The cluster name %q is not valid: %s.", c.Name, problems[0])
	}
	return c.checkNetworks()
}

func (c Config) checkNetworks() error {
	pods, err := netip.ParsePrefix(c.PodCIDR)
	if err != nil {
		return refusal.New("The pod network %q is not a CIDR such as 10.244.0.0/16.", c.PodCIDR).Because(err)
	}
	services, err := netip.ParsePrefix(c.ServiceCIDR)
	if err != nil {
		return refusal.New("The service network %q is not a CIDR such as 10.96.0.0/16.", c.ServiceCIDR).Because(err)
	}
	if pods.Overlaps(services) {
		return refusal.New("The pod network %s and the service network %s overlap.", pods, services)
	}
	// Each node is given a /24 of the pod network.
	if pods.Addr().Is4() && pods.Bits() > 24 {
		return refusal.New("The pod network %s has no room for a node's /24.", pods)
	}
	return nil
}

func (c Config) checkPublic() error {
	if c.Public == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(c.Public)
	number, notNumber := strconv.Atoi(port)
	if err != nil || notNumber != nil || number < 1 || number > 65535 || !isHost(host) {
		return refusal.New("The endpoint %q is not a host and a port, such as plane.example.org:443.", c.Public)
	}
	return nil
}

func isHost(host string) bool {
	return net.ParseIP(host) != nil || len(validation.IsDNS1123Subdomain(host)) == 0 ||
		len(validation.IsWildcardDNS1123Subdomain(host)) == 0
}

// hosts is every name and address the API server's certificate is for.
func (c Config) hosts() ([]string, error) {
	_, services, err := netutils.ParseCIDRSloppy(c.ServiceCIDR)
	if err != nil {
		return nil, err
	}
	first, err := netutils.GetIndexedIP(services, 1)
	if err != nil {
		return nil, err
	}
	hosts := []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + dnsDomain,
		first.String(), "localhost", "127.0.0.1", "::1",
	}
	if ip := net.ParseIP(c.BindAddress); !ip.IsUnspecified() {
		hosts = append(hosts, c.BindAddress)
	}
	if host, _, err := net.SplitHostPort(c.Public); err == nil {
		hosts = append(hosts, host)
	}
	hosts = append(hosts, c.Host)
	return append(hosts, c.SANs...), nil
}

// local is where this process finds its own API server.
func (c Config) local() string {
	address := c.BindAddress
	if net.ParseIP(address).IsUnspecified() {
		address = "127.0.0.1"
	}
	return "https://" + net.JoinHostPort(address, strconv.Itoa(c.Port))
}

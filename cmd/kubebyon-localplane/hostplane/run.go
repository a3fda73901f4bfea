package hostplane

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/filestore"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/logfile"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/plane"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/progress"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

// OwnAddress as bind address is a loopback address that no other host has.
const OwnAddress = "own"

// Config is what a host is asked to be.
type Config struct {
	BindAddress  string // of the API server, node ports and Ingresses; or OwnAddress
	Host         string // the name or address that kubeconfig and Node have; the bind address when empty
	Port         int    // of the API server; 0 is a free one, kept
	IngressPort  int    // 0 is a free one, kept
	Rules        []Rule
	LightTenants bool
	NoMetrics    bool
	MaxStarting  int
	SecretDelay  time.Duration // from a tenant's readiness to its kubeconfig
	NoFsync      bool

	Dir      *filestore.Dir
	Log      *logfile.Log
	Progress *progress.Reporter
	Now      func() time.Time
	Dying    func(reason string)

	settings settings
	ingress  net.Listener
}

const (
	podCIDR = "10.244.0.0/16"

	// controllers leaves out those that judge nodes by their heartbeat: a host that was suspended
	// wakes up with all its nodes alive.
	controllers = "*,-node-lifecycle-controller,-taint-eviction-controller,-node-ipam-controller"
)

// Run is a host's life: it returns when ctx ends, with nil, or when a part gives up, with the
// reason.
func Run(ctx context.Context, c Config) error {
	kept, err := loadSettings(c.Dir)
	if err != nil {
		return err
	}
	claim, err := claimRealm(ctx, &kept)
	if err != nil {
		return err
	}
	if claim != nil {
		defer claim.Close() //nolint:errcheck // only held
	}
	if c.BindAddress == OwnAddress {
		c.BindAddress = kept.own().String()
	}
	if c.Host == "" {
		c.Host = c.BindAddress
	}
	if ip := net.ParseIP(c.Host); ip != nil && ip.IsUnspecified() {
		return refusal.New("Clients cannot connect to %s: say with --host under which address they do.", c.Host)
	}
	api, err := listenOn(ctx, c.BindAddress, c.Port, &kept.Port)
	if err != nil {
		return err
	}
	if c.ingress, err = listenOn(ctx, c.BindAddress, c.IngressPort, &kept.IngressPort); err != nil {
		_ = api.Close()
		return err
	}
	defer c.ingress.Close() //nolint:errcheck // closed already when it served
	if err := kept.save(c.Dir); err != nil {
		_ = api.Close()
		return err
	}
	c.settings = kept
	config, err := c.plane(api)
	if err != nil {
		_ = api.Close()
		return err
	}
	return plane.Run(ctx, config)
}

func (c Config) plane(api net.Listener) (plane.Config, error) {
	version, err := plane.FindVersion("")
	if err != nil {
		return plane.Config{}, err
	}
	program, err := os.Executable()
	if err != nil {
		return plane.Config{}, fmt.Errorf("find this program: %w", err)
	}
	config := plane.Config{
		Name: "host", BindAddress: c.BindAddress, Port: c.settings.Port, Host: c.Host, Listener: api,
		Version: version, PodCIDR: podCIDR, ServiceCIDR: c.settings.clusterIPs().String(), NoFsync: c.NoFsync,
		Dir: c.Dir, Log: c.Log, Progress: c.Progress, Now: c.Now, Dying: c.Dying,
		Parts: plane.Parts{
			NoScheduler: true, NoJoin: true, Controllers: controllers,
			Residents: []plane.Resident{{Name: "the box", Run: func(ctx context.Context, client *rest.Config) error {
				return live(ctx, c, program, client)
			}}},
		},
	}
	return config, config.Check()
}

// Package standard is the set of backends that a server has for real operation:
// PostgreSQL, RabbitMQ, and control planes that Helm installs on a host
// Kubernetes. Importing it links all of them.
package standard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"go.uber.org/fx"

	"github.com/kubebyon/kubebyon/adapters/amqpbus"
	"github.com/kubebyon/kubebyon/adapters/argonpass"
	"github.com/kubebyon/kubebyon/adapters/bunstore"
	"github.com/kubebyon/kubebyon/adapters/gobus"
	"github.com/kubebyon/kubebyon/adapters/helmprovision"
	"github.com/kubebyon/kubebyon/adapters/kubetenant"
	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/app/keys"
	"github.com/kubebyon/kubebyon/app/outside"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/passwords"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// Host says where control planes run, and with which chart they are made.
type Host = helmprovision.Config

// What is installed when a Host does not say otherwise.
const (
	DefaultInstallation = helmprovision.DefaultInstallation
	DefaultChart        = helmprovision.DefaultChart
	DefaultChartRepo    = helmprovision.DefaultChartRepo
	DefaultChartVersion = helmprovision.DefaultChartVersion
)

// Versions are releases of Kubernetes on offer.
func Versions(names ...string) (out []provision.Version) {
	for _, name := range names {
		out = append(out, provision.Version{Name: name})
	}
	return out
}

// Config says where everything is.
type Config struct {
	Name        string      // what the broker's tools show for this process; empty: kubebyon
	DatabaseURL secret.Text // postgres://… or sqlite:PATH
	AMQPURL     secret.Text // empty: messages stay inside the process
	AMQPPrefix  string      // begins the name of everything in the broker; empty: kubebyon
	AMQPQuorum  bool        // queues that a cluster of brokers replicates
	// SecretKey is the same for all processes on one database. Empty: with SQLite,
	// a key file beside the database, made if it is not there.
	SecretKey   secret.Text
	Host        Host           // its Log, Now and AttemptDeadline are set here
	JobDeadline time.Duration  // that of the app.Config; 0: its default
	Networks    []netip.Prefix // that are not public, and in which sign-in providers and registered clusters may be; nil: private ones
	Log         *slog.Logger
	Now         func() time.Time
}

var (
	errNoDatabase = errors.New("KUBEBYON_DATABASE_URL is required: postgres://user:password@host:5432/name, or sqlite:PATH for a single process")
	errNoHost     = errors.New("KUBEBYON_KUBECONFIG_PATH is required outside a Kubernetes cluster: the kubeconfig of the host, on which control planes run")
	errAlone      = errors.New("KUBEBYON_DATABASE_URL: a SQLite file is for a single process, and with a broker (KUBEBYON_AMQP_URL) servers and workers share the database: use KUBEBYON_DATABASE_URL=postgres://user:password@host:5432/name, or a server without a broker")
	errNoKey      = errors.New("KUBEBYON_SECRET_KEY is required with PostgreSQL, the same for every process; make one with: openssl rand -base64 32")
)

// Check refuses a Config that no waiting would mend, without a connection. Its
// errors name the variable that is wrong, and no secret.
func (c Config) Check() error {
	if c.DatabaseURL.IsZero() {
		return errNoDatabase
	}
	store, err := bunstore.New(c.store())
	if err != nil {
		return fmt.Errorf("KUBEBYON_DATABASE_URL: %w", err)
	}
	if err := store.Close(); err != nil {
		return err
	}
	if _, err := amqpbus.New(c.bus()); err != nil && !c.AMQPURL.IsZero() {
		return fmt.Errorf("KUBEBYON_AMQP_URL: %w", err)
	}
	if c.isFile() && !c.AMQPURL.IsZero() {
		return errAlone
	}
	return c.checkHost()
}

func (c Config) isFile() bool { return strings.HasPrefix(c.DatabaseURL.Reveal(), "sqlite:") }

func (c Config) checkHost() error {
	if c.Host.KubeconfigPath == "" && os.Getenv("KUBERNETES_SERVICE_HOST") == "" {
		return errNoHost
	}
	for name, file := range map[string]string{
		"KUBEBYON_KUBECONFIG_PATH": c.Host.KubeconfigPath, "KUBEBYON_VCLUSTER_VALUES_FILE": c.Host.ValuesFile,
	} {
		if err := readable(file); err != nil {
			return fmt.Errorf("%s: the file cannot be read: %w", name, err)
		}
	}
	p, err := helmprovision.New(c.host())
	if err != nil {
		return fmt.Errorf("the settings of the host Kubernetes (KUBEBYON_VCLUSTER_…, KUBEBYON_PUBLIC_HOST): %w", err)
	}
	return p.CheckFiles(context.Background())
}

// readable leaves the name of the file out of its error: for it somebody may have
// given what is to be in it.
func readable(file string) error {
	if file == "" {
		return nil
	}
	f, err := os.Open(file)
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Err
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// Modules backs every port. What is replaced in the app is never built, and needs
// nothing in the Config.
func Modules(c Config) (fx.Option, error) {
	master, err := c.master()
	if err != nil {
		return nil, err
	}
	hasher, err := argonpass.New(runtime.GOMAXPROCS(0) - 1) // passwords may keep all cores busy but one
	if err != nil {
		return nil, err
	}
	others, err := outside.Modules(outside.Config{Now: c.Now, Networks: c.Networks, Log: c.Log.With("part", "tenant")})
	if err != nil {
		return nil, err
	}
	bus := gobus.Module
	if !c.AMQPURL.IsZero() {
		bus = amqpbus.Module(c.bus())
	}
	return fx.Options(
		fx.Supply(c.store()), bunstore.Module, bus, helmprovision.Module(c.host()),
		kubetenant.Module(kubetenant.Config{Log: c.Log.With("part", "tenant"), Now: c.Now}),
		keys.Module(master, c.Log), others,
		app.Use[passwords.Hasher](hasher),
	), nil
}

func (c Config) store() bunstore.Config {
	return bunstore.Config{URL: c.DatabaseURL.Reveal(), Log: c.Log.With("part", "store"), Sole: true}
}

func (c Config) bus() amqpbus.Config {
	return amqpbus.Config{
		URL: c.AMQPURL, Name: c.Name, Prefix: c.AMQPPrefix, Quorum: c.AMQPQuorum, Log: c.Log.With("part", "bus"), Now: c.Now,
	}
}

func (c Config) host() helmprovision.Config {
	conf := c.Host
	conf.Log, conf.Now, conf.AttemptDeadline = c.Log.With("part", "host"), c.Now, c.JobDeadline
	return conf
}

func (c Config) master() (keys.Master, error) {
	if !c.SecretKey.IsZero() {
		return keys.FromText(keys.Variable, c.SecretKey)
	}
	path, isFile := strings.CutPrefix(c.DatabaseURL.Reveal(), "sqlite:")
	if !isFile {
		return keys.Master{}, errNoKey
	}
	return keys.FromFile(strings.TrimPrefix(path, "//"), c.Log)
}

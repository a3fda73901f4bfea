package settings

import (
	"errors"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/kubebyon/kubebyon/app/standard"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// Backends says where the database, the broker and the host Kubernetes are. The
// server and its workers are told the same.
type Backends struct {
	database, key string

	amqp, amqpPrefix string
	amqpQuorum       bool

	kubeconfig, publicHost    string
	installation              string
	chart, repo, chartVersion string
	values, licence           string
	sharedNodes               bool
	versions                  versions
	networks                  []netip.Prefix
	operations                int
}

// Register adds the flags.
func (b *Backends) Register(fs *pflag.FlagSet) {
	fs.StringVar(&b.database, "database-url", "", "postgres://user:password@host:5432/name, or sqlite:PATH for a single process; required (secret)")
	fs.StringVar(&b.key, "secret-key", "", "key for secrets at rest, 32 bytes in base64 or hex, the same for every process on one database; required with PostgreSQL; with SQLite, empty: a key file beside the database (secret)")
	fs.StringVar(&b.amqp, "amqp-url", "", "RabbitMQ, amqp://user:password@host:5672/vhost, to which jobs go; empty: messages stay inside the process (secret)")
	fs.StringVar(&b.amqpPrefix, "amqp-prefix", "kubebyon", "what the names of exchanges and queues begin with")
	fs.BoolVar(&b.amqpQuorum, "amqp-quorum-queues", false, "use queues that a cluster of brokers replicates; those that are there cannot be changed")
	fs.StringVar(&b.kubeconfig, "kubeconfig-path", "", "kubeconfig of the host Kubernetes; empty: the cluster that this process runs in")
	fs.StringVar(&b.installation, "installation", standard.DefaultInstallation, "name that tells this installation of KubeBYON from others on the same host Kubernetes: a DNS label, for good")
	fs.StringVar(&b.publicHost, "public-host", "", "name or address under which clients find the host's node ports; empty: a node's external or internal address")
	fs.StringVar(&b.chart, "vcluster-chart", "", "name of a chart, its path, or oci://…; empty: "+standard.DefaultChart+" "+standard.DefaultChartVersion+" from "+standard.DefaultChartRepo)
	fs.StringVar(&b.repo, "vcluster-chart-repo", "", "repository of the chart, when that is a name; empty: "+standard.DefaultChartRepo+" for the default chart, else none")
	fs.StringVar(&b.chartVersion, "vcluster-chart-version", "", "version of the chart; empty: "+standard.DefaultChartVersion+" of the default chart, else the newest")
	fs.StringVar(&b.values, "vcluster-values-file", "", "YAML of values merged under those that KubeBYON sets")
	fs.StringVar(&b.licence, "vcluster-licence-secret", "", "Secret with vCluster's licence: NAME in each namespace, or NAMESPACE/NAME")
	fs.BoolVar(&b.sharedNodes, "vcluster-shared-nodes", false, "make control planes that no machine can join, which need no licence")
	fs.Var(&b.versions, "kubernetes-versions", "comma-separated versions on offer, newest first; empty: those of the default chart")
	Networks(fs, &b.networks, "private-networks", "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7",
		"networks that are not public and in which sign-in providers and registered clusters may be all the same; a cloud's metadata is never one of them")
	Count(fs, &b.operations, "helm-operations", 4, "how many operations of Helm may run at once")
}

// Config is that of the backends of the process of that name.
func (b *Backends) Config(name string, log *slog.Logger) standard.Config {
	return standard.Config{
		Name: name, DatabaseURL: secret.New(b.database), SecretKey: secret.New(b.key),
		AMQPURL: secret.New(b.amqp), AMQPPrefix: b.amqpPrefix, AMQPQuorum: b.amqpQuorum,
		Host: standard.Host{
			KubeconfigPath: b.kubeconfig, Installation: b.installation, PublicHost: b.publicHost, Chart: b.chart, ChartRepo: b.repo, ChartVersion: b.chartVersion,
			ValuesFile: b.values, LicenceSecret: b.licence, SharedNodes: b.sharedNodes, Versions: standard.Versions(b.versions...), MaxOperations: b.operations,
		},
		Networks: b.networks,
		Log:      log, Now: func() time.Time { return time.Now().UTC().Truncate(time.Millisecond) },
	}
}

// HasBroker says whether messages leave the process.
func (b *Backends) HasBroker() bool { return b.amqp != "" }

// versions is a flag that lists releases of Kubernetes.
type versions []string

var versionRE = regexp.MustCompile(`^v1\.[0-9]{1,3}\.[0-9]{1,3}$`) //nolint:gochecknoglobals // a constant

func (v *versions) String() string { return strings.Join(*v, ",") }
func (v *versions) Type() string   { return "versions" }

func (v *versions) Set(text string) error {
	var out versions
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if !versionRE.MatchString(part) {
			return errors.New("must be a comma-separated list of releases such as v1.36.3")
		}
		out = append(out, part)
	}
	*v = out
	return nil
}

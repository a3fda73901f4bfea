package helmprovision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kubebyon/kubebyon/ports/provision"
)

// What is installed when the Config does not say otherwise.
const (
	DefaultChart        = "vcluster"
	DefaultChartRepo    = "https://charts.loft.sh"
	DefaultChartVersion = "0.36.1"
)

// Config says on which host cluster, with which chart, and how. Log and Now must
// be set.
type Config struct {
	KubeconfigPath string // of the host cluster; empty: the cluster that this process runs in

	// Installation tells this installation of KubeBYON from others on the same host
	// cluster: a DNS label; empty: DefaultInstallation. What another one made is
	// neither seen nor touched.
	Installation string

	// Chart is a name in ChartRepo, a path, or an oci:// reference. All three are
	// the official chart's, pinned, when Chart is empty.
	Chart        string
	ChartRepo    string
	ChartVersion string
	CacheDir     string // for charts that are fetched; empty: in the user's cache folder
	ValuesFile   string // YAML, merged under the values that this package sets; empty: none

	// SharedNodes leaves privateNodes off: machines of the users' own cannot join.
	SharedNodes bool
	// LicenceSecret names the Secret with vCluster's licence, as NAME in each
	// control plane's namespace or as NAMESPACE/NAME; empty: vCluster's own way.
	LicenceSecret string
	// PublicHost is where clients find the node ports of the host cluster; empty:
	// a node's ExternalIP, or else its InternalIP.
	PublicHost string
	// Versions on offer, newest first; empty: a release of each of the minors
	// 1.33 to 1.36.
	Versions []provision.Version

	// LookOnly leaves all that changes the host cluster to other processes: what
	// they made is seen, and Apply and Destroy are refused. Less rights do for it.
	LookOnly bool

	Log *slog.Logger
	Now func() time.Time

	MaxOperations  int           // of Helm at once; 0: 4
	RequestTimeout time.Duration // for one request to the host cluster; 0: 20 s

	// AttemptDeadline is after how long whoever asked for a control plane, or for
	// its end, gives up waiting; 0: 5 min. The reason why it does not come is to be
	// known before, so that the next four are less: by default as much as is
	// named, or less when this is short.
	AttemptDeadline time.Duration
	ChartTimeout    time.Duration // until a chart that is not fetched yet counts as missing; 0: 30 s
	PublishTimeout  time.Duration // until one that runs, but does not answer where it is published, counts as failed; 0: 2 min
	StuckTimeout    time.Duration // until one whose pod cannot start counts as failed; 0: 2 min
	DeleteDeadline  time.Duration // for a removal; 0: 4 min

	// Dial reaches published endpoints to look whether they answer; nil: by TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func (c Config) withDefaults() (Config, error) {
	if c.Log == nil || c.Now == nil {
		return c, errors.New("helmprovision: Log and Now must be set")
	}
	c.Installation = cmp.Or(c.Installation, DefaultInstallation)
	if len(validation.IsDNS1123Label(c.Installation)) > 0 {
		return c, errors.New("helmprovision: Installation must be a DNS label: lower-case letters, digits and hyphens (KUBEBYON_INSTALLATION)")
	}
	if c.PublicHost != "" && !provision.IsHost(c.PublicHost) {
		return c, errors.New("helmprovision: PublicHost must be a DNS name or an IP address")
	}
	if strings.Count(c.LicenceSecret, "/") > 1 || strings.HasPrefix(c.LicenceSecret, "/") || strings.HasSuffix(c.LicenceSecret, "/") {
		return c, errors.New("helmprovision: LicenceSecret must be NAME or NAMESPACE/NAME")
	}
	if c.Chart == "" {
		c.Chart, c.ChartRepo, c.ChartVersion = DefaultChart, cmp.Or(c.ChartRepo, DefaultChartRepo), cmp.Or(c.ChartVersion, DefaultChartVersion)
	}
	if c.CacheDir == "" {
		c.CacheDir = filepath.Join(cacheHome(), "kubebyon", "charts")
	}
	c.Versions = slices.Clone(c.Versions)
	if len(c.Versions) == 0 {
		c.Versions = DefaultVersions()
	}
	c.MaxOperations = cmp.Or(max(c.MaxOperations, 0), 4)
	c.RequestTimeout = cmp.Or(max(c.RequestTimeout, 0), 20*time.Second)
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	return c.withDeadlines()
}

// withDeadlines fits what is waited for into the time of an attempt.
func (c Config) withDeadlines() (Config, error) {
	c.AttemptDeadline = cmp.Or(max(c.AttemptDeadline, 0), 5*time.Minute)
	fifth := c.AttemptDeadline / 5
	c.PublishTimeout = cmp.Or(max(c.PublishTimeout, 0), min(2*time.Minute, 2*fifth))
	c.StuckTimeout = cmp.Or(max(c.StuckTimeout, 0), min(2*time.Minute, 2*fifth))
	c.DeleteDeadline = cmp.Or(max(c.DeleteDeadline, 0), min(4*time.Minute, 4*fifth))
	c.ChartTimeout = cmp.Or(max(c.ChartTimeout, 0), min(30*time.Second, c.AttemptDeadline/3))
	if longest := max(c.PublishTimeout, c.StuckTimeout, c.DeleteDeadline, c.ChartTimeout); longest >= c.AttemptDeadline {
		return c, fmt.Errorf("helmprovision: PublishTimeout, StuckTimeout, DeleteDeadline and ChartTimeout must be shorter than the %v of an attempt (KUBEBYON_JOB_DEADLINE_SECONDS), but one is %v", c.AttemptDeadline, longest)
	}
	return c, nil
}

func cacheHome() string {
	if dir, err := os.UserCacheDir(); err == nil {
		return dir
	}
	return os.TempDir()
}

// DefaultVersions are those of Kubernetes that the official chart names an image
// of and that are not past their end of life, newest first.
func DefaultVersions() []provision.Version {
	return []provision.Version{{Name: "v1.36.0"}, {Name: "v1.35.0"}, {Name: "v1.34.0"}, {Name: "v1.33.4"}}
}

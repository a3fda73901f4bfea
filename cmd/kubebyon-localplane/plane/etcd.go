package plane

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/filestore"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

const (
	megabyte = 1 << 20

	// logSegment is how much of the write-ahead log is laid out on disk at a time. There are always
	// two, and etcd's own 64 MB would be most of an idle tenant's disk.
	logSegment = 8 * megabyte

	// storeQuota is where the store stops taking writes; Kubernetes compacts it every 5 minutes.
	storeQuota = 2048 * megabyte
)

// store is the tenant's own etcd. It listens on a Unix socket in the tenant's private directory
// and nowhere else: there is no peer to listen for, and nobody else on the machine can reach it.
type store struct {
	etcd *embed.Etcd
	url  string
	dir  *filestore.Dir
}

// startStore returns as soon as the socket is there. The API server may connect right away and
// initialise while the single member still elects itself.
func startStore(c Config) (*store, error) {
	wal.SegmentSizeBytes = logSegment
	s := &store{url: "unix://" + c.Dir.SocketPath("etcd.sock"), dir: c.Dir}
	config, err := s.config(c)
	if err != nil {
		return nil, err
	}
	if err := s.begin(config.Dir); err != nil {
		return nil, fmt.Errorf("make the store: %w", err)
	}
	s.etcd, err = embed.StartEtcd(config)
	if err != nil {
		return nil, refusal.New("The store in %s cannot be opened: %v.", config.Dir, err).Because(err)
	}
	return s, nil
}

// unborn is there from before the store is made until the API server has been ready on it. A
// store that was cut off before it had written down that it is its own only member would never
// elect itself; nobody has put anything into it yet, so it is made anew.
const unborn = "etcd.unborn"

func (s *store) begin(store string) error {
	mark, err := filestore.Read(s.dir.Path(unborn))
	if err != nil {
		return err
	}
	if mark != nil {
		return os.RemoveAll(store)
	}
	if _, err := os.Stat(store); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := filestore.Write(s.dir.Path(unborn), []byte("The store beside this file is being made.\n")); err != nil {
		return err
	}
	return s.dir.Sync()
}

// born is for the moment from which the store holds what others rely on.
func (s *store) born() error {
	if err := os.Remove(s.dir.Path(unborn)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("keep the store: %w", err)
	}
	return s.dir.Sync()
}

func (s *store) config(c Config) (*embed.Config, error) {
	clients, err := url.Parse(s.url)
	if err != nil {
		return nil, fmt.Errorf("name the socket: %w", err)
	}
	// Only names: nothing listens there and nobody asks for them, but etcd wants some, and keeps
	// the second for ever.
	advertised, peers := url.URL{Scheme: "http", Host: "127.0.0.1:2379"}, url.URL{Scheme: "http", Host: "127.0.0.1:2380"}

	config := embed.NewConfig()
	config.Name = "plane"
	config.Dir = c.Dir.Path("etcd")
	config.ListenClientUrls = []url.URL{*clients}
	config.AdvertiseClientUrls = []url.URL{advertised}
	config.ListenPeerUrls = nil
	config.AdvertisePeerUrls = []url.URL{peers}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.UnsafeNoFsync = c.NoFsync
	config.QuotaBackendBytes = storeQuota
	config.MaxWalFiles, config.MaxSnapFiles = 2, 2
	// A single member waits for nobody: a short election is a fast start. The tick stays slow
	// enough to cost an idle tenant nothing.
	config.TickMs, config.ElectionMs = 50, 250
	config.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration // 0 where unset: every request
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(c.Log.Zap(zapcore.WarnLevel, func(line string) {
		c.Dying(fmt.Sprintf("The store in %s gave up: %s.", config.Dir, strings.TrimSuffix(line, ".")))
	}))
	return config, nil
}

// ready waits until the store takes writes.
func (s *store) ready(ctx context.Context) error {
	select {
	case <-s.etcd.Server.ReadyNotify():
		return nil
	case err := <-s.etcd.Err():
		return fmt.Errorf("serve the store: %w", err)
	case <-s.etcd.Server.StopNotify():
		return fmt.Errorf("the store stopped by itself")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop closes the files. Clients that still hold a stream are not waited for: they are all in
// this process, and what was acknowledged is on disk already.
func (s *store) stop(patience time.Duration) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.etcd.Server.HardStop()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		klog.InfoS("The store did not close in time")
	}
}

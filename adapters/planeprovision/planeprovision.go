// Package planeprovision implements provision.Provisioner and provision.Catalog
// on one machine: every cluster is a real control plane, run by the program
// kubebyon-localplane as a child process.
//
// It keeps the children running, and all that they are in one folder. It does
// not look inside a control plane: a child says by itself how far it has come.
// Children end with this process, however that ends, and are started again by
// the next one, on the same port and with the same certificate authority.
package planeprovision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// Config says where and how. Dir, Binary, Log and Now must be set.
type Config struct {
	Dir    string // made if it is not there, mode 0700; one process at a time uses it
	Binary string // kubebyon-localplane
	Log    *slog.Logger
	Now    func() time.Time

	Host     string // where clients find a cluster that wants no Host; empty: 127.0.0.1
	Bind     string // the address that control planes listen on; empty: 127.0.0.1
	PortFrom int    // control planes get ports from here; 0: 16443
	PortTo   int    // to here; 0: 17442

	// MaxStarting is how many control planes may be on their way up at once; 0:
	// one for each processor, at least two. Waiting for a turn is quicker than
	// sharing the processors with many others.
	MaxStarting  int
	ReadyTimeout time.Duration // for one start, once it has its turn; 0: three minutes
	StopGrace    time.Duration // between asking a child to end and killing it; 0: ten seconds

	// UnsafeNoFsync loses data in a power cut. It is for tests.
	UnsafeNoFsync bool
}

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" || c.Binary == "" || c.Log == nil || c.Now == nil {
		return c, errors.New("planeprovision: Dir, Binary, Log and Now must be set")
	}
	c.Host = cmp.Or(c.Host, "127.0.0.1")
	c.Bind = cmp.Or(c.Bind, "127.0.0.1")
	c.PortFrom, c.PortTo = cmp.Or(c.PortFrom, 16443), cmp.Or(c.PortTo, 17442)
	if c.PortFrom < 1 || c.PortFrom > c.PortTo || c.PortTo > 65535 {
		return c, fmt.Errorf("planeprovision: ports from %d to %d are no range", c.PortFrom, c.PortTo)
	}
	if !provision.IsHost(c.Host) {
		return c, errors.New("planeprovision: Host must be a DNS name or an IP address")
	}
	c.MaxStarting = cmp.Or(max(c.MaxStarting, 0), max(2, runtime.GOMAXPROCS(0)))
	c.ReadyTimeout = cmp.Or(max(c.ReadyTimeout, 0), 3*time.Minute)
	c.StopGrace = cmp.Or(max(c.StopGrace, 0), 10*time.Second)
	return c, nil
}

// Provisioner is safe for concurrent use, from Start to Stop.
type Provisioner struct {
	config   Config
	pace     pace
	starting chan struct{} // one taken for each control plane on its way up
	changed  bell.Bell     // rung whenever an observation has changed
	hurry    chan struct{} // closed when children may not take their time to end
	living   sync.WaitGroup
	meter    meter

	// changing is held while what is in the folder changes, which takes
	// milliseconds; mu is held while looking. changing comes first.
	changing sync.Mutex
	folder   *folder

	mu       sync.Mutex
	stage    life
	versions []provision.Version
	planes   map[id.Cluster]*plane
	keep     func(*plane) // starts to keep a plane
	end      context.CancelFunc
}

// life is how far a Provisioner's own has come.
type life int

const (
	unborn life = iota
	running
	over
)

// New checks the Config. It touches nothing.
func New(c Config) (*Provisioner, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Provisioner{
		config: c, pace: normalPace(), starting: make(chan struct{}, c.MaxStarting),
		hurry: make(chan struct{}), planes: map[id.Cluster]*plane{},
	}, nil
}

// Start asks the program what it offers, takes the folder for this process, and
// starts every control plane in it again. It does not wait for them.
func (p *Provisioner) Start(ctx context.Context) error {
	p.changing.Lock()
	defer p.changing.Unlock()
	if !p.isUnborn() {
		return errors.New("planeprovision: started before")
	}
	binary, err := filepath.Abs(p.config.Binary)
	if err != nil {
		return fmt.Errorf("find the local control plane program: %w", err)
	}
	p.config.Binary = binary
	versions, err := askVersions(ctx, binary)
	if err != nil {
		return err
	}
	if p.folder, err = openFolder(p.config.Dir); err != nil {
		return err
	}
	records, err := p.folder.records()
	if err != nil {
		return errors.Join(err, p.folder.close())
	}
	p.begin(context.WithoutCancel(ctx), versions, records)
	return nil
}

// begin lets every recorded plane live, the oldest first.
func (p *Provisioner) begin(ctx context.Context, versions []provision.Version, records []record) {
	ctx, end := context.WithCancel(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stage, p.versions, p.end = running, versions, end
	p.keep = func(pl *plane) { p.living.Go(func() { pl.live(ctx) }) }
	for _, r := range records {
		p.add(r)
	}
	p.config.Log.Info("local control planes are kept", "count", len(records), "dir", p.folder.path)
}

// add makes a plane known and begins to keep it. mu is held.
func (p *Provisioner) add(r record) {
	pl := &plane{p: p, rec: r, seen: provision.Observed{Phase: provision.Pending, Stage: provision.Queued}, endTurn: func() {}}
	if r.Destroying {
		pl.seen = removing("")
	}
	p.planes[r.ID] = pl
	p.keep(pl)
	p.changed.Ring()
}

func (p *Provisioner) isUnborn() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stage == unborn
}

// Stop ends every child and returns when all are gone. Children that have not
// ended by themselves when ctx does are killed.
func (p *Provisioner) Stop(ctx context.Context) error {
	if !p.beginToEnd() {
		return nil
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.living.Wait()
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		close(p.hurry)
		<-ended
	}
	return p.folder.close()
}

// beginToEnd lets what is being changed be finished, and nothing else begin.
func (p *Provisioner) beginToEnd() bool {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.stage
	p.stage = over
	if was == running {
		p.end()
		p.changed.Ring() // for those who wait in Destroy
	}
	return was == running
}

// Ping says whether control planes are kept at all.
func (p *Provisioner) Ping(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.alive()
}

func (p *Provisioner) alive() error {
	if p.stage != running {
		return fault.Unavailable.New("planes_not_kept", "Control planes are not being kept at the moment.")
	}
	return nil
}

// Versions implements provision.Catalog. There are none before Start.
func (p *Provisioner) Versions() []provision.Version {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.versions)
}

// Apply implements provision.Provisioner. It fails with fault.Unavailable while
// the cluster is being removed. A cluster whose data folder has gone it does not
// make anew: that would be another cluster under the name of this one.
func (p *Provisioner) Apply(ctx context.Context, want provision.Want) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.changing.Lock()
	defer p.changing.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.alive(); err != nil {
		return err
	}
	if err := want.Check(p.versions); err != nil {
		return err
	}
	pl := p.planes[want.ID]
	if pl == nil && want.Existed {
		return fault.Invalid.New("data_gone", "Nothing is left of this control plane under %s. What was in it cannot be made again: delete the cluster.", p.config.Dir)
	}
	if pl == nil {
		return p.create(ctx, want)
	}
	return pl.apply(want)
}

// create gives a new plane its port and its folder. Both locks are held.
func (p *Provisioner) create(ctx context.Context, want provision.Want) error {
	port, err := p.choosePort(ctx, want.ID)
	if err != nil {
		return err
	}
	r := record{ID: want.ID, Port: port}
	r.take(want)
	if r, err = p.folder.makePlane(r); err != nil {
		return err
	}
	p.add(r)
	return nil
}

// Observe implements provision.Provisioner.
func (p *Provisioner) Observe(ctx context.Context, cluster id.Cluster) (provision.Observed, error) {
	return p.look(cluster), ctx.Err()
}

func (p *Provisioner) look(cluster id.Cluster) provision.Observed {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pl := p.planes[cluster]; pl != nil {
		return pl.seen
	}
	return provision.Observed{Phase: provision.Absent}
}

// Await implements provision.Provisioner.
func (p *Provisioner) Await(ctx context.Context, cluster id.Cluster, seen provision.Observed) (provision.Observed, error) {
	for {
		rung := p.changed.C()
		if now := p.look(cluster); now != seen {
			return now, ctx.Err()
		}
		select {
		case <-rung:
		case <-ctx.Done():
			return provision.Observed{}, ctx.Err()
		}
	}
}

// Destroy implements provision.Provisioner. What it has begun goes on when ctx
// ends, and after a restart.
func (p *Provisioner) Destroy(ctx context.Context, cluster id.Cluster) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	pl, tries, err := p.condemn(cluster)
	if pl == nil || err != nil {
		return err
	}
	for {
		rung := p.changed.C()
		if gone, err := pl.removed(tries); gone || err != nil {
			return err
		}
		select {
		case <-rung:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// condemn writes down that a plane is to be removed, and has it begin.
func (p *Provisioner) condemn(cluster id.Cluster) (pl *plane, tries int, err error) {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.alive(); err != nil {
		return nil, 0, err
	}
	if pl = p.planes[cluster]; pl == nil {
		return nil, 0, nil
	}
	if !pl.rec.Destroying {
		if err := p.folder.condemn(pl.rec); err != nil {
			return nil, 0, err
		}
		pl.rec.Destroying = true
		pl.show(removing(""))
	}
	pl.endTurn()
	return pl, pl.removals, nil
}

// Kubeconfig implements provision.Provisioner.
func (p *Provisioner) Kubeconfig(ctx context.Context, cluster id.Cluster) (secret.Text, error) {
	if err := ctx.Err(); err != nil {
		return secret.Text{}, err
	}
	switch o := p.look(cluster); o.Phase {
	case provision.Absent:
		return secret.Text{}, fault.NotFound.New("control_plane_not_found", "There is no such control plane.")
	case provision.Ready:
		text, err := p.folder.kubeconfig(cluster)
		if err != nil {
			return secret.Text{}, fault.Unavailable.New("control_plane_not_ready", "The control plane's kubeconfig cannot be read.").Because(err)
		}
		return secret.New(string(text)), nil
	case provision.Pending, provision.Failed, provision.Removing:
	}
	return secret.Text{}, fault.Unavailable.New("control_plane_not_ready", "The control plane is not ready.")
}

// Inside implements provision.Insider: control planes are on this machine,
// whatever name their users know them by.
func (p *Provisioner) Inside(ctx context.Context, cluster id.Cluster) (secret.Text, error) {
	published, err := p.Kubeconfig(ctx, cluster)
	if err != nil {
		return published, err
	}
	seen := p.look(cluster)
	near := "127.0.0.1"
	if a, err := netip.ParseAddr(p.config.Bind); err == nil && !a.IsUnspecified() {
		near = p.config.Bind
	}
	return secret.New(strings.ReplaceAll(published.Reveal(), "server: "+seen.Endpoint, fmt.Sprintf("server: https://%s:%d", bracketed(near), seen.Port))), nil
}

func removing(reason string) provision.Observed {
	return provision.Observed{Phase: provision.Removing, Stage: provision.Deleting, Reason: reason}
}

// missing is what people are told who have not built the program.
func missing(binary string) error {
	return fault.Unavailable.New("localplane_missing", "The local control plane program was not found at %s; run make build.", binary)
}

// isThere tells a missing program from one that does not work.
func isThere(binary string) error {
	info, err := os.Stat(binary)
	if errors.Is(err, os.ErrNotExist) || err == nil && info.IsDir() {
		return missing(binary)
	}
	return err
}

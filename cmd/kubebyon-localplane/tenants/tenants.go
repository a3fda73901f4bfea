package tenants

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

// Name is a tenant's, within its host.
type Name struct{ Namespace, Release string }

func (n Name) String() string { return n.Namespace + "/" + n.Release }

// Want is what a plane should be. Another one means another process on the same directory.
type Want struct {
	Name        string // of the cluster
	Version     string
	Public      string // host:port that clients are told
	SANs        []string
	PodCIDR     string
	ServiceCIDR string
	Light       bool
	NoFsync     bool
	Delay       time.Duration // before it starts
}

// Phase is how far a plane is.
type Phase string

// The phases: Stopped → Starting → Ready, and from both of the latter to Failed, from where it
// is started again after a pause, or to Stopped.
const (
	Stopped  Phase = "Stopped"
	Starting Phase = "Starting"
	Ready    Phase = "Ready"
	Failed   Phase = "Failed"
)

// State is a plane's, at the moment.
type State struct {
	Phase    Phase
	Reason   string    // why it ended, once it has Failed
	Since    time.Time // when the process started, or ended
	Restarts int
	PID      int
	Address  string // host:port that it listens on
	Want     Want
}

// Config is what planes are made with.
type Config struct {
	Program     string // that runs a plane: kubebyon-localplane
	Dir         string
	MaxStarting int                       // planes that start at the same time
	Patience    time.Duration             // until one that starts counts as failed; 0: 2 min
	Pause       func(n int) time.Duration // before the nth restart
	Changed     func(Name)                // is called with no lock held
	Now         func() time.Time
}

// Tenants are the planes of a host.
type Tenants struct {
	config   Config
	starting chan struct{} // a place each

	mu   sync.Mutex
	all  map[Name]*tenant
	runs sync.WaitGroup
}

type tenant struct {
	name     Name
	holders  map[string]bool
	want     Want
	state    State
	listener *net.TCPListener
	news     chan struct{} // one waits when holders or want changed
	running  bool
}

// New takes over the directories that are there.
func New(c Config) *Tenants {
	if c.Patience <= 0 {
		c.Patience = 2 * time.Minute
	}
	return &Tenants{config: c, starting: make(chan struct{}, max(c.MaxStarting, 1)), all: map[Name]*tenant{}}
}

// Hold wants a plane for as long as holder does not let go. Of several holders the last one's
// want counts.
func (t *Tenants) Hold(ctx context.Context, name Name, holder string, w Want) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.all[name]
	if one == nil {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("listen for %s: %w", name, err)
		}
		tcp, ok := l.(*net.TCPListener)
		if !ok {
			return fmt.Errorf("listen for %s: not TCP", name)
		}
		one = &tenant{name: name, holders: map[string]bool{}, listener: tcp, news: make(chan struct{}, 1)}
		one.state = State{Phase: Stopped, Since: t.config.Now()}
		t.all[name] = one
	}
	if one.holders[holder] && reflect.DeepEqual(one.want, w) {
		return nil
	}
	one.holders[holder], one.want = true, w
	one.tell()
	if !one.running {
		one.running = true
		t.runs.Go(func() { t.keep(ctx, one) })
	}
	return nil
}

// LetGo says whether the plane no longer runs for holder's sake. When it does still, Changed
// is called once it has stopped.
func (t *Tenants) LetGo(name Name, holder string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.all[name]
	if one == nil {
		return true
	}
	if one.holders[holder] {
		delete(one.holders, holder)
		one.tell()
	}
	return len(one.holders) > 0 || !one.running
}

// State is Stopped for a name that nobody holds.
func (t *Tenants) State(name Name) State {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one := t.all[name]; one != nil {
		return one.state
	}
	return State{Phase: Stopped}
}

// Running gives the states of all planes that have a process.
func (t *Tenants) Running() map[Name]State {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[Name]State{}
	for name, one := range t.all {
		if one.state.PID != 0 {
			out[name] = one.state
		}
	}
	return out
}

// Dir is where a tenant's data is.
func (t *Tenants) Dir(name Name) string {
	return filepath.Join(t.config.Dir, name.Namespace, name.Release)
}

// OnDisk names those that have a directory, running or not.
func (t *Tenants) OnDisk() ([]Name, error) {
	found, err := fs.Glob(os.DirFS(t.config.Dir), "*/*")
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	var names []Name
	for _, path := range found {
		names = append(names, Name{Namespace: filepath.Dir(path), Release: filepath.Base(path)})
	}
	return names, err
}

// Forget removes the data of a plane that nobody holds.
func (t *Tenants) Forget(name Name) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one := t.all[name]; one != nil {
		if one.running {
			return nil // it is asked again when it has stopped
		}
		_ = one.listener.Close()
		delete(t.all, name)
	}
	if err := os.RemoveAll(t.Dir(name)); err != nil {
		return fmt.Errorf("remove the data of %s: %w", name, err)
	}
	// Gone unless another release lives in the namespace.
	_ = os.Remove(filepath.Dir(t.Dir(name)))
	return nil
}

// Wait returns when every plane has stopped, after the context of the holds has ended.
func (t *Tenants) Wait() {
	t.runs.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, one := range t.all {
		_ = one.listener.Close()
	}
}

func (one *tenant) tell() {
	select {
	case one.news <- struct{}{}:
	default:
	}
}

// keep runs one plane after the other for as long as somebody holds the name.
func (t *Tenants) keep(ctx context.Context, one *tenant) {
	for {
		want, held := t.wanted(ctx, one)
		if !held {
			t.config.Changed(one.name)
			return
		}
		reason := t.runOnce(ctx, one, want)
		if reason == "" {
			continue
		}
		restarts := t.failed(one, reason)
		t.config.Changed(one.name)
		t.pause(ctx, one, t.config.Pause(restarts))
	}
}

// wanted marks the tenant as not running in the same breath that finds it unheld.
func (t *Tenants) wanted(ctx context.Context, one *tenant) (Want, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-one.news:
	default:
	}
	if len(one.holders) == 0 || ctx.Err() != nil {
		one.running = false
		one.state = State{Phase: Stopped, Since: t.config.Now()}
		return Want{}, false
	}
	return one.want, true
}

// runOnce gives the reason of an end that nobody asked for.
func (t *Tenants) runOnce(ctx context.Context, one *tenant, want Want) string {
	if want.Delay > 0 {
		t.set(one, State{Phase: Starting, Want: want})
		t.config.Changed(one.name)
		if changed := t.pause(ctx, one, want.Delay); changed {
			return ""
		}
	}
	select {
	case t.starting <- struct{}{}:
	case <-one.news:
		return ""
	case <-ctx.Done():
		return ""
	}
	place := sync.OnceFunc(func() { <-t.starting })
	defer place()
	c, err := startChild(t.config.Program, t.Dir(one.name), one.listener, want)
	if err != nil {
		return err.Error()
	}
	t.set(one, State{Phase: Starting, PID: c.cmd.Process.Pid, Want: want})
	t.config.Changed(one.name)
	ready, late := c.ready, time.NewTimer(t.config.Patience)
	defer late.Stop()
	for {
		select {
		case <-late.C:
			c.stop()
			return fmt.Sprintf("The control plane was not ready within %v. See %s.", t.config.Patience, filepath.Join(t.Dir(one.name), "plane.log"))
		case <-ready:
			ready = nil
			late.Stop()
			place()
			t.set(one, State{Phase: Ready, PID: c.cmd.Process.Pid, Address: one.listener.Addr().String(), Want: want})
			t.config.Changed(one.name)
		case <-one.news:
			if t.stillWants(one, want) {
				continue
			}
			c.stop()
			return ""
		case <-ctx.Done():
			c.stop()
			return ""
		case <-c.ended:
			return c.reason
		}
	}
}

// stillWants is true while somebody holds the tenant as it runs.
func (t *Tenants) stillWants(one *tenant, running Want) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(one.holders) > 0 && reflect.DeepEqual(one.want, running)
}

func (t *Tenants) set(one *tenant, s State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Restarts, s.Since = one.state.Restarts, t.config.Now()
	one.state = s
}

func (t *Tenants) failed(one *tenant, reason string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	klog.InfoS("A control plane ended", "tenant", one.name.String(), "reason", reason)
	one.state = State{Phase: Failed, Reason: reason, Restarts: one.state.Restarts + 1, Since: t.config.Now(), Want: one.state.Want}
	return one.state.Restarts
}

// pause says whether it was cut short by a change.
func (t *Tenants) pause(ctx context.Context, one *tenant, d time.Duration) bool {
	late := time.NewTimer(d)
	defer late.Stop()
	select {
	case <-late.C:
		return false
	case <-one.news:
	case <-ctx.Done():
	}
	return true
}

// Backoff is the kubelet's: from ten seconds, doubled each time, to five minutes.
func Backoff(n int) time.Duration {
	return min(10*time.Second<<min(max(n-1, 0), 5), 5*time.Minute)
}

// Holders are who holds a tenant.
func (t *Tenants) Holders(name Name) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	if one := t.all[name]; one != nil {
		for holder := range one.holders {
			out = append(out, holder)
		}
	}
	slices.Sort(out)
	return out
}

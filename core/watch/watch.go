// Package watch follows every tenant: whether its API answers, which nodes it
// has and how they are, and which machines ask to join. Several processes share
// the clusters out evenly, by leases; a cluster whose process died is followed by
// another one within [Takeover].
package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/outage"
	"github.com/kubebyon/kubebyon/core/nodes"
	"github.com/kubebyon/kubebyon/core/tenants"
	"github.com/kubebyon/kubebyon/core/tokens"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Deps are what a Supervisor cannot work without.
type Deps struct {
	Store    store.Store
	Door     tenants.Door
	Tokens   *tokens.Service
	Log      *slog.Logger
	Now      func() time.Time // the same in all processes: leases are counted by it
	Random   id.Random
	Clusters *bell.Bell // rung when a cluster may have become ready or gone
	Name     string     // of this process; no other living one has it
	Most     int        // clusters that this process follows at once
	Observe  Observer
	// Changed is called in the transaction that writes what has become of a
	// cluster. Nil: nobody is told.
	Changed func(ctx context.Context, tx store.Tx, before, after store.Cluster) error
}

// Observer is told what goes on, in words and numbers only. What is nil is not
// called.
type Observer struct {
	Following func(n int) // how many clusters this process follows, at every look
	Acquired  func(n int) // leases of clusters that this process had not had before
	Restarted func()      // a watch has ended and is begun anew
}

func (o Observer) following(n int) {
	if o.Following != nil {
		o.Following(n)
	}
}

func (o Observer) acquired(n int) {
	if o.Acquired != nil && n > 0 {
		o.Acquired(n)
	}
}

func (o Observer) restarted() {
	if o.Restarted != nil {
		o.Restarted()
	}
}

// Supervisor follows the clusters that this process holds the lease of.
type Supervisor struct{ deps Deps }

// New refuses missing dependencies, so that wiring mistakes fail at start.
func New(d Deps) (*Supervisor, error) {
	if d.Store == nil || d.Door.Provisioner == nil || d.Door.Connector == nil || d.Tokens == nil || d.Log == nil ||
		d.Now == nil || d.Random == nil || d.Clusters == nil || d.Name == "" || d.Most <= 0 {
		return nil, errors.New("watch: every field of Deps must be set")
	}
	return &Supervisor{d}, nil
}

const (
	// Takeover is how long a cluster may go unwatched after its process died.
	Takeover = 15 * time.Second
	lease    = 10 * time.Second
	rescan   = 3 * time.Second
	// storePatience is how long the store may take: no longer than leaves time to notice that leases ran out.
	storePatience = 5 * time.Second
	pageSize      = 500
)

// Run follows clusters until ctx ends; then it gives its leases back.
func (s *Supervisor) Run(ctx context.Context) {
	ctx = actor.With(ctx, actor.Process())
	team := &team{supervisor: s, running: map[id.Cluster]context.CancelFunc{}}
	team.lapse = time.AfterFunc(lease, func() { team.keepOnly(nil) }) // others may have them by now
	defer team.lapse.Stop()
	trouble := outage.New(s.deps.Log, s.deps.Now)
	for ctx.Err() == nil {
		rung := s.deps.Clusters.C()
		switch err := team.assign(ctx); {
		case err == nil:
			trouble.Works(ctx, "clusters to watch are known again")
		case ctx.Err() == nil:
			trouble.Failed(ctx, slog.LevelError, "clusters to watch not known; trying again", err)
		}
		bell.Wait(ctx, rung, team.pause())
	}
	team.dismiss(ctx)
}

// team is the sessions that run now, one for each cluster.
type team struct {
	supervisor *Supervisor
	mu         sync.Mutex // for running
	running    map[id.Cluster]context.CancelFunc
	wg         sync.WaitGroup
	expires    time.Time   // when the leases run out that were last taken
	lapse      *time.Timer // leaves all clusters then, whatever else is waited for
	overSince  time.Time   // since when this process has more than its share; zero: it has not
	short      bool        // somebody else was faster with leases that this process wanted
}

func (t *team) pause() time.Duration {
	if t.short {
		return rescan / 6
	}
	return rescan
}

// assign takes the leases of this process's share of the clusters, begins to
// follow new ones and leaves those that went or that others have.
func (t *team) assign(ctx context.Context) error {
	held, err := t.lease(ctx)
	if err != nil {
		if !t.expires.IsZero() && t.supervisor.deps.Now().After(t.expires) {
			t.keepOnly(nil) // the timer does not count while the machine sleeps
		}
		return err
	}
	t.keepOnly(held)
	fresh := 0
	for c := range held {
		if !t.follows(c) {
			t.follow(ctx, c)
			fresh++
		}
	}
	t.supervisor.deps.Observe.acquired(fresh)
	return nil
}

func (t *team) lease(ctx context.Context) (held map[id.Cluster]bool, err error) {
	d := t.supervisor.deps
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	now := d.Now()
	err = d.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		held, t.short, err = t.agree(ctx, tx, now)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("take leases: %w", err)
	}
	t.expires = now.Add(lease)
	left := t.expires.Sub(d.Now())
	if left <= 0 {
		return nil, errors.New("take leases: it took until they ran out")
	}
	t.lapse.Reset(left)
	return held, nil
}

func (t *team) follows(c id.Cluster) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.running[c] != nil
}

func (t *team) keepOnly(held map[id.Cluster]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c, leave := range t.running {
		if !held[c] {
			leave()
			delete(t.running, c)
		}
	}
	t.supervisor.deps.Observe.following(len(t.running))
}

func (t *team) follow(ctx context.Context, c id.Cluster) {
	ctx, leave := context.WithCancel(ctx)
	t.mu.Lock()
	t.running[c] = leave
	t.supervisor.deps.Observe.following(len(t.running))
	t.mu.Unlock()
	t.wg.Go(func() { newSession(t.supervisor.deps, c).run(ctx) })
}

func (t *team) dismiss(ctx context.Context) {
	names := []string{presenceName(t.supervisor.deps)}
	t.mu.Lock()
	for c := range t.running {
		names = append(names, leaseName(c))
	}
	t.mu.Unlock()
	slices.Sort(names) // as acquire does
	t.keepOnly(nil)
	t.wg.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	d := t.supervisor.deps
	err := d.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return tx.Leases().Release(ctx, names, d.Name) })
	if err != nil {
		d.Log.WarnContext(ctx, "leases not given back", "err", err)
	}
}

var _ nodes.Registrar = (*tokens.Service)(nil)

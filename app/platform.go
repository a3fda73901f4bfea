package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"go.uber.org/fx/fxevent"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/core/clock"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/fleet"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/metering"
	"github.com/kubebyon/kubebyon/core/nodes"
	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/core/overview"
	"github.com/kubebyon/kubebyon/core/reconcile"
	"github.com/kubebyon/kubebyon/core/relay"
	"github.com/kubebyon/kubebyon/core/settings"
	"github.com/kubebyon/kubebyon/core/tenants"
	"github.com/kubebyon/kubebyon/core/tokens"
	"github.com/kubebyon/kubebyon/core/turn"
	"github.com/kubebyon/kubebyon/core/watch"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/store"
)

const stopTimeout = 45 * time.Second

// platform is the domain with its background work.
type platform struct {
	config   Config
	backends backends
	clock    *clock.Clock // dates what is stored and counts leases, the same in all processes

	handler       http.Handler
	settings      *settings.Service
	identity      *identity.Service
	clusters      *clusters.Service
	fleet         *fleet.Service
	tokens        *tokens.Service
	nodes         *nodes.Service
	overview      *overview.Service
	metering      *metering.Service
	notifications *notifications.Service

	written    *bell.Bell // rung when messages to people were written here
	background []func(context.Context)
	lookout    *lookout
	wg         sync.WaitGroup
}

func newPlatform(c Config, b backends, l *lookout) (*platform, error) {
	b = c.Observe.about(b)
	shared, err := clock.New(b.Store, c.part("clock"))
	if err != nil {
		return nil, err
	}
	p := &platform{config: c, clock: shared, lookout: l, written: new(bell.Bell)}
	b.Store = notifications.Ringing(b.Store, p.written.Ring)
	p.backends = b
	l.watch(b)
	// Three bells: a commit may have filled the outbox, a message may mean a job,
	// a settled job may mean a cluster to watch.
	outbox, jobs, settled := new(bell.Bell), new(bell.Bell), new(bell.Bell)
	if err := p.newServices(outbox, settled); err != nil {
		return nil, err
	}
	if err := p.newBackground(outbox, jobs, settled); err != nil {
		return nil, err
	}
	conf := c.Edge()
	conf.Log, conf.Random, conf.Ready = c.part("http"), c.Random, l.check
	if conf.BaseURLs == nil {
		conf.BaseURLs = p.baseURLs
	}
	h, err := httpapi.New(conf, httpapi.Services{
		Identity: p.identity, Clusters: p.clusters, Fleet: p.fleet, Tokens: p.tokens, Nodes: p.nodes, Overview: p.overview,
		Metering: p.metering, Settings: p.settings, Notifications: p.notifications,
	})
	p.handler = h
	return p, err
}

// door leads into hosted and into imported clusters.
func (p *platform) door() tenants.Door {
	b := p.backends
	return tenants.Door{
		Provisioner: b.Provisioner, Connector: b.Tenants,
		Imported: fleet.Credentials{Store: b.Store, Seal: b.Seal, Reader: b.Guests}.Of, Guests: b.Guests,
	}
}

func (p *platform) newServices(outbox, settled *bell.Bell) (err error) {
	c, b := p.config, p.backends
	door := p.door()
	p.settings, err = settings.New(settings.Deps{
		Store: b.Store, Seal: b.Seal, Log: c.part("settings"), Now: p.clock.Now, Random: c.ids(),
		CheckMail: func(s notify.SMTP) error { _, err := b.Channels.Email(s); return err },
	})
	if err != nil {
		return err
	}
	if err := p.newNotifications(); err != nil {
		return err
	}
	p.identity, err = identity.New(identity.Deps{
		Store: b.Store, Passwords: b.Passwords, Seal: b.Seal, Mail: p.notifications,
		Policy: &policy{settings: p.settings, sso: b.SSO, captcha: b.Captcha},
		Log:    c.part("identity"), Now: p.clock.Now, Random: c.ids(), Secret: c.secret,
	})
	if err != nil {
		return err
	}
	p.clusters, err = clusters.New(clusters.Deps{
		Store: b.Store, Seal: b.Seal, Provisioner: b.Provisioner, Catalog: b.Catalog, Now: p.clock.Now, Random: c.ids(),
		CheckPassword: p.identity.CheckPassword, Committed: outbox.Ring, MaxPerUser: c.MaxClustersPerUser,
	})
	if err != nil {
		return err
	}
	p.fleet, err = fleet.New(fleet.Deps{
		Store: b.Store, Seal: b.Seal, Door: door, Reader: b.Guests, Clusters: p.clusters, Now: p.clock.Now, Random: c.ids(), Committed: settled.Ring,
	})
	if err != nil {
		return err
	}
	p.tokens, err = tokens.New(tokens.Deps{
		Store: b.Store, Seal: b.Seal, Door: door, Log: c.part("tokens"), Now: p.clock.Now, Random: c.ids(), Secret: c.secret,
	})
	if err != nil {
		return err
	}
	if p.nodes, err = nodes.New(nodes.Deps{Store: b.Store, Door: door, Now: p.clock.Now, Random: c.ids()}); err != nil {
		return err
	}
	if p.overview, err = overview.New(b.Store); err != nil {
		return err
	}
	p.metering, err = metering.New(b.Store, p.clock.Now)
	return err
}

func (p *platform) newBackground(outbox, jobs, settled *bell.Bell) error {
	c, b := p.config, p.backends
	r, err := relay.New(relay.Deps{Store: b.Store, Publisher: b.Bus, Log: c.part("relay"), Now: p.clock.Now, Bell: outbox})
	if err != nil {
		return err
	}
	w, err := watch.New(watch.Deps{
		Store: b.Store, Door: p.door(), Tokens: p.tokens,
		Log: c.part("watch"), Now: p.clock.Now, Random: c.ids(), Clusters: settled, Name: c.Name, Most: c.MaxWatchedClusters,
		Observe: c.Observe.Watch, Changed: p.notifications.ClusterChanged,
	})
	if err != nil {
		return err
	}
	m, err := metering.NewSampler(metering.Deps{Store: b.Store, Provisioner: b.Provisioner, Log: c.part("metering"), Now: p.clock.Now, Name: c.Name})
	if err != nil {
		return err
	}
	p.background = append(p.background, p.clock.Run, r.Run, w.Run, m.Run, p.identity.RecordKeyUses, p.keepHouse, p.lookout.run)
	if c.LeaveJobs {
		return nil
	}
	return p.newWorker(jobs, settled)
}

func (p *platform) newWorker(jobs, settled *bell.Bell) error {
	c, b := p.config, p.backends
	worker, err := reconcile.New(reconcile.Deps{
		Store: b.Store, Provisioner: b.Provisioner, Log: c.part("reconcile"), Clock: p.clock, Random: c.ids(),
		Jobs: jobs, Settled: settled.Ring, Name: c.Name, Concurrency: c.WorkerConcurrency,
		Lease: c.JobLease, MaxAttempts: c.JobMaxAttempts, Deadline: c.JobDeadline, Observe: c.Observe.Attempt,
		Changed: p.notifications.ClusterChanged,
	})
	if err != nil {
		return err
	}
	p.background = append(p.background, worker.Run, p.listen(worker))
	return p.newDeliverer()
}

// listen takes as many messages about jobs as there may be jobs at once: those
// that are not taken here stay with the broker, for other processes.
func (p *platform) listen(w *reconcile.Worker) func(context.Context) {
	return func(ctx context.Context) {
		for ctx.Err() == nil {
			err := p.backends.Bus.Subscribe(ctx, clusters.JobMessage, "workers", p.config.WorkerConcurrency, w.Heard)
			if err != nil && ctx.Err() == nil {
				p.config.Log.ErrorContext(ctx, "messages about jobs not heard; trying again", "err", err)
				bell.Wait(ctx, nil, 5*time.Second)
			}
		}
	}
}

// start runs after the backends have started.
func (p *platform) start(ctx context.Context) error {
	if err := p.setClock(ctx); err != nil {
		return err
	}
	if err := p.checkKey(ctx); err != nil {
		return err
	}
	if err := p.firstAdmin(ctx); err != nil {
		return fmt.Errorf("make the first administrator: %w", err)
	}
	ctx = p.lookout.begin(context.WithoutCancel(ctx))
	for _, run := range p.background {
		p.wg.Go(func() { run(ctx) })
	}
	return nil
}

// setClock has the store tell the time before anything is dated or leased. A
// store that is slow is asked again.
func (p *platform) setClock(ctx context.Context) error {
	err := p.clock.Set(ctx)
	if slow := errors.Is(err, context.DeadlineExceeded) || fault.CodeOf(err) == "store_busy"; slow && p.clock.Await(ctx) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ask the database for the time: %w", err)
	}
	return nil
}

func (p *platform) stop(ctx context.Context) error {
	p.lookout.drain()
	done := make(chan struct{})
	go func() { p.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("end background work: %w", ctx.Err())
	}
}

var (
	errWrongKey     = errors.New("the secret key is not the one that this database was written with; give the server the key it had before")
	errDamagedCheck = errors.New("the value in the database that tells whether the secret key is the right one is damaged; restore the database from a backup")
)

// checkKey finds out whether this process has the key that the database was
// written with, before anything is read or sealed with the wrong one. Processes
// that start together take turns: the first one's key is the right one.
func (p *platform) checkKey(ctx context.Context) error {
	sealed, err := p.backends.Seal.Seal(ctx, seal.KeyCheck, []byte(seal.KeyCheck))
	if err != nil {
		return fmt.Errorf("check the secret key: %w", err)
	}
	var known []byte
	err = p.backends.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		if err := turn.Take(ctx, tx, seal.KeyCheck, p.clock.Now()); err != nil {
			return err
		}
		known, err = tx.Facts().Get(ctx, seal.KeyCheck)
		if errors.Is(err, fault.NotFound) {
			known = sealed
			return tx.Facts().Set(ctx, seal.KeyCheck, sealed)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read the secret key's check: %w", err)
	}
	_, err = p.backends.Seal.Open(ctx, seal.KeyCheck, known)
	switch fault.CodeOf(err) {
	case "wrong_key":
		return errWrongKey
	case "broken_seal":
		return errDamagedCheck
	}
	if err != nil {
		return fmt.Errorf("check the secret key: %w", err)
	}
	return nil
}

const (
	// adminLease is how long a process has for handing over the first password;
	// if it dies meanwhile, the next one waits for no longer.
	adminLease     = 20 * time.Second
	adminLeaseName = "first-admin"
	adminPause     = 50 * time.Millisecond
)

var errNotTheAdmin = errors.New("another process has made the first administrator meanwhile; the password that this one gave out is not valid. Start again")

// firstAdmin makes the account that everything else is made from. A password
// that was made up is handed over before the account exists: a crash in between
// leaves a password for nothing, not an account that nobody can enter. Of
// processes that start together, one does so, and the others wait for it.
func (p *platform) firstAdmin(ctx context.Context) error {
	f := p.config.FirstAdmin
	if !f.Password.IsZero() {
		_, _, err := p.identity.FirstAdmin(ctx, identity.NewAccount{Email: f.Email, Name: "Administrator", Password: f.Password})
		return err
	}
	if f.HandOver == nil {
		return nil // an embedder that wants no account made
	}
	for {
		there, err := p.identity.HasAdmin(ctx)
		if there || err != nil {
			return err
		}
		mine, err := p.takeLease(ctx, adminLeaseName, adminLease)
		if err != nil {
			return err
		}
		if mine {
			return errors.Join(p.handOver(ctx), p.releaseAdminLease(ctx))
		}
		if !bell.Wait(ctx, nil, adminPause) {
			return ctx.Err()
		}
	}
}

// handOver is called by one process at a time.
func (p *platform) handOver(ctx context.Context) error {
	there, err := p.identity.HasAdmin(ctx) // another one may have been before this one
	if there || err != nil {
		return err
	}
	n := identity.NewAccount{Email: p.config.FirstAdmin.Email, Name: "Administrator"}
	if n.Password, err = p.identity.NewPassword(); err != nil {
		return err
	}
	if err := p.config.FirstAdmin.HandOver(n.Email, n.Password); err != nil {
		return err
	}
	_, made, err := p.identity.FirstAdmin(ctx, n)
	if err == nil && !made {
		return errNotTheAdmin
	}
	return err
}

func (p *platform) takeLease(ctx context.Context, name string, lasts time.Duration) (mine bool, err error) {
	now := p.clock.Now()
	err = p.backends.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		got, err := tx.Leases().Acquire(ctx, []string{name}, p.config.Name, now, now.Add(lasts))
		mine = len(got) > 0
		return err
	})
	return mine, err
}

func (p *platform) releaseAdminLease(ctx context.Context) error {
	return p.backends.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		return tx.Leases().Release(ctx, []string{adminLeaseName}, p.config.Name)
	})
}

const (
	houseFirst = 30 * time.Second // not while the process has its hands full with starting
	houseEvery = 10 * time.Minute
	houseBatch = 1000

	// houseLease outlasts the pause, so that one process goes on with it, and
	// another one does when that has gone.
	houseLease     = houseEvery + time.Minute
	houseLeaseName = "housekeeping"

	// leaseKept is how long a lease stays after it has run out.
	leaseKept = time.Hour
)

// keepHouse removes what nobody needs any more, in one process of all.
func (p *platform) keepHouse(ctx context.Context) {
	for pause := houseFirst; bell.Wait(ctx, nil, pause); pause = houseEvery {
		mine, err := p.takeLease(ctx, houseLeaseName, houseLease)
		if err != nil && ctx.Err() == nil {
			p.config.Log.WarnContext(ctx, "it is not known who removes what is old; trying again", "err", err)
		}
		if !mine || err != nil {
			continue
		}
		p.sweep(ctx, "sessions", p.identity.Prune)
		p.sweep(ctx, "codes", p.identity.PruneCodes)
		p.sweep(ctx, "sign-ins", p.identity.PruneSignIns)
		p.sweep(ctx, "answers", p.clusters.Prune)
		p.sweep(ctx, "messages", p.notifications.Prune)
		p.sweep(ctx, "words of messages", p.notifications.Forget)
		p.sweep(ctx, "leases", p.pruneLeases)
	}
}

// sweep prunes until fewer are removed than a batch holds. Each batch is a
// transaction of its own, so that others get their turn.
func (p *platform) sweep(ctx context.Context, what string, prune func(ctx context.Context, limit int) (int, error)) {
	for n := houseBatch; n >= houseBatch && ctx.Err() == nil; {
		var err error
		if n, err = prune(ctx, houseBatch); err != nil {
			p.config.Log.WarnContext(ctx, "old "+what+" not removed", "err", err)
			return
		}
	}
}

// pruneLeases removes leases that ran out long ago, at most limit of them.
func (p *platform) pruneLeases(ctx context.Context, limit int) (n int, err error) {
	err = p.backends.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		n, err = tx.Leases().DeleteExpired(ctx, p.clock.Now().Add(-leaseKept), limit)
		return err
	})
	return n, err
}

func (c Config) part(name string) *slog.Logger { return c.Log.With("part", name) }

// ids draws the random part of identifiers. Without randomness nothing may go
// on: an identifier that can be guessed or repeats would be worse than a crash.
func (c Config) ids() func() [10]byte {
	return func() (b [10]byte) {
		if err := c.Random(b[:]); err != nil {
			panic(err)
		}
		return b
	}
}

func (c Config) secret() (b [32]byte, err error) { return b, c.Random(b[:]) }

// quiet keeps fx's wiring notes out of the log but for errors.
type quiet struct{ log *slog.Logger }

func (q quiet) LogEvent(e fxevent.Event) {
	switch e := e.(type) {
	case *fxevent.OnStartExecuted:
		q.failed("start of a backend failed", e.Err)
	case *fxevent.OnStopExecuted:
		q.failed("stop of a backend failed", e.Err)
	}
}

func (q quiet) failed(what string, err error) {
	if err != nil {
		q.log.Debug(what, "err", err)
	}
}

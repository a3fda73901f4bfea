package watch

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/outage"
	"github.com/kubebyon/kubebyon/core/kernel/rate"
	"github.com/kubebyon/kubebyon/core/nodes"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

const (
	// patience is how long a tenant may be silent before its nodes are unknown:
	// long enough for a hiccup, short enough to be seen within two seconds.
	patience     = time.Second
	glance       = 10 * time.Millisecond
	firstBackoff = 200 * time.Millisecond
	lastBackoff  = 10 * time.Second
	steady       = 10 * time.Second // that a watch lasts
	probeEvery   = 10 * time.Second
	probeTimeout = 5 * time.Second
	tidyTimeout  = 20 * time.Second
)

// session follows one cluster.
type session struct {
	deps    Deps
	log     *slog.Logger
	cluster id.Cluster

	imported    bool   // others run the cluster
	version     string // that the tenant says it has
	contents    tenant.Contents
	contentsAt  time.Time // when contents were written
	silentSince time.Time // zero while the tenant answers
	lost        bool      // the silence has been written down
	met         bool      // the tenant has been followed by this session before
	remarked    bool      // the cluster tells that not all of it is seen
	waits       string    // what the cluster was last told to wait for; empty: nothing
	backoff     time.Duration
	pace        *nodes.Pace    // of what the tenant costs the store, however often its watch ends
	chatting    sync.Mutex     // for chatter
	chatter     *rate.Bucket   // lines in the log that a tenant causes: of requests and tokens
	alarms      *rate.Bucket   // of what there is too much of
	records     *outage.Teller // of the tenant's silence
}

func newSession(d Deps, c id.Cluster) *session {
	log := d.Log.With("cluster", c.String())
	return &session{
		deps: d, log: log, records: outage.New(log, d.Now), cluster: c, backoff: firstBackoff, pace: nodes.NewPace(),
		chatter: rate.New(20, 0.1), alarms: rate.New(5, 0.01),
	}
}

// run follows the cluster until ctx ends or the cluster is no more.
func (s *session) run(ctx context.Context) {
	for ctx.Err() == nil {
		followed, err := s.attend(ctx)
		if ctx.Err() != nil || errors.Is(err, errOver) {
			return
		}
		if followed >= steady { // not before: a tenant that ends every watch is not asked for its lists all the time
			s.backoff = firstBackoff
		}
		level := slog.LevelDebug
		if s.backoff == lastBackoff && !s.lost { // it answers, and yet cannot be followed
			level = slog.LevelWarn
		}
		s.log.Log(ctx, level, "watch ended; trying again", "err", err)
		s.deps.Observe.restarted()
		s.missed(ctx, err)
		if s.rest(ctx) {
			s.backoff = firstBackoff
		} else {
			s.backoff = min(2*s.backoff, lastBackoff)
		}
	}
}

// rest waits until it is time to try again, or until provisioning has news of
// the control plane, which it reports.
func (s *session) rest(ctx context.Context) (news bool) {
	short, cancel := context.WithTimeout(ctx, s.pause())
	defer cancel()
	if s.imported {
		<-short.Done()
		return false
	}
	seen, err := s.deps.Door.Provisioner.Observe(short, s.cluster)
	for err == nil && bell.Wait(short, nil, glance) { // Await may return with nothing new
		var now provision.Observed
		if now, err = s.deps.Door.Provisioner.Await(short, s.cluster, seen); err == nil {
			seen.Waiting = now.Waiting // that is told in other words is nothing to try again for
			if now != seen {
				return true
			}
		}
	}
	<-short.Done()
	return false
}

// pause is how long to wait before the next try: the back-off, spread by half
// so that tenants of one host that went away are not all asked at one moment.
// A silence that has just begun is looked at again when it should be on record.
func (s *session) pause() time.Duration {
	r := s.deps.Random()
	d := s.backoff/2 + time.Duration(binary.BigEndian.Uint16(r[:2]))*(s.backoff/2)>>16
	if left := patience - s.deps.Now().Sub(s.silentSince); !s.lost && left > 0 && s.backoff <= 2*patience {
		d = min(d, left)
	}
	return d
}

var errOver = errors.New("the cluster is no more")

// attend connects and follows until something breaks; it says for how long it
// did, from the moment at which the tenant's lists were in.
func (s *session) attend(ctx context.Context) (followed time.Duration, err error) {
	rec, err := s.read(ctx)
	if err != nil {
		return 0, err
	}
	s.imported = clusters.Origin(rec.Origin) == clusters.Imported
	in, err := s.greet(ctx)
	if err != nil {
		return 0, err
	}
	v, err := s.visit(ctx, in, rec)
	if err != nil {
		return 0, err
	}
	err = v.run(ctx)
	if since := v.synced.Load(); since != nil {
		followed = s.deps.Now().Sub(*since)
	}
	return followed, err
}

func (s *session) read(ctx context.Context) (rec store.Cluster, err error) {
	return s.change(ctx, func(*clusters.Cluster) bool { return false })
}

// tidy is best effort: a tenant may refuse, and is followed all the same.
func (s *session) tidy(ctx context.Context, in tenant.Tenant) {
	short, cancel := context.WithTimeout(ctx, tidyTimeout)
	defer cancel()
	if err := s.deps.Tokens.Tidy(short, s.cluster, in); err != nil && ctx.Err() == nil && s.mayChat() {
		s.log.WarnContext(ctx, "leftover join tokens not removed", "err", err)
	}
}

// mayChat bounds the lines in the log that a tenant causes.
func (s *session) mayChat() bool {
	s.chatting.Lock()
	defer s.chatting.Unlock()
	return s.chatter.Take(s.deps.Now(), 1)
}

// greet finds the way in and asks whether somebody is there.
func (s *session) greet(ctx context.Context) (tenant.Tenant, error) {
	limit := probeTimeout
	if !s.silentSince.IsZero() && !s.lost {
		limit = patience // a tenant that hangs is as silent as one that refuses
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	in, err := s.deps.Door.Open(ctx, s.cluster)
	if err != nil {
		return nil, err
	}
	if s.version, err = in.Probe(ctx); err != nil {
		return nil, err
	}
	if s.imported { // machines do not join through here: nothing is written
		return in, nil
	}
	return in, in.PrepareJoin(ctx)
}

// change edits the cluster's record and writes it if edit says so.
func (s *session) change(ctx context.Context, edit func(*clusters.Cluster) bool) (rec store.Cluster, err error) {
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		rec, err = tx.Clusters().Get(ctx, store.Everyone(), s.cluster)
		return err
	})
	if c := clusters.Of(rec); err == nil && !edit(&c) {
		return rec, nil // no news: no lock
	}
	if err == nil {
		err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
			if rec, err = tx.Clusters().GetForUpdate(ctx, store.Everyone(), s.cluster); err != nil {
				return err
			}
			c := clusters.Of(rec)
			if !edit(&c) {
				return nil
			}
			before := rec
			rec = c.Record()
			if err := tx.Clusters().Update(ctx, &rec); err != nil || s.deps.Changed == nil {
				return err
			}
			return s.deps.Changed(ctx, tx, before, rec)
		})
	}
	if errors.Is(err, fault.NotFound) {
		return rec, errOver
	}
	return rec, err
}

// missed writes down that the tenant is silent, once it has been for a while. A
// session that has not met it does so at once: what is on record is from before,
// and may be long untrue.
func (s *session) missed(ctx context.Context, why error) {
	now := s.deps.Now()
	if s.silentSince.IsZero() {
		s.silentSince = now
	}
	if silent := now.Sub(s.silentSince); s.met && !s.lost && silent >= 0 && silent < patience {
		return
	}
	switch err := s.lose(ctx, why); {
	case err == nil:
		s.records.Works(ctx, "silence of the tenant is recorded")
	case !errors.Is(err, errOver) && ctx.Err() == nil:
		s.records.Failed(ctx, slog.LevelError, "silence of the tenant not recorded; trying again", err)
	}
}

// lose is called as long as the tenant is silent: the reason may become clear,
// or turn worse, only later.
func (s *session) lose(ctx context.Context, why error) error {
	silence, found := s.diagnose(ctx, why)
	message := silence
	rec, err := s.change(ctx, func(c *clusters.Cluster) bool {
		message = found.words(silence, c.IsBehind())
		now := s.deps.Now()
		over := s.waits != message && c.GoOn(s.waits, now)
		return c.Lose(message, found.failed, now) || over
	})
	if err != nil {
		return err
	}
	if s.waits = ""; message == found.waits {
		s.waits = message
	}
	if s.lost {
		return nil
	}
	s.log.WarnContext(ctx, "cluster unreachable", "reason", message)
	err = nodes.Lose(ctx, s.trackerDeps(), rec)
	s.lost = err == nil
	return err
}

// finding is what provisioning knows of a silent tenant's control plane.
type finding struct {
	reason string // why it has failed
	failed bool
	waits  string // what it waits for; empty: nothing
}

// words are what the cluster is to tell. While it changes, those who work on that
// tell what it waits for, and take it back: what is told here stays until the next
// look, and may be untrue by then.
func (f finding) words(silence string, changes bool) string {
	switch {
	case f.failed:
		return f.reason
	case f.waits != "" && !changes:
		return f.waits
	}
	return silence
}

// diagnose says why a tenant is silent, and asks provisioning what it knows of it.
func (s *session) diagnose(ctx context.Context, why error) (silence string, f finding) {
	silence = "The cluster's API does not answer."
	if told, ok := errors.AsType[*fault.Error](why); ok {
		silence = told.Msg
	}
	if s.imported {
		return silence, f
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	seen, err := s.deps.Door.Provisioner.Observe(ctx, s.cluster)
	if err != nil {
		return silence, f
	}
	return silence, finding{reason: seen.Reason, failed: seen.Phase == provision.Failed, waits: seen.Waiting}
}

func (s *session) trackerDeps() nodes.TrackerDeps {
	return nodes.TrackerDeps{Store: s.deps.Store, Registrar: s.deps.Tokens, Now: s.deps.Now, Random: s.deps.Random, Pace: s.pace}
}

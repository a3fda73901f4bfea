package planeprovision

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// plane is one control plane that is kept: while its life lasts there is a child
// for it, or a reason why not.
//
//	           Apply                  child ready
//	(absent) ────────▶ pending ───────────────────▶ ready
//	    ▲              ▲  │  ▲                        │
//	    │        Apply │  │  └── child ended, restart ─┤
//	    │              │  │                           │ ended again and again
//	    │              │  │ failed again and again,   │
//	    │              │  ▼ or hopelessly             ▼
//	    │              failed ◀───────────────────────┘
//	    │                │  └─ tried again, ever more slowly ─▶ ready
//	    │  all is gone   ▼
//	    └─────────── removing ◀── Destroy, from any of them
//
// A life is a row of turns. A turn keeps the plane in one shape, and ends when
// another is wanted, when the plane is to be removed, or to try again at once.
type plane struct {
	p *Provisioner

	// Guarded by mu. rec changes only while changing is held, too.
	rec      record
	seen     provision.Observed
	child    *child // that runs, or has just ended; nil: none
	trouble  string // why the last attempt of this turn failed, a sentence
	endTurn  context.CancelFunc
	removals int   // that have failed
	removal  error // why the last one did
	isGone   bool
}

// pace says how a plane that does not stay up is tried again.
type pace struct {
	first, most time.Duration // between attempts
	giveUp      int           // failed attempts until it counts as failed
	steady      time.Duration // up for so long, it has recovered
	share       time.Duration // after which a start does not count among those at once
	look        time.Duration // between looks whether the data is still there
	brief       time.Duration // to end, for a child whose data is removed next
}

func normalPace() pace {
	return pace{first: 250 * time.Millisecond, most: 30 * time.Second, giveUp: 4, steady: time.Minute, share: 30 * time.Second, look: 3 * time.Second, brief: 2 * time.Second}
}

// wait doubles with each failure and is spread by half: planes that failed
// together need not start together.
func (p pace) wait(failures int) time.Duration {
	d := min(p.first<<min(failures-1, 20), p.most)
	return d/2 + rand.N(d/2+1) //nolint:gosec // spreading load needs no secrecy
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// apply wants something of a plane that is there. Both locks are held.
func (pl *plane) apply(want provision.Want) error {
	if pl.rec.Destroying {
		return fault.Unavailable.New("control_plane_removing", "The control plane is being removed.")
	}
	next := pl.rec
	next.take(want)
	changes := !slices.Equal(pl.p.config.shape(pl.rec), pl.p.config.shape(next))
	if changes && !pl.rec.Unreadable {
		if err := pl.p.folder.write(next); err != nil {
			return err
		}
		pl.rec = next
	}
	isLost := pl.seen.Phase == provision.Ready && !pl.p.folder.holds(pl.rec)
	if changes || isLost || pl.seen.Phase == provision.Failed {
		pl.show(provision.Observed{Phase: provision.Pending, Stage: provision.Queued})
		pl.endTurn()
	}
	return nil
}

// show publishes an observation. mu is held.
func (pl *plane) show(o provision.Observed) {
	pl.seen = o
	pl.p.changed.Ring()
}

// show during a turn, unless the turn is over.
func (pl *plane) showIn(turn context.Context, o provision.Observed) {
	pl.p.mu.Lock()
	defer pl.p.mu.Unlock()
	if turn.Err() == nil {
		pl.show(o)
	}
}

// progress shows how far an attempt has come. A plane that has failed stays so
// until it is ready or somebody asks for it: attempts go on all the time.
func (pl *plane) progress(turn context.Context, stage provision.Stage, incarnation string) {
	pl.p.mu.Lock()
	defer pl.p.mu.Unlock()
	if turn.Err() == nil && pl.seen.Phase != provision.Failed {
		pl.show(provision.Observed{Phase: provision.Pending, Stage: stage, Waiting: pl.trouble, Incarnation: incarnation})
	}
}

// fret shows why an attempt failed until one succeeds: each takes a moment only,
// and people are to see the reason all the while.
func (pl *plane) fret(turn context.Context, why string) {
	pl.p.mu.Lock()
	pl.trouble = strings.Join(strings.Fields(why), " ")
	pl.p.mu.Unlock()
	pl.progress(turn, provision.StartingPlane, "")
}

// live keeps the plane until ctx ends or it has been removed.
func (pl *plane) live(ctx context.Context) {
	for ctx.Err() == nil {
		turn, end, rec := pl.take(ctx)
		if !rec.Destroying {
			pl.keepUp(turn, rec)
		} else if pl.remove(turn, rec) {
			end()
			return
		}
		end()
	}
	pl.p.mu.Lock()
	defer pl.p.mu.Unlock()
	if pl.seen.Phase == provision.Ready {
		pl.show(provision.Observed{Phase: provision.Pending, Stage: provision.Queued})
	}
}

// take begins a turn with what is wanted now.
func (pl *plane) take(ctx context.Context) (context.Context, context.CancelFunc, record) {
	turn, end := context.WithCancel(ctx)
	pl.p.mu.Lock()
	defer pl.p.mu.Unlock()
	pl.endTurn, pl.trouble = end, ""
	return turn, end, pl.rec
}

// keepUp makes one attempt after the other, until the turn ends.
func (pl *plane) keepUp(turn context.Context, rec record) {
	log := pl.p.config.Log.With("cluster", rec.ID.String(), "name", rec.Name, "port", rec.Port)
	for failures := 1; ; failures++ {
		up, err := pl.attempt(turn, rec)
		if turn.Err() != nil {
			return
		}
		if up >= pl.p.pace.steady {
			failures = 1
		}
		wait := pl.p.pace.wait(failures)
		_, hopeless := errors.AsType[hopelessError](err)
		if hopeless || failures >= pl.p.pace.giveUp {
			pl.showIn(turn, provision.Observed{Phase: provision.Failed, Reason: sentence(err)})
		} else {
			pl.fret(turn, sentence(err))
		}
		log.WarnContext(turn, "control plane is not up; trying again", "failures", failures, "wait", wait, "err", err)
		sleep(turn, wait)
	}
}

// hopelessError is one that a second attempt soon after would meet as well.
type hopelessError struct{ error }

func (h hopelessError) Unwrap() error { return h.error }

// sentence puts an error into words for people.
func sentence(err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Msg
	}
	return "The control plane could not be started. The server's log has the details."
}

// attempt brings a child up and stays with it to its end, or to the turn's. It
// reports how long the child was ready.
func (pl *plane) attempt(turn context.Context, rec record) (up time.Duration, err error) {
	if rec, err = pl.checkData(rec); err != nil {
		return 0, err
	}
	pl.progress(turn, provision.Queued, "")
	held, err := pl.moveIn(turn, rec)
	if err != nil {
		return 0, err
	}
	defer held.Close() //nolint:errcheck // nothing was written
	leave, err := pl.enter(turn)
	if err != nil {
		return 0, err
	}
	defer leave()
	pl.progress(turn, provision.StartingPlane, "")
	if !isFree(turn, pl.p.config.Bind, rec.Port) {
		return 0, fault.Unavailable.New("port_taken",
			"Port %d, which this control plane has for life, is in use by another program on this machine. Once that has ended, the control plane starts by itself.", rec.Port)
	}
	c, err := startChild(pl.p.config.Binary, pl.p.config.arguments(rec, pl.p.folder.abs(rec)), pl.p.folder.abs(rec), held)
	if err != nil {
		return 0, err
	}
	_ = held.Close() // from here on it is the child's
	pl.inhabit(c)
	defer func() { c.stop(pl.grace(), pl.p.hurry); pl.inhabit(nil) }()
	incarnation := fmt.Sprintf("%d-%d", pl.p.config.Now().UnixMilli(), c.pid())
	pl.progress(turn, provision.StartingPlane, incarnation)
	if err := pl.awaitReady(turn, c, incarnation); err != nil {
		return 0, err
	}
	if err := pl.arrive(turn, rec, incarnation); err != nil {
		return 0, err
	}
	leave()
	since := pl.p.config.Now()
	err = pl.stayWith(turn, c, rec)
	return pl.p.config.Now().Sub(since), err
}

// knock is the time between looks whether somebody still lives in a data folder.
const knock = 10 * time.Millisecond

// moveIn takes the data folder once nobody lives in it. A child of an earlier
// process ends by itself, as soon as it sees that its parent is gone.
func (pl *plane) moveIn(turn context.Context, rec record) (*os.File, error) {
	late := time.NewTimer(pl.p.config.StopGrace)
	defer late.Stop()
	for {
		held, err := pl.p.folder.hold(rec)
		if !errors.Is(err, errHeld) {
			return held, err
		}
		select {
		case <-time.After(knock):
		case <-turn.Done():
			return nil, turn.Err()
		case <-late.C:
			return nil, fault.Unavailable.New("data_in_use",
				"Another process that runs this control plane has not ended yet. Once it has, this goes on by itself; see %s.", pl.p.folder.abs(rec)).Because(err)
		}
	}
}

// checkData makes the data folder when a crash came in between, but never again.
func (pl *plane) checkData(rec record) (record, error) {
	switch {
	case rec.Unreadable:
		return rec, hopelessError{fault.Internal.New("record_unreadable",
			"The record of this control plane in %s cannot be read. Put it back, or delete the cluster.", pl.p.folder.path)}
	case rec.Made && !pl.p.folder.holds(rec):
		return rec, hopelessError{pl.lost(rec)}
	case rec.Made:
		return rec, nil
	}
	return pl.rewrite(pl.p.folder.makeData)
}

func (pl *plane) lost(rec record) error {
	return fault.Internal.New("data_gone",
		"The data folder of this control plane is gone: %s. Put it back and it starts by itself, or delete the cluster; what was in it cannot be made again.", pl.p.folder.abs(rec))
}

// rewrite changes what is remembered of the plane.
func (pl *plane) rewrite(edit func(record) (record, error)) (record, error) {
	pl.p.changing.Lock()
	defer pl.p.changing.Unlock()
	pl.p.mu.Lock()
	rec := pl.rec
	pl.p.mu.Unlock()
	if rec.Destroying {
		return rec, errors.New("the control plane is being removed")
	}
	rec, err := edit(rec)
	if err == nil {
		pl.p.mu.Lock()
		pl.rec = rec
		pl.p.mu.Unlock()
	}
	return rec, err
}

// enter waits for a place among those that start. One that takes very long loses
// it: a few that hang must not keep all others down.
func (pl *plane) enter(turn context.Context) (leave func(), err error) {
	select {
	case pl.p.starting <- struct{}{}:
	case <-turn.Done():
		return nil, turn.Err()
	}
	free := sync.OnceFunc(func() { <-pl.p.starting })
	hung := time.AfterFunc(pl.p.pace.share, free)
	return func() { hung.Stop(); free() }, nil
}

// grace is how long a child may take to end. One whose data goes next has
// nothing to put in order.
func (pl *plane) grace() time.Duration {
	pl.p.mu.Lock()
	defer pl.p.mu.Unlock()
	if pl.rec.Destroying {
		return min(pl.p.pace.brief, pl.p.config.StopGrace)
	}
	return pl.p.config.StopGrace
}

// awaitReady follows a child on its way up.
func (pl *plane) awaitReady(turn context.Context, c *child, incarnation string) error {
	late := time.NewTimer(pl.p.config.ReadyTimeout)
	defer late.Stop()
	last := "nothing"
	for {
		select {
		case r := <-c.reports:
			if r.Stage == "ready" {
				return nil
			}
			last = r.Stage
			pl.progress(turn, stageOf(r.Stage), incarnation)
		case <-c.ended:
			return c.why()
		case <-late.C:
			return hopelessError{fault.Timeout.New("start_too_slow",
				"The control plane was not ready within %v; it got as far as %s. See %s.", pl.p.config.ReadyTimeout, last, c.logFile())}
		case <-turn.Done():
			return turn.Err()
		}
	}
}

func stageOf(reported string) provision.Stage {
	switch reported {
	case "etcd_ready":
		return provision.WaitingControlPlane
	case "apiserver_ready":
		return provision.ConfiguringJoin
	case "join_ready":
		return provision.ExportingKubeconfig
	}
	return provision.StartingPlane
}

// arrive shows a plane as ready, if it is the one it was the last time.
func (pl *plane) arrive(turn context.Context, rec record, incarnation string) error {
	digest, err := pl.authority(rec)
	if err != nil {
		return err
	}
	if rec.Authority == "" {
		rec, err = pl.rewrite(func(r record) (record, error) {
			r.Authority = digest
			return r, pl.p.folder.write(r)
		})
		if err != nil {
			return err
		}
	}
	if rec.Authority != digest {
		return hopelessError{pl.lost(rec)}
	}
	pl.p.mu.Lock()
	pl.trouble = ""
	pl.p.mu.Unlock()
	pl.showIn(turn, provision.Observed{
		Phase: provision.Ready, Stage: provision.Done, Port: rec.Port, Incarnation: incarnation,
		Endpoint: fmt.Sprintf("https://%s:%d", bracketed(pl.p.config.host(rec)), rec.Port),
	})
	pl.p.config.Log.InfoContext(turn, "control plane is ready", "cluster", rec.ID.String(), "name", rec.Name, "port", rec.Port, "incarnation", incarnation)
	return nil
}

var authorityLine = regexp.MustCompile(`certificate-authority-data"?: *"?([A-Za-z0-9+/=]+)`)

// authority is a digest of the certificate authority in the kubeconfig.
func (pl *plane) authority(rec record) (string, error) {
	text, err := pl.p.folder.kubeconfig(rec.ID)
	if err != nil {
		return "", fmt.Errorf("read the kubeconfig: %w", err)
	}
	found := authorityLine.FindSubmatch(text)
	if found == nil {
		return "", errors.New("the kubeconfig holds no certificate authority")
	}
	sum := sha256.Sum256(found[1])
	return hex.EncodeToString(sum[:]), nil
}

// stayWith watches over a child that is ready. It would run on for a while
// without its files, and lose what is written meanwhile.
func (pl *plane) stayWith(turn context.Context, c *child, rec record) error {
	look := time.NewTicker(pl.p.pace.look)
	defer look.Stop()
	for {
		select {
		case <-c.reports: // of something that has no meaning here
		case <-look.C:
			if !pl.p.folder.holds(rec) {
				return hopelessError{pl.lost(rec)}
			}
		case <-c.ended:
			return c.why()
		case <-turn.Done():
			return turn.Err()
		}
	}
}

// remove tries until everything is gone or the turn ends.
func (pl *plane) remove(turn context.Context, rec record) (gone bool) {
	for tries := 1; turn.Err() == nil; tries++ {
		err := pl.moveOut(turn, rec)
		if turn.Err() != nil && err != nil {
			return false
		}
		pl.tell(err)
		if err == nil {
			pl.p.config.Log.InfoContext(turn, "control plane is removed", "cluster", rec.ID.String(), "name", rec.Name)
			return true
		}
		pl.p.config.Log.WarnContext(turn, "control plane is not removed; trying again", "cluster", rec.ID.String(), "err", err)
		sleep(turn, pl.p.pace.wait(tries))
	}
	return false
}

// moveOut removes everything once nobody lives in it, who could make it again.
func (pl *plane) moveOut(turn context.Context, rec record) error {
	held, err := pl.moveIn(turn, rec)
	if err != nil {
		return err
	}
	defer held.Close() //nolint:errcheck // nothing was written
	return pl.p.folder.remove(rec)
}

// tell lets whoever waits in Destroy know how a removal went.
func (pl *plane) tell(err error) {
	pl.p.mu.Lock()
	defer pl.p.mu.Unlock()
	if err == nil {
		pl.isGone = true
		delete(pl.p.planes, pl.rec.ID)
		pl.p.changed.Ring()
		return
	}
	pl.removals, pl.removal = pl.removals+1, err
	pl.show(removing(sentence(err)))
}

// removed reports whether the plane is gone, and why not if a removal has failed
// since there had been so many.
func (pl *plane) removed(tries int) (gone bool, err error) {
	pl.p.mu.Lock()
	defer pl.p.mu.Unlock()
	if pl.removals > tries {
		err = pl.removal
	}
	if pl.p.stage == over && !pl.isGone && err == nil {
		err = pl.p.alive()
	}
	return pl.isGone, err
}

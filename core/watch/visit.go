package watch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/nodes"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// visit is one watch of a tenant, and the work that it causes. What the watch
// sees is only taken in by it: writing it down, deciding requests, removing what
// is left of tokens and asking for the tenant's health each have a goroutine of
// their own, so that none of them has to wait for another, nor the watch for any.
type visit struct {
	*session
	in      tenant.Tenant
	tracker *nodes.Tracker

	requests chan tenant.JoinRequest
	missed   atomic.Bool   // more requests came than there was room for
	untidy   chan struct{} // a token has been used up
	synced   atomic.Pointer[time.Time]
	excess   map[string]string // what the cluster has too much of, in words
}

// maxRequests is how many requests to join wait to be decided.
const maxRequests = 1000

// errRequests ends a watch: the next one sees what there was no room for.
var errRequests = errors.New("more machines asked to join at once than could be kept in mind")

func (s *session) visit(ctx context.Context, in tenant.Tenant, rec store.Cluster) (*visit, error) {
	tracker, err := nodes.Track(ctx, s.trackerDeps(), rec)
	return &visit{
		session: s, in: in, tracker: tracker,
		requests: make(chan tenant.JoinRequest, maxRequests), untidy: make(chan struct{}, 1), excess: map[string]string{},
	}, err
}

// run follows the tenant until something breaks, and returns what.
func (v *visit) run(outer context.Context) error {
	ctx, stop := context.WithCancelCause(outer)
	defer stop(nil)
	var beside sync.WaitGroup
	for _, work := range []func(context.Context) error{v.record, v.serve, v.clean, v.probe, v.count} {
		beside.Go(func() { stop(work(ctx)) })
	}
	err := v.in.Watch(ctx, func(c tenant.Change) error { return v.saw(ctx, c) })
	stop(nil)
	beside.Wait()
	cause := context.Cause(ctx)
	v.finish(outer)
	if cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// finish writes down what was seen last: a tenant that ends every watch at once
// would never be written about.
func (v *visit) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	if _, err := v.tracker.Write(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, fault.NotFound) {
		v.log.WarnContext(ctx, "what a watch saw last is not written down", "err", err)
	}
}

// saw takes in a change; it waits for nobody.
func (v *visit) saw(ctx context.Context, c tenant.Change) error {
	switch {
	case c.Node != nil:
		v.tracker.Saw(*c.Node)
	case c.Gone != "":
		v.tracker.Gone(c.Gone)
	case c.Request != nil:
		select {
		case v.requests <- *c.Request:
		default:
			if v.missed.Store(true); len(v.requests) == 0 {
				return errRequests // all have just been decided, and nobody looks any more
			}
		}
	case c.Excess != nil:
		return v.exceed(ctx, *c.Excess)
	case c.Synced:
		v.tracker.Synced()
		return v.arrive(ctx)
	}
	return nil
}

// arrive records that the tenant can be followed. That it answers is not
// enough: people would read of nodes that nobody has seen for long.
func (v *visit) arrive(ctx context.Context) error {
	if err := v.reached(ctx); err != nil {
		return err
	}
	v.silentSince, v.lost, v.met = time.Time{}, false, true
	now := v.deps.Now()
	v.synced.Store(&now)
	v.tidyUp()
	return v.remark(ctx)
}

// exceed has the cluster tell that not all of it is followed.
func (v *visit) exceed(ctx context.Context, e tenant.Excess) error {
	if delete(v.excess, e.What); e.Most > 0 {
		v.excess[e.What] = fmt.Sprintf("The cluster has more than %d %s: the others are not seen.", e.Most, e.What)
		if v.alarms.Take(v.deps.Now(), 1) {
			v.log.WarnContext(ctx, "a cluster has more than is followed", "what", e.What, "most", e.Most)
		}
	}
	if v.synced.Load() == nil {
		return nil // told when the lists are in
	}
	return v.remark(ctx)
}

func (v *visit) remark(ctx context.Context) error {
	var all []string
	for _, what := range slices.Sorted(maps.Keys(v.excess)) {
		all = append(all, v.excess[what])
	}
	message := strings.Join(all, " ")
	if message == "" && !v.remarked {
		return nil // what else it tells is not ours to take back
	}
	v.remarked = message != ""
	_, err := v.change(ctx, func(c *clusters.Cluster) bool { return c.Remark(message, v.deps.Now()) })
	return err
}

// reached writes down that the tenant answers, where that is news.
func (v *visit) reached(ctx context.Context) error {
	moved := false
	_, err := v.change(ctx, func(c *clusters.Cluster) bool {
		moved = v.imported && v.synced.Load() != nil && c.Connection() == clusters.ConnectionPending
		if moved {
			return false
		}
		told := v.imported && c.Tell(v.version)
		return c.Reach(v.deps.Now()) || told
	})
	if moved {
		return errMoved
	}
	return err
}

// errMoved ends a watch of a cluster that has been given another credential.
var errMoved = errors.New("the cluster is to be reached in another way")

// countEvery is how often what is in a cluster is counted, countKept for how long
// the same counts are not written again.
const (
	firstCount = 10 * time.Second // all clusters of a new process are not counted at one moment
	countEvery = time.Minute
	countKept  = 10 * time.Minute
)

// count keeps how much there is in the cluster. It is best effort: a credential
// may not be allowed to know.
func (v *visit) count(ctx context.Context) error {
	r := v.deps.Random()
	pause := time.Duration(binary.BigEndian.Uint16(r[:2])) * firstCount >> 16
	for ; bell.Wait(ctx, nil, pause); pause = countEvery {
		short, cancel := context.WithTimeout(ctx, probeTimeout)
		err := v.counted(short)
		cancel()
		if err != nil && ctx.Err() == nil && v.mayChat() {
			v.log.DebugContext(ctx, "what is in the cluster is not counted", "err", err)
		}
	}
	return ctx.Err()
}

func (v *visit) counted(ctx context.Context) error {
	seen, err := v.in.Contents(ctx)
	if err != nil {
		return err
	}
	now := v.deps.Now()
	if v.contents == seen && now.Sub(v.contentsAt) < countKept {
		return nil
	}
	err = v.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		return tx.Fleet().Count(ctx, v.cluster, store.Contents{Namespaces: seen.Namespaces, Pods: seen.Pods, CountedAt: &now})
	})
	if err == nil {
		v.contents, v.contentsAt = seen, now
	}
	return err
}

// record writes down what is seen of nodes.
func (v *visit) record(ctx context.Context) error { return v.tracker.Run(ctx, v.tidyUp) }

func (v *visit) tidyUp() {
	select {
	case v.untidy <- struct{}{}:
	default: // somebody has asked for it already
	}
}

// clean removes what is left of tokens that are over.
func (v *visit) clean(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-v.untidy:
			v.tidy(ctx, v.in)
		}
	}
}

// serve decides requests to join.
func (v *visit) serve(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r := <-v.requests:
			if err := v.decide(ctx, r); err != nil {
				return err
			}
		}
		if len(v.requests) == 0 && v.missed.Load() {
			return errRequests
		}
	}
}

func (v *visit) decide(ctx context.Context, r tenant.JoinRequest) error {
	verdict, err := v.deps.Tokens.Decide(ctx, v.cluster, r)
	if err != nil || !verdict.Ours {
		return err
	}
	if v.mayChat() {
		v.log.InfoContext(ctx, "a machine asks to join", "node", r.NodeName, "approved", verdict.Approve, "reason", verdict.Reason)
	}
	return v.in.DecideJoin(ctx, r, verdict.Approve, verdict.Reason)
}

// probe asks the tenant for its health until ctx ends or it does not answer.
func (v *visit) probe(ctx context.Context) error {
	for bell.Wait(ctx, nil, probeEvery) {
		short, cancel := context.WithTimeout(ctx, probeTimeout)
		_, err := v.in.Probe(short)
		cancel()
		if err == nil && v.synced.Load() != nil {
			err = v.reached(ctx)
		}
		if err != nil {
			return err
		}
		v.tidyUp()
	}
	return ctx.Err()
}

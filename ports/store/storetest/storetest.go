// Package storetest is the contract of package store, as tests: an adapter that
// passes [Run] may take the place of any other. Each check has a store of its
// own, so that they run side by side; their names are what a store promises.
//
// The codes of faults are part of it. Clients see them, whatever the adapter.
package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Harness adapts the suite to one adapter.
type Harness struct {
	// New returns an empty store, and cleans up through t.
	New func(t *testing.T) store.Store
	// Serial says that the store runs one transaction at a time: what needs two
	// open at once is left out. Why says why that is good enough.
	Serial bool
	Why    string
}

// Run checks everything that package store promises.
func Run(t *testing.T, h Harness) {
	if h.Serial && h.Why == "" {
		t.Fatal("a Serial store says why")
	}
	for _, group := range []checks{
		transactions, records(), users, removal, sessions, apiKeys, codes, identities, signIns, avatars, preferences,
		settings, deliveries, clusters, fleet, operations, jobs, claims,
		tokens, nodes, nodeEvents, audit, outbox, replies, leases, facts, controlPlaneSamples, backlog,
	} {
		for name, check := range group {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				check(newWorld(t, h))
			})
		}
	}
}

type checks map[string]func(*world)

// world is one check's store and the things in it.
type world struct {
	*testing.T
	store.Store
	harness Harness
	mu      sync.Mutex
	made    uint32 // how many identifiers there are
}

func newWorld(t *testing.T, h Harness) *world { return &world{T: t, Store: h.New(t), harness: h} }

type do = func(ctx context.Context, tx store.Tx) error

// tx runs do in a transaction that has to succeed.
func (w *world) tx(do do) {
	w.Helper()
	w.must(w.try(do))
}

func (w *world) try(do do) error { return w.InTx(w.Context(), do) }

// read runs do in a View that has to succeed.
func (w *world) read(do do) {
	w.Helper()
	w.must(w.View(w.Context(), do))
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// needsTwo leaves out a check that keeps two transactions open.
func (w *world) needsTwo() {
	if w.harness.Serial {
		w.Skip("one transaction at a time: " + w.harness.Why)
	}
}

// fails checks the kind and the code of a failure.
func (w *world) fails(err error, kind fault.Kind, code string) {
	w.Helper()
	if !errors.Is(err, kind) || fault.CodeOf(err) != code {
		w.Errorf("got %v, want %s with code %s", err, kind, code)
	}
}

func (w *world) conflict(err error, code string) {
	w.Helper()
	w.fails(err, fault.Conflict, code)
}

func (w *world) missing(err error, what string) {
	w.Helper()
	w.fails(err, fault.NotFound, what+"_not_found")
}

func (w *world) stale(err error) {
	w.Helper()
	w.conflict(err, "stale_version")
}

// is compares two values that == can.
func is[T comparable](w *world, what string, got, want T) {
	w.Helper()
	if got != want {
		w.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// atOnce runs do n times side by side and returns the errors, in order of n.
func atOnce(n int, do func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = do(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// oneWins checks that one of several rivals succeeded and that the others were
// told why not.
func (w *world) oneWins(errs []error, code string) {
	w.Helper()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		w.conflict(err, code)
	}
	is(w, "winners", won, 1)
}

// patience is for what ought to happen at once, on a machine that is busy.
const patience = 20 * time.Second

// moment is how long a check waits for what ought not to happen.
const moment = 100 * time.Millisecond

// meanwhile runs do in a transaction of its own beside one that is open, until
// it ends or waits for that one. What it returns tells whether it has ended.
func (w *world) meanwhile(do do) (ended bool, wait func() error) {
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = w.try(do)
	}()
	select {
	case <-done:
		ended = true
	case <-time.After(moment):
	}
	return ended, func() error {
		select {
		case <-done:
			return err
		case <-time.After(patience):
			return errors.New("still waiting for a transaction that has ended")
		}
	}
}

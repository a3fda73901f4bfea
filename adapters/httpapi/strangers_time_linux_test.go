package httpapi_test

import (
	"context"
	"fmt"
	"maps"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// TestForeignTakesAsLongAsAbsent: the difference in time is less than half of
// what one read of the database takes, so that no read can hide in it. It is
// the processor's time, which a busy machine does not stretch: here nothing
// waits for anything else.
func TestForeignTakesAsLongAsAbsent(t *testing.T) {
	t.Parallel()
	for name, s := range surfaces() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorldOf(t, parts{store: openSQLite(t), perUser: 1000, connect: func(c tenant.Connector) tenant.Connector { return c }})
			foreign := w.estate(userEmail, "foreign")
			other := w.byKey(otherEmail, nil)
			for _, op := range rubbishOperations(t, s.doc) {
				for _, p := range op.hidden(s.table[op.id]) {
					there, absent := maps.Clone(foreign.named), maps.Clone(foreign.named)
					absent[p] = altered(foreign.named[p])
					body := op.variants(s.table[op.id])[0].body
					w.sameTime(t, op.id+" with a foreign "+p,
						func() {
							w.server.ServeHTTP(httptest.NewRecorder(), other.request(op.method, op.target(t, there), body))
						},
						func() {
							w.server.ServeHTTP(httptest.NewRecorder(), other.request(op.method, op.target(t, absent), body))
						})
				}
			}
		})
	}
}

const (
	timedPairs  = 30
	timedRounds = 8
)

// sameTime compares the times that a and b take, in turns, with the time of one
// read. A difference that is there is there in every round.
func (w *world) sameTime(t *testing.T, what string, a, b func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var said []string
	for range timedRounds {
		var apart, reads []time.Duration
		for i := range timedPairs {
			if i%2 == 0 {
				first := took(a)
				apart = append(apart, first-took(b))
			} else {
				first := took(b)
				apart = append(apart, took(a)-first)
			}
			reads = append(reads, took(w.read))
		}
		off, one := median(apart), median(reads)
		if off < one/2 && off > -one/2 {
			t.Logf("%s: %s apart; one read takes %s", what, off, one)
			return
		}
		said = append(said, fmt.Sprintf("%s apart, one read takes %s", off, one))
	}
	t.Errorf("%s: the times differ in %d rounds of %d pairs: %s", what, timedRounds, timedPairs, strings.Join(said, "; "))
}

// read is one read of the database.
func (w *world) read() {
	_ = w.store.View(w.t.Context(), func(ctx context.Context, tx store.Tx) error {
		_, err := tx.Users().ByEmail(ctx, userEmail)
		return err
	})
}

// took is the processor time that do takes on the caller's thread.
func took(do func()) time.Duration {
	began := threadTime()
	do()
	return threadTime() - began
}

// threadTime needs a goroutine that stays on its thread.
func threadTime() time.Duration {
	const threadClock = 3 // CLOCK_THREAD_CPUTIME_ID
	var now syscall.Timespec
	if _, _, no := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, threadClock, uintptr(unsafe.Pointer(&now)), 0); no != 0 {
		panic(no)
	}
	return time.Duration(now.Nano())
}

func median(of []time.Duration) time.Duration {
	slices.Sort(of)
	return of[len(of)/2]
}

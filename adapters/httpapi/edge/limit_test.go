package edge_test

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi/edge"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

func TestLimiter(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_900_000_000, 0)
	l, err := edge.NewLimiter(edge.Limit{Window: 3 * time.Second, Burst: 5, MaxEntries: 10}, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	take := func(key string) error { return l.Take(t.Context(), key) }
	for i := range 5 {
		if err := take("a"); err != nil {
			t.Fatalf("number %d of the burst: %v", i+1, err)
		}
	}
	f, ok := errors.AsType[*fault.Error](take("a"))
	if !ok || f.Code != "rate_limited" || f.RetryAfter != 3*time.Second {
		t.Fatalf("got %+v", f)
	}
	if err := take("b"); err != nil {
		t.Errorf("another client: %v", err)
	}
	if l.Peek(t.Context(), "a") == nil {
		t.Error("looking tells that there is room")
	}
	now = now.Add(f.RetryAfter)
	for range 3 {
		if err := l.Peek(t.Context(), "a"); err != nil {
			t.Errorf("looking used something up: %v", err)
		}
	}
	if err := take("a"); err != nil {
		t.Errorf("after waiting as long as told: %v", err)
	}
	if take("a") == nil {
		t.Error("two where one was allowed")
	}
}

// TestLimiterForgetsTheLongestUnseen: memory is bounded, whoever comes.
func TestLimiterForgetsTheLongestUnseen(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_900_000_000, 0)
	l, _ := edge.NewLimiter(edge.Limit{Window: time.Hour, Burst: 1, MaxEntries: 2}, func() time.Time { return now })
	for i := range 1000 {
		if err := l.Take(t.Context(), strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	if l.Take(t.Context(), "999") == nil {
		t.Error("the latest was forgotten")
	}
}

// TestLimiterIsBoundedByClients: of a hundred thousand addresses exactly as many
// networks are remembered as were asked for, and one network is one entry however
// many of its addresses come.
func TestLimiterIsBoundedByClients(t *testing.T) {
	t.Parallel()
	const entries, addresses = 5000, 100_000
	now := time.Unix(1_900_000_000, 0)
	l, err := edge.NewLimiter(edge.Limit{Window: time.Hour, Burst: 1, MaxEntries: entries}, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	var refused bool
	d := edge.Door{Log: slog.New(slog.DiscardHandler), Now: time.Now, Random: func([]byte) error { return nil }}
	h := d.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		refused = l.Take(r.Context(), edge.ClientKey(r.Context())) != nil
	}))
	r, unread := request(""), httptest.NewRecorder()
	take := func(ip netip.Addr) bool {
		r.RemoteAddr = netip.AddrPortFrom(ip, 4711).String()
		h.ServeHTTP(unread, r)
		return refused
	}
	address := func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, byte(i >> 16), byte(i >> 8), byte(i)})
	}
	for i := range addresses {
		if take(address(i)) {
			t.Fatalf("number %d was refused the first time", i)
		}
	}
	// From here on only what is remembered is refused, and what is refused makes
	// nobody be forgotten.
	remembered := 0
	for i := addresses - 1; i >= addresses-entries; i-- {
		if take(address(i).Next()) { // another address of the network
			remembered++
		}
	}
	if remembered != entries {
		t.Errorf("of the last %d networks %d are remembered", entries, remembered)
	}
	if take(address(addresses - entries - 1)) {
		t.Error("one more is remembered than were asked for")
	}
}

func TestLimiterAtOnce(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_900_000_000, 0)
	l, _ := edge.NewLimiter(edge.Limit{Window: time.Hour, Burst: 5, MaxEntries: 2}, func() time.Time { return now })
	var wg sync.WaitGroup
	var passed atomic.Int32
	for range 100 {
		wg.Go(func() {
			if l.Take(t.Context(), "a") == nil {
				passed.Add(1)
			}
		})
	}
	wg.Wait()
	if passed.Load() != 5 {
		t.Errorf("%d passed, want 5", passed.Load())
	}
}

func TestLimitsMustBeSet(t *testing.T) {
	t.Parallel()
	for _, bad := range []edge.Limit{{}, {Window: 1, Burst: 1}, {Window: 1, MaxEntries: 1}, {Burst: 1, MaxEntries: 1}} {
		if _, err := edge.NewLimiter(bad, time.Now); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	if got := (edge.Limit{Burst: 2}).Or(edge.Limit{Window: 1, Burst: 5, MaxEntries: 3}); got != (edge.Limit{Window: 1, Burst: 2, MaxEntries: 3}) {
		t.Errorf("got %+v", got)
	}
}

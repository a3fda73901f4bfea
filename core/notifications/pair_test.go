package notifications_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/bunstore"
	"github.com/kubebyon/kubebyon/adapters/bunstore/postgrestest"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/store"
)

// TestTwoProcessesNeverDeliverTheSameAtOnce, and deliver all of it once.
func TestTwoProcessesNeverDeliverTheSameAtOnce(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) store.Store{
		"memory": func(*testing.T) store.Store { return memstore.New() }, "PostgreSQL": postgres,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, open(t))
			const rounds, letters = 3, 12
			w.out.fails(func(context.Context, string, notify.Message) error { time.Sleep(2 * time.Millisecond); return nil })
			for _, process := range []string{"a", "b", "c"} {
				t.Cleanup(w.run(process))
			}
			for round := range rounds {
				for i := range letters {
					w.welcome(fmt.Sprint(round, i))
				}
				await(t, func() bool {
					return !slices.ContainsFunc(w.deliveries(), func(d store.Delivery) bool { return d.Status != store.DeliveryDelivered })
				})
			}
			times := map[string]int{}
			for _, m := range w.out.received() {
				times[m.ID]++
			}
			for id, n := range times {
				if n != 1 {
					t.Errorf("%s was delivered %d times", id, n)
				}
			}
			w.out.mu.Lock()
			defer w.out.mu.Unlock()
			if len(times) != rounds*letters || w.out.most != 1 {
				t.Errorf("%d letters arrived, %d deliveries of one at once", len(times), w.out.most)
			}
		})
	}
}

// postgres is a store with a schema of its own.
func postgres(t *testing.T) store.Store {
	t.Helper()
	s, err := bunstore.New(bunstore.Config{URL: postgrestest.Schema(t), MaxConns: 8, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

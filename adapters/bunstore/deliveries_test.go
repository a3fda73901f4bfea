package bunstore

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

// sequence keeps the shapes of what is sent, in order.
type sequence struct{ sent []string }

func (q *sequence) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context { return ctx }

func (q *sequence) AfterQuery(_ context.Context, e *bun.QueryEvent) {
	q.sent = append(q.sent, shapeOf(e.Query))
}

// TestALetterToNobodyTakesTheSameStatements: a code to reset a password is asked
// for by anybody, and each statement is a round trip that would tell who is there.
func TestALetterToNobodyTakesTheSameStatements(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB) *Store{"SQLite": openSQLite, "PostgreSQL": openPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			ann, gone := numbered[id.UserKind]("usr", 1), numbered[id.UserKind]("usr", 2)
			if err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
				for i, u := range []id.User{ann, gone} {
					if err := tx.Users().Insert(ctx, store.User{ID: u, Email: string(rune('a'+i)) + "@example.com", Role: "user", Status: "active"}); err != nil {
						return err
					}
				}
				return tx.Users().Remove(ctx, gone, soon)
			}); err != nil {
				t.Fatal(err)
			}
			var heard sequence
			s.writer.AddQueryHook(&heard) //nolint:staticcheck // the store's pools are what it has
			n := 0
			to := func(u id.User) []string {
				n++
				heard.sent = nil
				d := store.Delivery{
					ID: numbered[id.DeliveryKind]("ntf", n), Key: u.String(), Template: "password-reset", Channel: "email", UserID: u,
					Sealed: []byte{byte(n)}, Status: store.DeliveryPending, DueAt: soon, CreatedAt: soon, UpdatedAt: soon.Add(time.Second),
				}
				if err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error { return tx.Deliveries().Insert(ctx, d) }); err != nil {
					t.Error(err)
				}
				return slices.Clone(heard.sent)
			}
			want := to(ann)
			for who, u := range map[string]id.User{"who was removed": gone, "nobody": numbered[id.UserKind]("usr", 3)} {
				if got := to(u); !slices.Equal(got, want) {
					t.Errorf("to %s it sent %q, and to who is there %q", who, got, want)
				}
			}
			if err := s.View(t.Context(), func(ctx context.Context, tx store.Tx) error {
				got, err := tx.Deliveries().List(ctx, store.DeliveryFilter{}, page.Query{})
				if len(got.Items) != 1 || got.Items[0].UserID != ann {
					t.Errorf("written down are %+v", got.Items)
				}
				return err
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

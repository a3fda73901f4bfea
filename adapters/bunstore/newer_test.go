package bunstore

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// A newer program migrates while older ones run, and they work on until they are
// replaced: a column that they do not know of is nothing to them.
func TestAnOlderProgramWorksBesideColumnsThatItDoesNotKnow(t *testing.T) {
	forEach(t, func(t *testing.T, fresh string) {
		s, known := filled(t, fresh), newRecords()
		told := lookAt(t, s).told // statements are prepared by then
		for table := range rowsOf(t, s, nil) {
			if _, file := s.engine.(sqliteFile); file && (table == "node_totals" || table == "audit_kinds") {
				continue // only triggers write to them, which a migration that widens them has to replace
			}
			if _, err := s.writer.ExecContext(t.Context(), "ALTER TABLE "+table+" ADD COLUMN of_tomorrow integer NOT NULL DEFAULT 7"); err != nil {
				t.Fatal(err)
			}
		}
		if got := lookAt(t, s).told; !slices.Equal(got, told) {
			t.Error("it reads something else", differences(t, told, readRecords(t, s, newRecords())))
		}
		err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
			o, err := tx.Operations().Begin(ctx, known.Operations[0].ID, "running", keptAt)
			if err == nil && o.ID != known.Operations[0].ID {
				t.Errorf("began %+v", o)
			}
			return err
		})
		if err != nil {
			t.Errorf("begin: %v", err)
		}
		useUpgraded(t, s, known) // claims the oldest job of all, and settles it
		claimsOf(t, s, known.Jobs[1])
	})
}

// claimsOf claims a new job like j, by its cluster.
func claimsOf(t *testing.T, s *Store, j store.Job) {
	t.Helper()
	now := keptAt.Add(3 * time.Hour)
	err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		j.ID, j.Status, j.WorkerID, j.LeasedUntil, j.NotBefore = keptID[id.JobKind](90), "pending", "", nil, keptAt
		if err := tx.Jobs().Insert(ctx, j); err != nil {
			return err
		}
		got, ok, err := tx.Jobs().ClaimOf(ctx, j.ClusterID, "w", now, now.Add(time.Hour))
		if err == nil && (!ok || got.ClusterID != j.ClusterID) {
			t.Errorf("claimed %+v, %v", got, ok)
		}
		return err
	})
	if err != nil {
		t.Errorf("claim of a cluster: %v", err)
	}
}

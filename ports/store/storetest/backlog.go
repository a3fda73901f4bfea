package storetest

import (
	"context"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

var backlog = checks{
	"BacklogOfAnEmptyStoreIsEmpty": func(w *world) {
		same(w, w.backlog(), store.Backlog{Jobs: map[string]int{}, Clusters: map[string]int{}})
	},
	"BacklogIsWhatWaits": func(w *world) {
		u := w.user()
		c := w.cluster(u, func(c *store.Cluster) { c.ConnectionStatus = "reachable" })
		w.cluster(u, func(c *store.Cluster) { c.ConnectionStatus = "unreachable" })
		gone := after(time.Hour)
		w.cluster(u, func(c *store.Cluster) { c.ConnectionStatus, c.DeletedAt = "reachable", &gone })
		for i, status := range []string{"succeeded", store.JobPending, store.JobPending, store.JobRunning} {
			j := finish(w, store.Job{ID: newID[id.JobKind](w), ClusterID: c.ID, OperationID: w.operation(c).ID, Status: status}, nil)
			j.CreatedAt = after(time.Duration(i) * time.Minute)
			w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Jobs().Insert(ctx, j) })
		}
		old, young := after(3*time.Minute), after(time.Minute)
		w.tx(func(ctx context.Context, tx store.Tx) error {
			return tx.Outbox().Append(ctx,
				finish(w, store.OutboxMessage{ID: newID[id.MessageKind](w), At: old}, nil), finish(w, store.OutboxMessage{ID: newID[id.MessageKind](w), At: young}, nil))
		})
		oldestJob := after(time.Minute)
		same(w, w.backlog(), store.Backlog{
			Jobs: map[string]int{store.JobPending: 2, store.JobRunning: 1}, OldestJob: &oldestJob,
			Messages: 2, OldestMessage: &young, Clusters: map[string]int{"reachable": 1, "unreachable": 1},
		})
	},
}

func (w *world) backlog() (b store.Backlog) {
	w.Helper()
	w.read(func(ctx context.Context, tx store.Tx) (err error) {
		b, err = tx.Backlog(ctx)
		return err
	})
	return b
}

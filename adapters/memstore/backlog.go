package memstore

import (
	"context"
	"time"

	"github.com/kubebyon/kubebyon/ports/store"
)

func (t tx) Backlog(ctx context.Context) (store.Backlog, error) {
	out := store.Backlog{Jobs: map[string]int{}, Clusters: map[string]int{}}
	if err := t.u.reads(ctx); err != nil {
		return out, err
	}
	for _, j := range t.u.jobs.rows {
		if unfinished(j) {
			out.Jobs[j.Status]++
		}
		if j.Status == store.JobPending {
			out.OldestJob = earlier(out.OldestJob, j.CreatedAt)
		}
	}
	waiting := t.u.outbox.rows[:min(len(t.u.outbox.rows), store.MostBacklog)]
	out.Messages = len(waiting)
	for _, m := range waiting {
		out.OldestMessage = earlier(out.OldestMessage, m.At)
	}
	for _, c := range t.u.clusters.rows {
		if t.u.sees(store.Everyone(), c.ID) {
			out.Clusters[c.ConnectionStatus]++
		}
	}
	return out, nil
}

func earlier(a *time.Time, b time.Time) *time.Time {
	if a != nil && a.Before(b) {
		return a
	}
	return &b
}

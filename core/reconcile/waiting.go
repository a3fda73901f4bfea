package reconcile

import (
	"context"
	"time"

	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/text"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

// tellAfter is how long a control plane may wait for one thing until people are
// told: nearly every one does for a moment. They are told in other words after as
// long again at the earliest.
const tellAfter = 20 * time.Second

// waiting is what an attempt has seen its control plane wait for.
type waiting struct {
	text         string    // the latest; empty: nothing
	since, began time.Time // of the text, and of waiting for whatever it was
	told         time.Time // when people were told last
}

// words returns what people are to be told, who have been told something before.
func (p *waiting) words(latest, before string, now time.Time) string {
	if latest == "" {
		*p = waiting{told: p.told}
		return ""
	}
	if p.text == "" {
		p.began = now
	}
	if p.text != latest {
		p.text, p.since = latest, now
	}
	switch {
	case latest == before:
		return before
	case now.Sub(p.since) < tellAfter && now.Sub(p.began) < 3*tellAfter:
		return ""
	case now.Sub(p.told) < tellAfter:
		return before
	}
	p.told = now
	return latest
}

// show has operation and cluster tell where a job that goes on is, and what it waits
// for once that lasts. It takes back why the attempt before was not the last. All of
// this is written when it changes, and by who holds the job.
func (w *Worker) show(ctx context.Context, t *task, seen provision.Observed) error {
	now, told, before := w.deps.Clock.Now(), t.operation, t.operation.ErrorMessage
	told.Stage, told.UpdatedAt = string(seen.Stage), now
	told.ErrorMessage = t.waiting.words(text.Clip(seen.Waiting, maxMessage), before, now)
	c := t.cluster
	speaks := told.ErrorMessage != "" && c.Hold(told.ErrorMessage, now) || told.ErrorMessage == "" && c.GoOn(before, now)
	if !speaks && told.Stage == t.operation.Stage && told.ErrorMessage == before {
		return nil
	}
	err := w.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := tx.Jobs().Renew(ctx, t.job.ID, t.job.WorkerID, now.Add(w.deps.Lease)); err != nil {
			return err
		}
		if err := tx.Operations().Update(ctx, told); err != nil || !speaks {
			return err
		}
		return w.say(ctx, tx, *t, ending{progress: clusters.Pending, message: told.ErrorMessage, at: now})
	})
	if err == nil { // what was not written is tried again
		t.operation = told
	}
	return err
}

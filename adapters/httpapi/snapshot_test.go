package httpapi_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

// snapshot is everything that people's requests can change, as text.
func (w *world) snapshot() string {
	w.t.Helper()
	var b strings.Builder
	all := page.Query{Limit: page.MaxLimit}
	err := w.store.View(w.t.Context(), func(ctx context.Context, tx store.Tx) error {
		users, err := tx.Users().List(ctx, store.UserFilter{}, all)
		if err != nil {
			return err
		}
		found, err := tx.Clusters().List(ctx, store.Everyone(), store.ClusterFilter{}, all)
		if err != nil {
			return err
		}
		jobs, err := tx.Jobs().List(ctx, store.JobFilter{}, all)
		if err != nil {
			return err
		}
		machines, err := tx.Nodes().List(ctx, store.Everyone(), store.NodeFilter{}, all)
		if err != nil {
			return err
		}
		events, err := tx.NodeEvents().List(ctx, store.Everyone(), store.NodeEventFilter{}, all)
		if err != nil {
			return err
		}
		audit, err := tx.Audit().List(ctx, store.AuditFilter{}, all)
		if err != nil {
			return err
		}
		for _, u := range users.Items {
			fmt.Fprintf(&b, "%s %s %s\n", u.ID, u.Name, u.Status)
		}
		for _, c := range found.Items {
			operations, err := tx.Operations().List(ctx, c.ID, all)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%+v\n%+v\n", c, operations.Items)
			fmt.Fprintf(&b, "%v\n", w.tenants.Cluster(c.ID).Tokens())
		}
		fmt.Fprintf(&b, "%+v\n%+v\n%+v\n%+v\n", jobs.Items, machines.Items, events.Items, audit.Items)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return b.String()
}

// unchanged runs do and fails unless everything is as before.
func (w *world) unchanged(do func()) {
	w.t.Helper()
	before := w.snapshot()
	do()
	if after := w.snapshot(); after != before {
		w.t.Errorf("a refusal changed something:\n%s\n---\n%s", before, after)
	}
}

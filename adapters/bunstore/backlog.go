package bunstore

import (
	"context"

	"github.com/kubebyon/kubebyon/ports/store"
)

// backlog is one statement, and looks at what waits, of which there is little,
// and at the live clusters. Messages it counts no further than the port says.
const backlog = `SELECT 'job' AS part, status AS name, count(*) AS n, min(created_at) AS oldest FROM jobs WHERE status IN ('pending', 'running') GROUP BY status
	UNION ALL SELECT 'message', '', count(*), min(at) FROM (SELECT at FROM outbox ORDER BY seq LIMIT ?) AS waiting
	UNION ALL SELECT 'cluster', connection_status, count(*), NULL FROM clusters WHERE deleted_at IS NULL GROUP BY connection_status`

type backlogRow struct {
	Part, Name string
	N          int
	Oldest     *moment
}

// Backlog asks all at once.
func (t tx) Backlog(ctx context.Context) (store.Backlog, error) {
	out := store.Backlog{Jobs: map[string]int{}, Clusters: map[string]int{}}
	if err := t.u.reads(); err != nil {
		return out, err
	}
	var rows []backlogRow
	if err := t.u.db.NewRaw(backlog, store.MostBacklog).Scan(ctx, &rows); err != nil {
		return out, err
	}
	for _, r := range rows {
		switch r.Part {
		case "job":
			out.Jobs[r.Name] = r.N
			if r.Name == store.JobPending {
				out.OldestJob = r.Oldest.maybe()
			}
		case "message":
			out.Messages, out.OldestMessage = r.N, r.Oldest.maybe()
		case "cluster":
			out.Clusters[r.Name] = r.N
		}
	}
	return out, nil
}

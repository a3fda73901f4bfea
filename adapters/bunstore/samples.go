package bunstore

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

type samples struct{ *unit }

// sampleColumns are in the order of [sampleValues].
const sampleColumns = "(cluster_id, at, resolution_seconds, measurements, cpu_milli, memory_mib, pods_ready, pods_total)"

// sampleValues are rows for VALUES.
type sampleValues []store.ControlPlaneSample

func (v sampleValues) AppendQuery(gen schema.QueryGen, b []byte) (_ []byte, err error) {
	for i, s := range v {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(gen.Dialect().AppendString(append(b, '('), s.ClusterID.String()), ", "...)
		if b, err = at(s.At).AppendQuery(gen, b); err != nil {
			return nil, err
		}
		for _, n := range []int64{seconds(s.Resolution), s.Measurements, s.CPUMilli, s.MemoryMiB, s.PodsReady, s.PodsTotal} {
			b = strconv.AppendInt(append(b, ", "...), n, 10)
		}
		b = append(b, ')')
	}
	return b, nil
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

func (s samples) Append(ctx context.Context, all ...store.ControlPlaneSample) (int, error) {
	if err := s.writes(); err != nil || len(all) == 0 {
		return 0, err
	}
	return s.exec(ctx, "WITH v "+sampleColumns+" AS (VALUES ?) INSERT INTO control_plane_samples "+sampleColumns+
		" SELECT v.* FROM v WHERE EXISTS (SELECT 1 FROM clusters AS c WHERE c.id = v.cluster_id AND c.deleted_at IS NULL)"+
		" ON CONFLICT DO NOTHING", sampleValues(all))
}

// sums are the columns of samples added up.
const sums = "CAST(sum(measurements) AS bigint) AS measurements, CAST(sum(cpu_milli) AS bigint) AS cpu_milli, CAST(sum(memory_mib) AS bigint) AS memory_mib," +
	" CAST(sum(pods_ready) AS bigint) AS pods_ready, CAST(sum(pods_total) AS bigint) AS pods_total"

func (s samples) Steps(ctx context.Context, scope store.Scope, c id.Cluster, from, to time.Time, step time.Duration) ([]store.ControlPlaneSample, error) {
	if err := s.reads(); err != nil {
		return nil, err
	}
	var rows []struct {
		Step                                                    moment
		Measurements, CPUMilli, MemoryMib, PodsReady, PodsTotal int64
	}
	q := s.db.NewSelect().TableExpr("control_plane_samples AS p").ColumnExpr(s.engine.sql().stepOf+" AS step", seconds(step)).ColumnExpr(sums).
		Where("p.cluster_id = ?", c.String()).Where("p.at >= ?", at(from)).Where("p.at < ?", at(to))
	of := q.NewSelect().TableExpr("clusters AS c").ColumnExpr("1").Where("c.id = ?", c.String())
	within(of, scope)
	if err := q.Where("EXISTS (?)", of).GroupExpr("step").OrderExpr("step").Scan(ctx, &rows); err != nil {
		return nil, err
	}
	var out []store.ControlPlaneSample
	for _, r := range rows {
		out = append(out, store.ControlPlaneSample{
			ClusterID: c, At: r.Step.time(), Resolution: step, Measurements: r.Measurements,
			CPUMilli: r.CPUMilli, MemoryMiB: r.MemoryMib, PodsReady: r.PodsReady, PodsTotal: r.PodsTotal,
		})
	}
	return out, nil
}

func (s samples) Thin(ctx context.Context, fine, coarse time.Duration, before time.Time, limit int) (int, error) {
	if err := s.writes(); err != nil || limit <= 0 {
		return 0, err
	}
	begins, clusters, err := s.oldest(ctx, fine, coarse, before, limit)
	if err != nil || len(clusters) == 0 {
		return 0, err
	}
	which := " WHERE resolution_seconds = ? AND at >= ? AND at < ? AND cluster_id IN (?)"
	args := []any{seconds(fine), at(begins), at(begins.Add(coarse)), bun.List(clusters)}
	// In the order of the clusters, so that two who thin do not wait for each other.
	_, err = s.exec(ctx, "INSERT INTO control_plane_samples "+sampleColumns+" SELECT cluster_id, ?, ?, "+sums+" FROM control_plane_samples"+which+
		" GROUP BY cluster_id ORDER BY cluster_id ON CONFLICT DO NOTHING", slices.Concat([]any{at(begins), seconds(coarse)}, args)...)
	if err != nil {
		return 0, err
	}
	return s.exec(ctx, "DELETE FROM control_plane_samples"+which, args...)
}

// oldest returns the oldest span that has samples to thin, and some of the
// clusters that have them.
func (s samples) oldest(ctx context.Context, fine, coarse time.Duration, before time.Time, limit int) (begins time.Time, clusters []string, err error) {
	var rows []struct {
		At        moment
		ClusterID string
	}
	err = s.db.NewSelect().TableExpr("control_plane_samples AS p").ColumnExpr("p.at, p.cluster_id").
		Where("p.resolution_seconds = ?", seconds(fine)).Where("p.at < ?", at(beginning(before, coarse))).
		OrderExpr("p.resolution_seconds, p.at, p.cluster_id").Limit(int64(limit)).Scan(ctx, &rows)
	for _, r := range rows {
		if begins.IsZero() {
			begins = beginning(r.At.time(), coarse)
		}
		if r.At.time().Before(begins.Add(coarse)) {
			clusters = append(clusters, r.ClusterID)
		}
	}
	slices.Sort(clusters)
	return begins, slices.Compact(clusters), err
}

// beginning is where the span of that length begins in which t lies, counted from 1970.
func beginning(t time.Time, span time.Duration) time.Time {
	return time.UnixMilli(t.UnixMilli() - t.UnixMilli()%span.Milliseconds()).UTC()
}

// DeleteOlderThan picks its samples once, like sessions.DeleteExpired. Nobody
// changes a sample, so where it lies names it, and is quicker than its key.
func (s samples) DeleteOlderThan(ctx context.Context, resolution time.Duration, t time.Time, limit int) (int, error) {
	row := bun.Safe(s.engine.sql().rowID)
	return s.exec(ctx, "WITH old AS MATERIALIZED (SELECT ? AS place FROM control_plane_samples WHERE resolution_seconds = ? AND at < ? ORDER BY resolution_seconds, at, cluster_id LIMIT ?)"+
		" DELETE FROM control_plane_samples WHERE ? IN (SELECT place FROM old)", row, seconds(resolution), at(t), max(limit, 0), row)
}

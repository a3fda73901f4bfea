package memstore

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

type settings struct{ u *unit }

func (s settings) All(ctx context.Context) ([]store.Setting, error) {
	if err := s.u.reads(ctx); err != nil {
		return nil, err
	}
	return s.u.settings.sorted(func(o store.Setting) string { return o.Name }, func(store.Setting) bool { return true }), nil
}

func (s settings) Put(ctx context.Context, rec *store.Setting) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	next, err := storable(*rec)
	if err != nil {
		return err
	}
	if have, _ := s.u.settings.get(rec.Name); have.Version != rec.Version { // none has the version 0
		return stale()
	}
	next.Version++
	s.u.settings.put(s.u, next.Name, next)
	rec.Version = next.Version
	return nil
}

type deliveries struct{ u *unit }

func (s deliveries) Insert(ctx context.Context, all ...store.Delivery) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	for _, rec := range all {
		rec, err := storable(rec)
		if err != nil {
			return err
		}
		if !rec.UserID.IsZero() && s.u.living(rec.UserID) != nil {
			continue
		}
		if _, repeated := s.u.deliveries.find(func(o store.Delivery) bool { return o.Key == rec.Key }); repeated {
			continue
		}
		if _, taken := s.u.deliveries.get(rec.ID); taken {
			return exists()
		}
		s.u.deliveries.put(s.u, rec.ID, rec)
	}
	return nil
}

func (s deliveries) Get(ctx context.Context, i id.Delivery) (store.Delivery, error) {
	if err := s.u.reads(ctx); err != nil {
		return store.Delivery{}, err
	}
	d, ok := s.u.deliveries.get(i)
	if !ok {
		return store.Delivery{}, notFound("delivery", "There is no such message in the log.")
	}
	return detached(d), nil
}

// Hold holds all that there is: transactions that write take turns.
func (s deliveries) Hold(ctx context.Context, keys ...string) (out []store.Delivery, err error) {
	if err := s.u.writes(ctx); err != nil {
		return nil, err
	}
	if err := plain(keys...); err != nil {
		return nil, err
	}
	for _, d := range s.u.deliveries.rows {
		if slices.Contains(keys, d.Key) {
			out = append(out, detached(d))
		}
	}
	return out, nil
}

func (s deliveries) Claim(ctx context.Context, holder, channel string, now, until time.Time, n int) ([]store.Delivery, error) {
	if err := s.u.writes(ctx); err != nil {
		return nil, err
	}
	if err := plain(holder, channel); err != nil {
		return nil, err
	}
	due := slices.SortedFunc(maps.Values(s.u.deliveries.rows), dueFirst)
	due = slices.DeleteFunc(due, func(d store.Delivery) bool {
		return d.Status != store.DeliveryPending || d.Channel != channel || d.DueAt.After(now) || d.LeasedUntil != nil && d.LeasedUntil.After(now)
	})
	due = due[:min(max(n, 0), len(due))]
	for i := range due {
		end := until.UTC().Truncate(time.Millisecond)
		due[i] = detached(due[i])
		due[i].Holder, due[i].LeasedUntil, due[i].UpdatedAt = holder, &end, now.UTC().Truncate(time.Millisecond)
		due[i].Attempts++
		s.u.deliveries.put(s.u, due[i].ID, detached(due[i]))
	}
	return due, nil
}

func dueFirst(a, b store.Delivery) int {
	return cmp.Or(a.DueAt.Compare(b.DueAt), cmp.Compare(a.ID.String(), b.ID.String()))
}

func (s deliveries) Settle(ctx context.Context, rec store.Delivery, holder string) (bool, error) {
	if err := s.u.writes(ctx); err != nil {
		return false, err
	}
	next, err := storable(rec)
	if err != nil {
		return false, err
	}
	if err := plain(holder); err != nil {
		return false, err
	}
	d, ok := s.u.deliveries.get(rec.ID)
	if !ok || d.LeasedUntil == nil || d.Holder != holder {
		return false, nil
	}
	d.Status, d.DueAt, d.LastError, d.UpdatedAt, d.DeliveredAt = next.Status, next.DueAt, next.LastError, next.UpdatedAt, next.DeliveredAt
	d.Holder, d.LeasedUntil = "", nil
	if d.Status != store.DeliveryPending && (d.Status != store.DeliveryDead || len(rec.Sealed) == 0) {
		d.Sealed = nil
	}
	s.u.deliveries.put(s.u, d.ID, d)
	return true, nil
}

func (s deliveries) Next(ctx context.Context, channels ...string) (map[string]time.Time, error) {
	if err := s.u.reads(ctx); err != nil {
		return nil, err
	}
	if err := plain(channels...); err != nil {
		return nil, err
	}
	next := map[string]time.Time{}
	for _, d := range s.u.deliveries.rows {
		if d.Status != store.DeliveryPending || !slices.Contains(channels, d.Channel) {
			continue
		}
		at := d.DueAt
		if d.LeasedUntil != nil {
			at = *d.LeasedUntil
		}
		if first, has := next[d.Channel]; !has || at.Before(first) {
			next[d.Channel] = at
		}
	}
	return next, nil
}

func (s deliveries) Revive(ctx context.Context, i id.Delivery, now time.Time) (bool, error) {
	if err := s.u.writes(ctx); err != nil {
		return false, err
	}
	d, ok := s.u.deliveries.get(i)
	if !ok || d.Status != store.DeliveryDead || len(d.Sealed) == 0 {
		return false, nil
	}
	d.Status, d.Attempts = store.DeliveryPending, 0
	d.DueAt = now.UTC().Truncate(time.Millisecond)
	d.UpdatedAt = d.DueAt
	s.u.deliveries.put(s.u, i, d)
	return true, nil
}

func (s deliveries) Forget(ctx context.Context, t time.Time, limit int) (n int, err error) {
	if err := s.u.writes(ctx); err != nil {
		return 0, err
	}
	for i, d := range maps.Clone(s.u.deliveries.rows) {
		if n < limit && d.Status == store.DeliveryDead && len(d.Sealed) > 0 && d.UpdatedAt.Before(t) {
			d.Sealed = nil
			s.u.deliveries.put(s.u, i, d)
			n++
		}
	}
	return n, nil
}

func (s deliveries) List(ctx context.Context, f store.DeliveryFilter, q page.Query) (page.Of[store.Delivery], error) {
	if err := s.u.reads(ctx); err != nil {
		return page.Of[store.Delivery]{}, err
	}
	if err := plain(f.Status, f.Channel, f.Template); err != nil {
		return page.Of[store.Delivery]{}, err
	}
	return newest(maps.Values(s.u.deliveries.rows), q, func(d store.Delivery) string { return d.ID.String() }, func(d store.Delivery) bool {
		return (f.Status == "" || d.Status == f.Status) && (f.Channel == "" || d.Channel == f.Channel) &&
			(f.Template == "" || d.Template == f.Template) && (f.User.IsZero() || d.UserID == f.User)
	})
}

func (s deliveries) DeleteOlderThan(ctx context.Context, t time.Time, limit int) (int, error) {
	if err := s.u.writes(ctx); err != nil {
		return 0, err
	}
	return s.u.deliveries.removeSome(s.u, limit, func(d store.Delivery) bool {
		return d.Status != store.DeliveryPending && d.CreatedAt.Before(t)
	}), nil
}

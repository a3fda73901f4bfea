package memstore

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

type audit struct{ u *unit }

func (s audit) Append(ctx context.Context, events ...store.AuditEvent) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	for _, e := range events {
		e, err := storable(e)
		if err != nil {
			return err
		}
		s.u.audit.append(e)
	}
	return nil
}

func (s audit) List(ctx context.Context, f store.AuditFilter, q page.Query) (page.Of[store.AuditEvent], error) {
	if err := s.u.reads(ctx); err != nil {
		return page.Of[store.AuditEvent]{}, err
	}
	if err := plain(f.ResourceType, f.Action); err != nil {
		return page.Of[store.AuditEvent]{}, err
	}
	return newest(slices.Values(s.u.audit.rows), q, func(e store.AuditEvent) string { return e.ID.String() },
		func(e store.AuditEvent) bool {
			return (f.Actor.IsZero() || e.ActorUserID == f.Actor) && (!f.SecurityOnly || e.Security) &&
				(f.ResourceType == "" || e.ResourceType == f.ResourceType) && (f.Action == "" || e.Action == f.Action)
		})
}

type outbox struct{ u *unit }

func (s outbox) Append(ctx context.Context, msgs ...store.OutboxMessage) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	for _, m := range msgs {
		m, err := storable(m)
		if err != nil {
			return err
		}
		s.u.outbox.append(m)
	}
	return nil
}

// Claim needs no lock: there is one transaction at a time.
func (s outbox) Claim(ctx context.Context, n int) ([]store.OutboxMessage, error) {
	if err := s.u.writes(ctx); err != nil {
		return nil, err
	}
	var out []store.OutboxMessage
	for _, m := range s.u.outbox.rows[:max(0, min(n, len(s.u.outbox.rows)))] {
		out = append(out, detached(m))
	}
	return out, nil
}

func (s outbox) Remove(ctx context.Context, ids ...id.Message) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	s.u.outbox.rows = slices.DeleteFunc(slices.Clone(s.u.outbox.rows), func(m store.OutboxMessage) bool { return slices.Contains(ids, m.ID) })
	return nil
}

type replies struct{ u *unit }

func (s replies) Get(ctx context.Context, k store.ReplyKey) (store.Reply, error) {
	if err := s.u.reads(ctx); err != nil {
		return store.Reply{}, err
	}
	if err := plain(k.Operation, k.Key); err != nil {
		return store.Reply{}, err
	}
	r, ok := s.u.replies.get(k)
	if !ok {
		return store.Reply{}, notFound("reply", "There is no such reply.")
	}
	return r, nil
}

func (s replies) Insert(ctx context.Context, rec store.Reply) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	rec, err := storable(rec)
	if err != nil {
		return err
	}
	if _, taken := s.u.replies.get(rec.ReplyKey); taken {
		return exists()
	}
	s.u.replies.put(s.u, rec.ReplyKey, rec)
	return nil
}

func (s replies) Delete(ctx context.Context, k store.ReplyKey) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	if err := plain(k.Operation, k.Key); err != nil {
		return err
	}
	s.u.replies.remove(s.u, k)
	return nil
}

func (s replies) DeleteOlderThan(ctx context.Context, t time.Time, limit int) (int, error) {
	if err := s.u.writes(ctx); err != nil {
		return 0, err
	}
	return s.u.replies.removeSome(s.u, limit, func(r store.Reply) bool { return r.CreatedAt.Before(t) }), nil
}

type lease struct {
	Holder string
	Until  time.Time
}

type leases struct{ u *unit }

func (s leases) Acquire(ctx context.Context, names []string, holder string, now, until time.Time) ([]string, error) {
	if err := s.u.writes(ctx); err != nil {
		return nil, err
	}
	if err := plain(append(slices.Clone(names), holder)...); err != nil {
		return nil, err
	}
	var got []string
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if l, taken := s.u.leases.get(name); taken && l.Holder != holder && l.Until.After(now) {
			continue
		}
		s.u.leases.put(s.u, name, lease{holder, until.UTC().Truncate(time.Millisecond)})
		got = append(got, name)
	}
	return got, nil
}

func (s leases) Release(ctx context.Context, names []string, holder string) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	for _, name := range names {
		if l, taken := s.u.leases.get(name); taken && l.Holder == holder {
			s.u.leases.remove(s.u, name)
		}
	}
	return nil
}

func (s leases) Living(ctx context.Context, prefix string, now time.Time) ([]store.Lease, error) {
	if err := s.u.reads(ctx); err != nil {
		return nil, err
	}
	if err := plain(prefix); err != nil {
		return nil, err
	}
	var out []store.Lease
	for name, l := range s.u.leases.rows {
		if strings.HasPrefix(name, prefix) && l.Until.After(now) {
			out = append(out, store.Lease{Name: name, Holder: l.Holder})
		}
	}
	slices.SortFunc(out, func(a, b store.Lease) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (s leases) DeleteExpired(ctx context.Context, t time.Time, limit int) (int, error) {
	if err := s.u.writes(ctx); err != nil {
		return 0, err
	}
	return s.u.leases.removeSome(s.u, limit, func(l lease) bool { return l.Until.Before(t) }), nil
}

type facts struct{ u *unit }

func (s facts) Get(ctx context.Context, name string) ([]byte, error) {
	if err := s.u.reads(ctx); err != nil {
		return nil, err
	}
	if err := plain(name); err != nil {
		return nil, err
	}
	v, ok := s.u.facts.get(name)
	if !ok {
		return nil, notFound("fact", "There is no such fact.")
	}
	return v, nil
}

func (s facts) Set(ctx context.Context, name string, value []byte) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	if err := plain(name); err != nil {
		return err
	}
	s.u.facts.put(s.u, name, slices.Clone(value))
	return nil
}

package settings

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"

	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Deps are what a Service cannot work without.
type Deps struct {
	Store     store.Store
	Seal      seal.Sealer
	CheckMail func(notify.SMTP) error // the rules of what sends mail, with a Field for each setting
	Log       *slog.Logger
	Now       func() time.Time // UTC, milliseconds
	Random    id.Random        // for identifiers
}

// Service is the only way to read and change the settings. It is safe for
// concurrent use.
type Service struct {
	deps    Deps
	journal journal.Journal
	current
}

// New refuses missing dependencies, so that wiring mistakes fail at start.
func New(d Deps) (*Service, error) {
	if d.Store == nil || d.Seal == nil || d.CheckMail == nil || d.Log == nil || d.Now == nil || d.Random == nil {
		return nil, errors.New("settings: every field of Deps must be set")
	}
	return &Service{deps: d, journal: journal.Journal{Now: d.Now, Random: d.Random}}, nil
}

// Get returns the settings as the store has them, for administrators.
func (s *Service) Get(ctx context.Context) (Snapshot, error) {
	if _, err := access.Administers(ctx); err != nil {
		return Snapshot{}, err
	}
	return s.read(ctx)
}

func (s *Service) read(ctx context.Context) (Snapshot, error) {
	var records []store.Setting
	err := s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		records, err = tx.Settings().All(ctx)
		return err
	})
	if err != nil {
		return Snapshot{}, fmt.Errorf("read the settings: %w", err)
	}
	return snapshotOf(ctx, s.deps.Seal, records) // outside: opening may ask the store for a key
}

// updateTries is how often an update is begun when others write the same section.
const updateTries = 5

// Update makes a change, for administrators: all of it or nothing. Of two changes
// at once to the same section both are made, one on what the other has left. A
// change to what is so already writes nothing.
//
// The secrets of an unreadable section are lost. They stay where they are until
// the section has a secret set or cleared, which makes it readable again with
// those secrets alone.
func (s *Service) Update(ctx context.Context, c Change) (out Snapshot, err error) {
	if _, err := access.Administers(ctx); err != nil {
		return Snapshot{}, err
	}
	for range updateTries {
		var was Snapshot
		if was, err = s.read(ctx); err != nil {
			return Snapshot{}, err
		}
		out, err = s.update(ctx, was, c)
		if fault.CodeOf(err) != "stale_version" {
			return out, err
		}
	}
	return Snapshot{}, err
}

func (s *Service) update(ctx context.Context, was Snapshot, c Change) (Snapshot, error) {
	m := c.apply(was.Settings)
	s.checkSections(&m.check, m.to, c.names())
	if err := m.check.Err(); err != nil {
		return Snapshot{}, err
	}
	next, changed, err := s.next(ctx, was, m, c.names())
	if err != nil || len(changed) == 0 {
		return was, err
	}
	var written map[Section]store.Setting
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		written = maps.Clone(next.records)
		for _, name := range changed {
			rec := written[name]
			if err := tx.Settings().Put(ctx, &rec); err != nil {
				return err
			}
			written[name] = rec
		}
		return s.journal.Write(ctx, tx, journal.Event{
			Resource: "system_settings", Action: "update", Message: "Changed the system settings: " + join(changed) + ".",
		})
	})
	if err != nil {
		return Snapshot{}, err
	}
	s.outdate()
	next.records = written
	return next, nil
}

// next returns the settings after a merge, with the records to write of those
// sections that it changes.
func (s *Service) next(ctx context.Context, was Snapshot, m *merge, names []Section) (next Snapshot, changed []Section, err error) {
	next = Snapshot{Settings: m.to, records: maps.Clone(was.records), unreadable: maps.Clone(was.unreadable)}
	now := s.deps.Now()
	for _, name := range names {
		isSame, err := same(&was.Settings, &next.Settings, name)
		if err != nil {
			return next, nil, fmt.Errorf("compare settings %s: %w", name, err)
		}
		lost := was.unreadable[name] != nil
		repaired := lost && (m.secrets[name] || len(next.section(name).secrets()) == 0)
		if isSame && !repaired {
			continue
		}
		rec, err := next.record(ctx, s.deps.Seal, was.records[name], name)
		if err != nil {
			return next, nil, err
		}
		if lost && !repaired {
			rec.Sealed = was.records[name].Sealed
		} else {
			delete(next.unreadable, name)
		}
		rec.UpdatedAt = now
		next.records[name] = rec
		changed = append(changed, name)
	}
	return next, changed, nil
}

func join(names []Section) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = string(n)
	}
	return strings.Join(out, ", ")
}

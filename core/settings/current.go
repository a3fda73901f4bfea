package settings

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/store"
)

const (
	// freshFor and readLimit together are how old settings in use may be: two
	// seconds.
	freshFor  = time.Second
	readLimit = time.Second

	// keptFor is for how long the last settings serve while the store is away.
	keptFor = time.Minute
)

// current is the settings that a process goes by.
type current struct {
	mu      sync.Mutex
	have    Snapshot
	haveAt  time.Time     // when have was asked for; zero: there is none
	askedAt time.Time     // when the store was last asked, or did not answer; zero: it has to be asked
	err     error         // of the last time
	writes  int           // of this process
	known   int           // writes that the last read saw
	reading chan struct{} // closed when the read ends that is under way; nil: none is
	told    map[Section]int64
}

// Current returns the settings as they were at most two seconds ago, and those
// that this process has written at once. One caller at a time asks the store, at
// most once a second, and at most for a second; the others wait for it. While the
// store does not answer, the last settings serve for a minute; then Current
// fails with why it does not.
//
// It is for the platform itself: what it returns holds secrets.
func (s *Service) Current(ctx context.Context) (Snapshot, error) {
	for {
		s.mu.Lock()
		now, writes, under := s.deps.Now(), s.writes, s.reading
		if s.isFresh(now) {
			defer s.mu.Unlock()
			return s.latest(now)
		}
		if under == nil {
			s.reading = make(chan struct{})
			s.mu.Unlock()
			return s.renew(ctx, writes)
		}
		s.mu.Unlock()
		select {
		case <-under:
		case <-ctx.Done():
			return Snapshot{}, ctx.Err()
		}
		if out, ok, err := s.waitedFor(writes); ok {
			return out, err
		}
	}
}

// CurrentIn is Current for somebody who has a transaction open: what is not fresh
// is read in that one. To wait for a second connection while one is held would
// have all wait who do so when there is no other left.
func (s *Service) CurrentIn(ctx context.Context, tx store.Tx) (Snapshot, error) {
	if have, fresh, err := s.fresh(); fresh {
		return have, err
	}
	records, err := tx.Settings().All(ctx)
	if err != nil {
		return Snapshot{}, fmt.Errorf("read the settings: %w", err)
	}
	return snapshotOf(ctx, s.deps.Seal, records)
}

func (s *Service) fresh() (have Snapshot, is bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.deps.Now()
	if !s.isFresh(now) {
		return Snapshot{}, false, nil
	}
	have, err = s.latest(now)
	return have, true, err
}

// waitedFor returns what a read has brought unless it began before writes that
// its caller knows of.
func (s *Service) waitedFor(writes int) (out Snapshot, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known < writes || s.haveAt.IsZero() && s.err == nil {
		return Snapshot{}, false, nil
	}
	out, err = s.latest(s.deps.Now())
	return out, true, err
}

// isFresh is asked with mu held. A clock that was set back makes nothing fresh.
func (s *Service) isFresh(now time.Time) bool {
	age := now.Sub(s.askedAt)
	return !s.askedAt.IsZero() && age >= 0 && age < freshFor
}

// latest is asked with mu held.
func (s *Service) latest(now time.Time) (Snapshot, error) {
	if s.err != nil && (s.haveAt.IsZero() || now.Sub(s.haveAt) >= keptFor) {
		return Snapshot{}, s.err
	}
	return s.have, nil
}

// renew asks the store. Others wait for the answer too, so it does not end with
// its caller's patience, but it has a limit of its own.
func (s *Service) renew(ctx context.Context, writes int) (Snapshot, error) {
	began := s.deps.Now()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), readLimit)
	defer cancel()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.reading)
		s.reading = nil
	}()
	read, err := s.read(limited)
	switch {
	case err == nil:
		s.tell(ctx, read)
	case limited.Err() != nil:
		err = fault.Unavailable.New("store_busy", "The system settings could not be read in time. Try again.").Because(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.known, s.askedAt = err, writes, began
	if err == nil {
		s.have, s.haveAt = read, began
	} else {
		s.askedAt = s.deps.Now() // it may have taken all of a second: leave the store alone for one
	}
	if s.writes != writes { // it may have been read before they were committed
		s.askedAt = time.Time{}
	}
	return s.latest(began)
}

// outdate has the store asked at the next call.
func (s *Service) outdate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	s.askedAt = time.Time{}
}

// tell says once of each version of a section that it cannot be read.
func (s *Service) tell(ctx context.Context, read Snapshot) {
	for _, name := range read.Unreadable() {
		if s.told[name] == read.Version(name) {
			continue
		}
		if s.told == nil {
			s.told = map[Section]int64{}
		}
		s.told[name] = read.Version(name)
		s.deps.Log.ErrorContext(ctx, "a section of the system settings cannot be used", "section", string(name), "err", read.Check(name))
	}
}

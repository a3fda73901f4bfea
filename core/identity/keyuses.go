package identity

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// When uses of API keys are put on record.
const (
	useEvery    = time.Minute // of one key
	usePause    = time.Second // between two rounds, so that one writes for many
	usesWaiting = 10_000      // keys; the use of one more is told by its next request
	usesAtOnce  = 100         // in one transaction
	useDeadline = 5 * time.Second
)

// keyUses are the uses of API keys that are not on record yet: one a key. No
// request waits for its own.
type keyUses struct {
	mu      sync.Mutex
	waiting map[id.APIKey]time.Time
	told    bell.Bell
}

// note remembers a use unless the record has one that is as good.
func (u *keyUses) note(k store.APIKey, now time.Time) {
	if k.LastUsedAt != nil && now.Sub(*k.LastUsedAt) < useEvery {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, known := u.waiting[k.ID]; known || len(u.waiting) >= usesWaiting {
		return
	}
	if u.waiting == nil {
		u.waiting = map[id.APIKey]time.Time{}
	}
	u.waiting[k.ID] = now
	u.told.Ring()
}

func (u *keyUses) take() map[id.APIKey]time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := u.waiting
	u.waiting = nil
	return out
}

// RecordKeyUses writes down when API keys were last used, at most once a minute
// for each, until ctx ends. What a process that dies has not written is lost:
// about a second's.
func (s *Service) RecordKeyUses(ctx context.Context) {
	for more := true; more; {
		told := s.uses.told.C()
		s.recordUses(ctx)
		more = bell.Wait(ctx, told, useEvery) && bell.Wait(ctx, nil, usePause)
	}
	s.recordUses(ctx)
}

// recordUses writes also when ctx has ended: what it takes is nowhere else.
func (s *Service) recordUses(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), useDeadline)
	defer cancel()
	uses := s.uses.take()
	// In one order everywhere, so that no two processes wait for each other.
	keys := slices.SortedFunc(maps.Keys(uses), func(a, b id.APIKey) int { return strings.Compare(a.String(), b.String()) })
	for some := range slices.Chunk(keys, usesAtOnce) {
		err := s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
			for _, k := range some {
				if err := tx.APIKeys().Touch(ctx, k, uses[k], uses[k].Add(-useEvery+time.Millisecond)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			s.deps.Log.WarnContext(ctx, "not written down when API keys were used", "keys", len(some), "err", err)
		}
	}
}

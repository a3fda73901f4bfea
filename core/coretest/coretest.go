// Package coretest is what the tests of the core share: a clock that stands
// still until it is moved, randomness that repeats, people, and a look at
// everything that a store holds.
package coretest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Start is when tests begin.
var Start = time.Date(2026, 4, 23, 7, 50, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant

// Clock stands still until it is moved.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

// NewClock shows Start.
func NewClock() *Clock { return &Clock{at: Start} }

// Now reads the clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Move moves the clock, back too.
func (c *Clock) Move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// Random returns bytes that differ and rise, so that identifiers made within
// one millisecond sort in the order in which they were made.
func Random() id.Random {
	var n atomic.Uint64
	return func() (b [10]byte) {
		binary.BigEndian.PutUint64(b[:], n.Add(1))
		return b
	}
}

// Secret returns bytes that differ.
func Secret() func() ([32]byte, error) {
	var n atomic.Uint64
	return func() ([32]byte, error) { return sha256.Sum256(fmt.Appendf(nil, "secret %d", n.Add(1))), nil }
}

// NewUser makes the id of an account.
func NewUser() id.User {
	var b [10]byte
	_, _ = rand.Read(b[:])
	return id.New[id.UserKind](Start, b)
}

// NewAccount makes an account in a store and returns its id.
func NewAccount(ctx context.Context, s store.Store, r actor.Role) id.User {
	u := NewUser()
	err := s.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		return tx.Users().Insert(ctx, store.User{
			ID: u, Email: u.String() + "@example.org", Name: "Somebody", Role: string(r), Status: "active", CreatedAt: Start, UpdatedAt: Start,
		})
	})
	if err != nil {
		panic(err)
	}
	return u
}

// As returns ctx speaking for a signed-in account.
func As(ctx context.Context, u id.User, r actor.Role) context.Context {
	return actor.With(ctx, actor.Actor{Type: actor.Person, Method: actor.BySession, UserID: u, Role: r})
}

// Hasher is quick, unlike a real one, and counts what it is asked.
type Hasher struct {
	Checks atomic.Int64
	// Current is the mark of an up-to-date hash.
	Current string
}

// Hash marks the hash with Current.
func (h *Hasher) Hash(_ context.Context, p secret.Text) (string, error) {
	salt := make([]byte, 4)
	_, _ = rand.Read(salt)
	return h.hash(h.Current, fmt.Sprintf("%x", salt), p), nil
}

// HashAs makes one with another mark.
func (h *Hasher) HashAs(mark string, p secret.Text) string { return h.hash(mark, "salt", p) }

func (h *Hasher) hash(mark, salt string, p secret.Text) string {
	return fmt.Sprintf("%s:%s:%x", mark, salt, sha256.Sum256([]byte(salt+p.Reveal())))
}

// Matches finds a hash with another mark outdated.
func (h *Hasher) Matches(_ context.Context, hash string, p secret.Text) (ok, outdated bool, err error) {
	h.Checks.Add(1)
	part := strings.Split(hash, ":")
	if len(part) != 3 {
		return false, false, nil
	}
	return h.hash(part[0], part[1], p) == hash, part[0] != h.Current, nil
}

// Log keeps what is logged.
type Log struct {
	mu   sync.Mutex
	text strings.Builder
}

// Logger writes to l.
func (l *Log) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Write adds a line.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// String returns all lines.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

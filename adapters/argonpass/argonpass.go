// Package argonpass hashes passwords with argon2id (RFC 9106), each hash with
// its parameters in the PHC text format.
package argonpass

import (
	"context"
	"fmt"
	"time"

	"github.com/alexedwards/argon2id"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// Parameters of OWASP's password storage cheat sheet: 19 MiB, two passes, one
// lane; about 50 ms of one core.
func parameters() argon2id.Params {
	return argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}
}

// Hasher is safe for concurrent use. Memory is bounded by its slots, 19 MiB
// each, and so are those who wait for one: a flood of guesses is turned away
// while it comes, and whoever waits gets an answer within seconds.
type Hasher struct {
	params argon2id.Params
	slots  chan struct{}
	queue  chan struct{} // all who are inside or wait
	decoy  string        // what a missing hash is compared with, for the time it takes
}

// waitingPerSlot is how many may wait for each slot: about three seconds.
const waitingPerSlot = 64

// New returns a Hasher that works on at most slots passwords at once.
func New(slots int) (*Hasher, error) {
	return newWith(parameters(), slots)
}

func newWith(p argon2id.Params, slots int) (*Hasher, error) {
	decoy, err := argon2id.CreateHash("nobody's password", &p)
	if err != nil {
		return nil, fmt.Errorf("make decoy hash: %w", err)
	}
	slots = max(1, slots)
	return &Hasher{params: p, slots: make(chan struct{}, slots), queue: make(chan struct{}, slots*(1+waitingPerSlot)), decoy: decoy}, nil
}

// Hash implements passwords.Hasher.
func (h *Hasher) Hash(ctx context.Context, password secret.Text) (string, error) {
	if err := h.enter(ctx); err != nil {
		return "", err
	}
	defer h.leave()
	return argon2id.CreateHash(password.Reveal(), &h.params)
}

// Matches implements passwords.Hasher.
func (h *Hasher) Matches(ctx context.Context, hash string, password secret.Text) (ok, outdated bool, err error) {
	p, salt, _, err := argon2id.DecodeHash(hash)
	known := err == nil && bounded(p, salt)
	if !known {
		hash = h.decoy
	}
	if err := h.enter(ctx); err != nil {
		return false, false, err
	}
	defer h.leave()
	ok, err = argon2id.ComparePasswordAndHash(password.Reveal(), hash)
	if err != nil || !known || !ok {
		return false, false, err
	}
	return true, p.Memory < h.params.Memory || p.Iterations < h.params.Iterations, nil
}

// bounded refuses hashes that nobody here made: parameters cost memory.
func bounded(p *argon2id.Params, salt []byte) bool {
	return p.Memory >= 8 && p.Memory <= 256*1024 && p.Iterations >= 1 && p.Iterations <= 16 &&
		p.Parallelism >= 1 && len(salt) >= 8 && p.KeyLength >= 16
}

func (h *Hasher) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case h.queue <- struct{}{}:
	default:
		return tooMany()
	}
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		<-h.queue
		return ctx.Err()
	}
}

func (h *Hasher) leave() {
	<-h.slots
	<-h.queue
}

func tooMany() error {
	e := fault.Exhausted.New("rate_limited", "Too many passwords are being checked at the moment. Wait before the next.")
	e.RetryAfter = time.Second
	return e
}

// Package once gives a repeated request its first answer again. The answer is
// remembered in the transaction that made it, so that a client which never saw
// it may ask again without making a second thing.
package once

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Remembered is for how long an answer is given again.
const Remembered = 24 * time.Hour

// Request identifies a request that may be repeated.
type Request struct {
	Operation string // what was asked for; one key serves once for each
	Key       string // the client's Idempotency-Key
	Body      []byte // all that was asked, path and query included
}

type key struct{}

// With marks ctx as serving r. The edge calls it when the client sent a key.
func With(ctx context.Context, r Request) context.Context { return context.WithValue(ctx, key{}, r) }

// Desk remembers answers.
type Desk struct {
	Store store.Store
	Seal  seal.Sealer // answers may hold secrets
	Now   func() time.Time
}

// Do runs do in a transaction for user. If ctx carries a request that was
// answered within [Remembered], it returns that answer instead and do does not
// run; if the key was used for something else, it fails with fault.Conflict,
// code idempotency_mismatch. T must survive encoding/json.
func Do[T any](ctx context.Context, d Desk, user id.User, do func(ctx context.Context, tx store.Tx) (T, error)) (out T, err error) {
	r, repeated := ctx.Value(key{}).(Request)
	if !repeated {
		return committed(ctx, d.Store, do)
	}
	a := attempt[T]{desk: d, key: store.ReplyKey{User: user, Operation: r.Operation, Key: r.Key}}
	sum := sha256.Sum256(r.Body)
	a.hash = sum[:]
	// A second time on a conflict: it may be with the same request, answered
	// elsewhere meanwhile, and then the answer is there now.
	for range 2 {
		out, err = a.run(ctx, do)
		if !errors.Is(err, errRaced) && !errors.Is(err, fault.Conflict) {
			break
		}
	}
	return out, err
}

var errRaced = errors.New("the same request is being answered elsewhere")

type attempt[T any] struct {
	desk Desk
	key  store.ReplyKey
	hash []byte
}

func (a attempt[T]) run(ctx context.Context, do func(context.Context, store.Tx) (T, error)) (T, error) {
	return committed(ctx, a.desk.Store, func(ctx context.Context, tx store.Tx) (T, error) {
		known, found, err := a.recall(ctx, tx)
		if found || err != nil {
			return known, err
		}
		out, err := do(ctx, tx)
		if err != nil {
			return out, err
		}
		return out, a.remember(ctx, tx, out)
	})
}

// committed returns what do returned once that is so: what was rolled back is
// nobody's answer, least of all when it is a secret.
func committed[T any](ctx context.Context, s store.Store, do func(context.Context, store.Tx) (T, error)) (out T, err error) {
	err = s.InTx(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		out, err = do(ctx, tx)
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return out, nil
}

func (a attempt[T]) recall(ctx context.Context, tx store.Tx) (out T, found bool, err error) {
	rec, err := tx.Replies().Get(ctx, a.key)
	if errors.Is(err, fault.NotFound) {
		return out, false, nil
	}
	if err != nil {
		return out, false, fmt.Errorf("recall answer: %w", err)
	}
	if a.desk.Now().Sub(rec.CreatedAt) >= Remembered {
		return out, false, tx.Replies().Delete(ctx, a.key)
	}
	if subtle.ConstantTimeCompare(rec.RequestHash, a.hash) != 1 {
		return out, false, fault.Conflict.New("idempotency_mismatch", "This Idempotency-Key was used for a different request.")
	}
	plain, err := a.desk.Seal.Open(ctx, purpose, rec.Sealed)
	if err != nil {
		return out, false, fmt.Errorf("open remembered answer: %w", err)
	}
	return out, true, json.Unmarshal(plain, &out)
}

const purpose = "idempotent-reply"

func (a attempt[T]) remember(ctx context.Context, tx store.Tx, out T) error {
	plain, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	sealed, err := a.desk.Seal.Seal(ctx, purpose, plain)
	if err != nil {
		return fmt.Errorf("seal answer: %w", err)
	}
	err = tx.Replies().Insert(ctx, store.Reply{ReplyKey: a.key, RequestHash: a.hash, Sealed: sealed, CreatedAt: a.desk.Now()})
	if errors.Is(err, fault.Conflict) {
		return errRaced
	}
	return err
}

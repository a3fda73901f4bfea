// Package passwordstest is the contract of package passwords, as tests.
package passwordstest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/passwords"
)

// Harness adapts the suite to one adapter.
type Harness struct {
	New func(t *testing.T) passwords.Hasher
	// Weak is a hash of "correct horse" with weaker parameters than Hash uses;
	// empty when the adapter has none.
	Weak string
}

// Run checks everything package passwords promises.
func Run(t *testing.T, h Harness) {
	t.Run("RightPasswordMatches", func(t *testing.T) {
		p := h.New(t)
		hash := must(p.Hash(t.Context(), secret.New("correct horse")))(t)
		expect(t, p, hash, "correct horse", true, false)
	})
	t.Run("WrongPasswordDoesNot", func(t *testing.T) {
		p := h.New(t)
		hash := must(p.Hash(t.Context(), secret.New("correct horse")))(t)
		for _, wrong := range []string{"", "correct horsf", "correct horse ", hash} {
			expect(t, p, hash, wrong, false, false)
		}
	})
	t.Run("TwoHashesDiffer", func(t *testing.T) {
		p := h.New(t)
		a := must(p.Hash(t.Context(), secret.New("same")))(t)
		if b := must(p.Hash(t.Context(), secret.New("same")))(t); a == b {
			t.Error("two hashes of one password are equal: there is no salt")
		}
	})
	t.Run("RubbishNeverMatches", func(t *testing.T) {
		p := h.New(t)
		for _, hash := range []string{"", "$", "$argon2id$v=19$m=1,t=1,p=1$$", "plain"} {
			expect(t, p, hash, "plain", false, false)
		}
	})
	t.Run("UnknownTakesAsLongAsWrong", func(t *testing.T) {
		p := h.New(t)
		hash := must(p.Hash(t.Context(), secret.New("correct horse")))(t)
		wrong, unknown := time.Hour, time.Hour
		for range 20 { // the least of many runs, in turns: a busy machine can only add to each
			wrong, unknown = min(wrong, took(t, p, hash)), min(unknown, took(t, p, ""))
			if unknown >= wrong/2 {
				return
			}
		}
		t.Errorf("an empty hash took %v, a wrong password %v: the difference tells who has an account", unknown, wrong)
	})
	t.Run("WeakHashIsOutdated", func(t *testing.T) {
		if h.Weak == "" {
			t.Skip("the adapter has one set of parameters")
		}
		expect(t, h.New(t), h.Weak, "correct horse", true, true)
	})
	t.Run("CanceledContext", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := h.New(t).Hash(ctx, secret.New("x")); !errors.Is(err, context.Canceled) {
			t.Errorf("Hash with a canceled context: %v", err)
		}
	})
}

func expect(t *testing.T, p passwords.Hasher, hash, password string, ok, outdated bool) {
	t.Helper()
	gotOK, gotOutdated, err := p.Matches(t.Context(), hash, secret.New(password))
	if err != nil || gotOK != ok || gotOutdated != outdated {
		t.Errorf("Matches: %v, %v, %v; want %v, %v and no error", gotOK, gotOutdated, err, ok, outdated)
	}
}

func took(t *testing.T, p passwords.Hasher, hash string) time.Duration {
	t.Helper()
	start := time.Now()
	expect(t, p, hash, "wrong", false, false)
	return time.Since(start)
}

func must(s string, err error) func(*testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

package memtenant

import (
	"context"
	"regexp"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

var (
	tokenID    = regexp.MustCompile(`^[a-z0-9]{6}$`)
	tokenValue = regexp.MustCompile(`^[a-z0-9]{16}$`)
)

func (t in) PutBootstrapToken(ctx context.Context, b tenant.BootstrapToken) error {
	var c fault.Check
	c.That(tokenID.MatchString(b.ID), "bootstrap_token.id", "must be six characters of a-z and 0-9")
	c.That(tokenValue.MatchString(b.Secret.Reveal()), "bootstrap_token.secret", "must be sixteen characters of a-z and 0-9")
	c.That(t.now == nil || b.Expires.After(t.now()), "bootstrap_token.expires", "must be in the future")
	if err := c.Err(); err != nil {
		return err
	}
	return t.call(ctx, func() error { t.c.tokens[b.ID] = b; return nil })
}

func (t in) DeleteBootstrapToken(ctx context.Context, bootstrapID string) error {
	return t.call(ctx, func() error { delete(t.c.tokens, bootstrapID); return nil })
}

func (t in) DecideJoin(ctx context.Context, seen tenant.JoinRequest, approve bool, reason string) error {
	return t.call(ctx, func() error {
		if i := t.c.find(seen.Name); i >= 0 && !t.c.requests[i].verdict.Decided && t.c.requests[i].JoinRequest == seen {
			t.c.requests[i].verdict = Verdict{Decided: true, Approved: approve, Reason: reason}
		}
		return nil
	})
}

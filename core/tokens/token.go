// Package tokens owns one-time join tokens and what a join needs. A token's
// value is given out once and kept only as a hash; everything secret that a
// join needs besides is derived from the value and the server's key, so that
// nothing that could be stolen from the database lets a machine join.
package tokens

import (
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Status is what has become of a token.
//
//	active ──▶ used      a machine has registered with it
//	   ├─────▶ revoked   somebody took it back
//	   └─────▶ expired   its time ran out
type Status string

const (
	Active  Status = "active"
	Used    Status = "used"
	Expired Status = "expired"
	Revoked Status = "revoked"
)

// Token guards a stored token.
type Token struct{ rec store.Token }

// Of guards a record that a store returned.
func Of(rec store.Token) Token { return Token{rec} }

// Record returns a copy for display. Changing it changes nothing.
func (t Token) Record() store.Token { return t.rec }

// StatusAt tells the status at a moment: expiry needs no write.
func (t Token) StatusAt(now time.Time) Status {
	if Status(t.rec.Status) == Active && !now.Before(t.rec.ExpiresAt) {
		return Expired
	}
	return Status(t.rec.Status)
}

// refusal says why a token cannot be used, or nil.
func (t Token) refusal(now time.Time) error {
	switch t.StatusAt(now) {
	case Active:
		return nil
	case Used:
		return fault.Denied.New("token_used", "This join token has been used. A token serves one machine: make a new one.")
	case Expired:
		return fault.Denied.New("token_expired", "This join token has expired. Make a new one.")
	case Revoked:
		return fault.Denied.New("token_revoked", "This join token has been revoked. Make a new one.")
	}
	return unknown()
}

func unknown() error {
	return fault.Denied.New("token_unknown", "This join token is not known here. Check that the command was copied whole.")
}

// claim binds the token to the one machine that holds a key. Asking again with
// the same key is fine: a machine may try again.
func (t *Token) claim(node, keyHash string, now time.Time) error {
	if err := t.refusal(now); err != nil {
		return err
	}
	if t.rec.ClaimedKeyHash == "" {
		t.rec.ClaimedNodeName, t.rec.ClaimedKeyHash = node, keyHash
		return nil
	}
	if t.rec.ClaimedKeyHash != keyHash || t.rec.ClaimedNodeName != node {
		return fault.Denied.New("token_claimed", "Another machine has claimed this join token. A token serves one machine: make a new one.")
	}
	return nil
}

// use records that the machine has registered as node.
func (t *Token) use(node id.Node, now time.Time) {
	t.rec.Status, t.rec.UsedByNodeID, t.rec.UsedAt = string(Used), node, &now
}

// revoke reports whether anything changed: a token that is over stays what it is.
func (t *Token) revoke(by id.User, now time.Time) bool {
	if t.StatusAt(now) != Active {
		return false
	}
	t.rec.Status, t.rec.RevokedAt, t.rec.RevokedByUserID = string(Revoked), &now, by
	return true
}

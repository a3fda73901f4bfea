package identity

import (
	"net/mail"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/kernel/text"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Status is whether an account may be used.
//
//	active ◀──▶ banned
type Status string

const (
	Active Status = "active"
	Banned Status = "banned"
)

// User guards a stored account.
type User struct{ rec store.User }

// Record returns a copy for display. Changing it changes nothing.
func (u User) Record() store.User { return u.rec }

func newUser(i id.User, email, name string, role actor.Role, now time.Time) (User, error) {
	var c fault.Check
	address, ok := normalAddress(email)
	c.That(ok, "body.email", addressRule)
	c.That(role.Known(), "body.role", roleRule)
	if name == "" {
		name, _, _ = strings.Cut(address, "@")
	}
	name = checkName(&c, name)
	if err := c.Err(); err != nil {
		return User{}, err
	}
	return User{store.User{
		ID: i, Email: address, Name: name, Role: string(role), Status: string(Active),
		CreatedAt: now, UpdatedAt: now,
	}}, nil
}

// Rename sets the name that others see.
func (u *User) Rename(name string, now time.Time) error {
	var c fault.Check
	name = checkName(&c, name)
	if err := c.Err(); err != nil {
		return err
	}
	u.rec.Name, u.rec.UpdatedAt = name, now
	return nil
}

const maxName = 100

func checkName(c *fault.Check, name string) string {
	name = strings.TrimSpace(name)
	c.That(text.IsName(name, maxName), "body.name", "must be 1 to %d printable characters", maxName)
	return name
}

const (
	addressRule = "must be an e-mail address of at most 254 characters"
	roleRule    = "must be admin, operator or user"
)

// normalAddress returns the one spelling under which an address is kept. Only
// ASCII is lowered: beyond it there are letters whose small form is an ASCII one
// (the Kelvin sign's is k), so that somebody else's mailbox would become yours.
func normalAddress(email string) (string, bool) {
	if !utf8.ValidString(email) { // lowering would mend it into another address
		return "", false
	}
	email = strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, strings.TrimSpace(email))
	a, err := mail.ParseAddress(email)
	if err != nil || a.Address != email || len(email) > 254 || !strings.Contains(email, "@") {
		return "", false
	}
	return email, !strings.ContainsFunc(email, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) || r == '[' })
}

const (
	minPassword = 8
	maxPassword = 128
)

// checkChosenPassword refuses everybody's first ideas, and those about the
// account that it is for: its address, and its owner's name.
func checkChosenPassword(c *fault.Check, location string, p secret.Text, about ...string) {
	n := utf8.RuneCountInString(p.Reveal())
	c.That(n >= minPassword && n <= maxPassword, location, "must be %d to %d characters", minPassword, maxPassword)
	c.That(!isCommon(p.Reveal()), location, "must not be one of the most common passwords")
	c.That(n < minPassword || besidesNames(p.Reveal(), about...) >= minPassword, location,
		"must have %d characters besides words that name this service or the account", minPassword)
}

package identity_test

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/signon"
	"github.com/kubebyon/kubebyon/ports/sso"
	"github.com/kubebyon/kubebyon/ports/store"
)

const callback = "https://console.example.org/api/auth/sso/company/callback"

// company is a provider that says what a test wants, by code.
type company struct {
	people map[string]sso.Identity
	begun  []sso.Attempt
	before func() // called before it tells who came
}

func (c *company) Begin(_ context.Context, a sso.Attempt) (string, error) {
	c.begun = append(c.begun, a)
	return "https://company.example.com/authorize?state=" + a.State, a.Check()
}

func (c *company) Complete(_ context.Context, a sso.Attempt, answer sso.Answer) (sso.Identity, error) {
	if !slices.Contains(c.begun, a) {
		return sso.Identity{}, errors.New("this is not an attempt that was begun")
	}
	if c.before != nil {
		c.before()
	}
	if answer.Error != "" {
		return sso.Identity{}, sso.Canceled()
	}
	who, ok := c.people[answer.Code.Reveal()]
	if !ok {
		return sso.Identity{}, sso.Failed(errors.New("unknown code"))
	}
	return who, nil
}

func (w *world) company(people map[string]sso.Identity) *company {
	c := &company{people: people}
	w.policy.set(func(p *policy) { p.providers = map[string]sso.Provider{"company": c, "other": c} })
	return c
}

func person(subject, email string, verified bool) sso.Identity {
	return sso.Identity{Subject: secret.New("https://company.example.com " + subject), Email: email, EmailVerified: verified, Name: "Ada at work"}
}

// way has a browser begin a sign-in and returns what it comes back with.
func (w *world) way(t *testing.T, code string) identity.Return {
	t.Helper()
	to, cookie, err := w.BeginSSO(t.Context(), "company", callback, "/clusters")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	return identity.Return{Provider: "company", State: u.Query().Get("state"), Cookie: cookie, Answer: sso.Answer{Code: secret.New(code)}}
}

func (w *world) sso(t *testing.T, code string) (store.User, secret.Text, error) {
	t.Helper()
	u, token, target, err := w.EndSSO(t.Context(), w.way(t, code), identity.Client{IP: "192.0.2.1", UserAgent: "curl"})
	if err == nil && target != "/clusters" {
		t.Errorf("the browser goes to %q", target)
	}
	return u, token, err
}

func (w *world) identities(t *testing.T, u id.User) []string {
	t.Helper()
	all, err := w.ProvidersOf(t.Context(), store.User{ID: u})
	if err != nil {
		t.Fatal(err)
	}
	return all[u]
}

func TestAVerifiedAddressOpensItsAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.account(t)
	w.company(map[string]sso.Identity{"ada": person("1", "ADA@example.org", true), "moved": person("1", "elsewhere@example.org", false)})
	u, token, err := w.sso(t, "ada")
	if err != nil || u.ID != made.ID || u.Name != "Ada" {
		t.Fatalf("%+v, %v", u, err)
	}
	who, _, err := w.Session(t.Context(), token)
	if err != nil || who.UserID != made.ID {
		t.Errorf("the session: %+v, %v", who, err)
	}
	if got := w.identities(t, made.ID); !slices.Equal(got, []string{"company"}) {
		t.Errorf("linked with %v", got)
	}
	if got := last(w.events(t)); got != "session/login success by user" {
		t.Errorf("recorded %q", got)
	}
	if h := w.history(t, made); len(h) != 1 || h[0].Method != "sso:company" || h[0].Result != "success" || h[0].IP != "192.0.2.1" {
		t.Errorf("remembered %+v", h)
	}
	if u, _, err := w.sso(t, "moved"); err != nil || u.ID != made.ID { // known by the provider's own name for her
		t.Errorf("with another address: %+v, %v", u, err)
	}
	if _, _, err := w.SignIn(t.Context(), address, secret.New(password), identity.Client{}); err != nil {
		t.Errorf("the password: %v", err)
	}
	for _, kept := range []string{"https://company.example.com 1", token.Reveal()} {
		if strings.Contains(w.dump()+w.log.String(), kept) {
			t.Errorf("%s is kept", kept)
		}
	}
}

func TestAnUnverifiedAddressOpensNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.account(t)
	w.company(map[string]sso.Identity{
		"ada": person("1", address, false), "nobody": person("2", "nobody@example.org", false), "none": person("3", "", true), "odd": person("4", "no address", true),
	})
	for _, code := range []string{"ada", "nobody", "none", "odd"} {
		u, token, err := w.sso(t, code)
		if fault.CodeOf(err) != "sso_email_unverified" || fault.KindOf(err) != fault.Denied || !token.IsZero() || !u.ID.IsZero() {
			t.Errorf("%s: %+v, %v", code, u, err)
		}
		if got := last(w.events(t)); got != "session/login failure by anonymous" {
			t.Errorf("%s: recorded %q", code, got)
		}
	}
	if len(w.identities(t, made.ID)) != 0 || len(w.history(t, made)) != 0 || len(w.mail.take()) != 0 {
		t.Error("something came of it")
	}
}

func TestANewcomerNeedsAnOpenDoor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.company(map[string]sso.Identity{"new": person("1", newcomer, true)})
	w.policy.set(func(p *policy) { p.open = false })
	if _, token, err := w.sso(t, "new"); fault.CodeOf(err) != "registration_closed" || !token.IsZero() || strings.Contains(w.dump(), "User{") {
		t.Errorf("closed: %v", err)
	}
	w.policy.set(func(p *policy) { p.open = true })
	u, _, err := w.sso(t, "new")
	if err != nil || u.Email != newcomer || u.Name != "Ada at work" || u.Role != "user" || u.PasswordHash != "" || u.LastLoginAt == nil {
		t.Fatalf("%+v, %v", u, err)
	}
	if got := strings.Join(w.events(t)[1:], ", "); got != "user/register success by user, session/login success by user" {
		t.Errorf("recorded %s", got)
	}
	if letters := w.mail.take(); len(letters) != 1 || letters[0].Template != "welcome" || letters[0].To != newcomer {
		t.Errorf("mailed %+v", letters)
	}
	w.policy.set(func(p *policy) { p.open = false })
	if again, _, err := w.sso(t, "new"); err != nil || again.ID != u.ID {
		t.Errorf("the next time: %v", err)
	}
	if err := w.CheckPassword(t.Context(), secret.New(password)); err == nil {
		t.Error("a password was confirmed that there is not")
	}
}

func TestABannedAccountIsNotOpenedByAProvider(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.account(t)
	c := w.company(map[string]sso.Identity{"ada": person("1", address, true)})
	w.edit(t, made.ID, func(u *store.User) { u.Status = string(identity.Banned) })
	refused := func() {
		t.Helper()
		_, token, err := w.sso(t, "ada")
		if fault.CodeOf(err) != "account_banned" || !token.IsZero() || last(w.events(t)) != "session/login failure by user" {
			t.Errorf("%v, %s", err, last(w.events(t)))
		}
	}
	refused()
	if len(w.identities(t, made.ID)) != 0 {
		t.Error("it was linked")
	}
	w.edit(t, made.ID, func(u *store.User) { u.Status = string(identity.Active) })
	if _, _, err := w.sso(t, "ada"); err != nil {
		t.Fatal(err)
	}
	c.before = func() { w.edit(t, made.ID, func(u *store.User) { u.Status = string(identity.Banned) }) }
	refused() // banned while she was at the provider
	if h := w.history(t, made); len(h) != 3 || h[0].Result != "account_banned" {
		t.Errorf("remembered %+v", h)
	}
}

// TestAnotherPersonWithTheSameAddressIsNotLetIn: addresses are given to others;
// the provider's own name for somebody is not.
func TestAnotherPersonWithTheSameAddressIsNotLetIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	w.company(map[string]sso.Identity{"ada": person("1", address, true), "heir": person("2", address, true)})
	if _, _, err := w.sso(t, "ada"); err != nil {
		t.Fatal(err)
	}
	if _, token, err := w.sso(t, "heir"); fault.CodeOf(err) != "identity_taken" || !token.IsZero() {
		t.Errorf("got %v", err)
	}
}

func TestOnlyTheBrowserThatBeganGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	w.company(map[string]sso.Identity{"ada": person("1", address, true)})
	before := w.dump()
	for name, c := range map[string]struct {
		want   string
		change func(*identity.Return)
	}{
		"no cookie":            {"sso_expired", func(r *identity.Return) { r.Cookie = secret.Text{} }},
		"another's cookie":     {"sso_failed", func(r *identity.Return) { r.Cookie = w.way(t, "ada").Cookie }},
		"another's state":      {"sso_failed", func(r *identity.Return) { r.State = w.way(t, "ada").State }},
		"another provider":     {"sso_failed", func(r *identity.Return) { r.Provider = "other" }},
		"canceled":             {"sso_canceled", func(r *identity.Return) { r.Answer = sso.Answer{Error: "access_denied"} }},
		"an unknown code":      {"sso_failed", func(r *identity.Return) { r.Answer.Code = secret.New("x") }},
		"too late":             {"sso_expired", func(*identity.Return) { w.Move(signon.Life) }},
		"a provider that went": {"sso_provider_unknown", func(*identity.Return) { w.policy.set(func(p *policy) { p.providers = nil }) }},
	} {
		providers := maps.Clone(w.policy.providers)
		back := w.way(t, "ada")
		c.change(&back)
		_, token, _, err := w.EndSSO(t.Context(), back, identity.Client{})
		if fault.CodeOf(err) != c.want || !token.IsZero() {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		w.policy.set(func(p *policy) { p.providers = providers })
	}
	if w.dump() != before {
		t.Error("something was done")
	}
	if _, _, err := w.BeginSSO(t.Context(), "nobody", callback, "/"); fault.CodeOf(err) != "sso_provider_unknown" {
		t.Errorf("an unknown provider: %v", err)
	}
	if _, _, err := w.BeginSSO(t.Context(), "company", callback, "//evil.example"); strings.Join(fields(err), "") != "query.redirect" {
		t.Errorf("a target elsewhere: %v", err)
	}
}

// TestTwoWhoComeAtOnceAreOne: both see that there is no account yet.
func TestTwoWhoComeAtOnceAreOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.company(map[string]sso.Identity{"new": person("1", newcomer, true)})
	first, second := w.way(t, "new"), w.way(t, "new")
	racing := &meanwhile{Store: w.store, do: func() {
		if _, _, _, err := w.EndSSO(t.Context(), first, identity.Client{}); err != nil {
			t.Error(err)
		}
	}}
	if _, _, _, err := w.over(t, racing).EndSSO(t.Context(), second, identity.Client{}); err != nil {
		t.Error(err)
	}
	all, err := w.List(t.Context(), store.UserFilter{}, page.Query{})
	if err != nil || len(all.Items) != 1 || len(w.mail.take()) != 1 {
		t.Errorf("%d accounts, %v", len(all.Items), err)
	}
}

// TestARemovalDuringASignInIsNotOutrun: who is gone does not get in by what began before.
func TestARemovalDuringASignInIsNotOutrun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.account(t)
	w.policy.set(func(p *policy) { p.open = false })
	w.company(map[string]sso.Identity{"ada": person("1", address, true)})
	remove := func() {
		w.tx(t, func(ctx context.Context, tx store.Tx) error { return tx.Users().Remove(ctx, made.ID, w.Now()) })
	}
	back := w.way(t, "ada")
	_, token, _, err := w.over(t, &meanwhile{Store: w.store, do: remove}).EndSSO(t.Context(), back, identity.Client{})
	if fault.CodeOf(err) != "registration_closed" || !token.IsZero() {
		t.Errorf("at a provider: %v", err)
	}
	made = w.account(t)
	_, token, err = w.over(t, &meanwhile{Store: w.store, do: remove}).SignIn(t.Context(), address, secret.New(password), identity.Client{})
	if fault.CodeOf(err) != "invalid_credentials" || !token.IsZero() {
		t.Errorf("with a password: %v", err)
	}
}

// TestANewcomerAlwaysHasAName, whatever the provider calls them.
func TestANewcomerAlwaysHasAName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for n, c := range []struct{ said, email, want string }{
		{" Nora ", "a@example.org", "Nora"},
		{"", "nora@example.org", "nora"},
		{"a\u202eb", "b@example.org", "b"},
		{"", strings.Repeat("c", 101) + "@example.org", "Somebody"},
	} {
		who := person(string(rune('1'+n)), c.email, true)
		who.Name = c.said
		w.company(map[string]sso.Identity{"new": who})
		if u, _, err := w.sso(t, "new"); err != nil || u.Name != c.want {
			t.Errorf("%+v: %q, %v", c, u.Name, err)
		}
	}
}

func TestACrashDuringASignInLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.company(map[string]sso.Identity{"new": person("1", newcomer, true)})
	before := w.dump()
	back := w.way(t, "new")
	if _, _, _, err := w.over(t, failing{w.store, "sessions"}).EndSSO(t.Context(), back, identity.Client{}); !errors.Is(err, errBroken) || w.dump() != before {
		t.Errorf("%v, or something is left", err)
	}
	w.Move(time.Minute)
	if _, _, err := w.sso(t, "new"); err != nil {
		t.Error(err)
	}
}

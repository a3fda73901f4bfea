package identity_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	address  = "ada@example.org"
	password = "correct horse battery"
)

type world struct {
	*identity.Service
	*coretest.Clock
	store  *memstore.Store
	hasher *coretest.Hasher
	mail   *mailbox
	policy *policy
	log    *coretest.Log
	deps   identity.Deps
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		Clock: coretest.NewClock(), store: memstore.New(), hasher: &coretest.Hasher{Current: "v2"}, log: &coretest.Log{},
		mail: new(mailbox), policy: &policy{open: true},
	}
	w.deps = identity.Deps{
		Store: w.store, Passwords: w.hasher, Seal: keyseal.New([32]byte{1}), Mail: w.mail, Policy: w.policy,
		Log: w.log.Logger(), Now: w.Now, Random: coretest.Random(), Secret: coretest.Secret(),
	}
	w.Service = w.over(t, w.store)
	return w
}

// over is the service over another view of the store.
func (w *world) over(t *testing.T, s store.Store) *identity.Service {
	t.Helper()
	d := w.deps
	d.Store = s
	out, err := identity.New(d)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *world) account(t *testing.T) store.User {
	t.Helper()
	u, err := w.Create(t.Context(), identity.NewAccount{Email: address, Name: "Ada", Role: actor.User, Password: secret.New(password)})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (w *world) signIn(t *testing.T) (actor.Actor, secret.Text) {
	t.Helper()
	_, token, err := w.SignIn(t.Context(), address, secret.New(password), identity.Client{IP: "192.0.2.1", UserAgent: "curl"})
	if err != nil {
		t.Fatal(err)
	}
	who, _, err := w.Session(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return who, token
}

func (w *world) edit(t *testing.T, i id.User, change func(*store.User)) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		u, err := tx.Users().Get(ctx, i)
		if err != nil {
			return err
		}
		change(&u)
		return tx.Users().Update(ctx, &u)
	})
}

func (w *world) tx(t *testing.T, do func(context.Context, store.Tx) error) {
	t.Helper()
	if err := w.store.InTx(t.Context(), do); err != nil {
		t.Fatal(err)
	}
}

// events returns "resource/action result type" of all that happened, oldest first.
func (w *world) events(t *testing.T) (out []string) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Audit().List(ctx, store.AuditFilter{}, page.Query{})
		for _, e := range all.Items {
			out = append([]string{fmt.Sprintf("%s/%s %s by %s", e.ResourceType, e.Action, e.Result, e.ActorType)}, out...)
		}
		return err
	})
	return out
}

func last(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

func TestAServiceIsNotMadeWithoutWhatItNeeds(t *testing.T) {
	t.Parallel()
	full := newWorld(t).deps
	for name, drop := range map[string]func(*identity.Deps){
		"Store": func(d *identity.Deps) { d.Store = nil }, "Passwords": func(d *identity.Deps) { d.Passwords = nil },
		"Log": func(d *identity.Deps) { d.Log = nil }, "Now": func(d *identity.Deps) { d.Now = nil },
		"Random": func(d *identity.Deps) { d.Random = nil }, "Secret": func(d *identity.Deps) { d.Secret = nil },
		"Seal": func(d *identity.Deps) { d.Seal = nil }, "Mail": func(d *identity.Deps) { d.Mail = nil },
		"Policy": func(d *identity.Deps) { d.Policy = nil },
	} {
		d := full
		drop(&d)
		if _, err := identity.New(d); err == nil {
			t.Errorf("made without %s", name)
		}
	}
}

func TestSigningInGivesATokenThatSpeaksForTheAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.account(t)
	w.Move(time.Minute)
	u, token, err := w.SignIn(t.Context(), " ADA@Example.org ", secret.New(password), identity.Client{IP: "192.0.2.1", UserAgent: "curl"})
	if err != nil || u.ID != made.ID || u.LastLoginAt == nil || !u.LastLoginAt.Equal(w.Now()) {
		t.Fatalf("signed in as %+v, %v", u, err)
	}
	if !strings.HasPrefix(token.Reveal(), "kbs_") || len(token.Reveal()) != 47 {
		t.Errorf("the token has %d characters", len(token.Reveal()))
	}
	who, me, err := w.Session(t.Context(), token)
	if err != nil || who.UserID != made.ID || who.Type != actor.Person || who.Method != actor.BySession || who.Role != actor.User || who.Session.IsZero() || me.ID != made.ID {
		t.Errorf("the token speaks for %+v, %v", who, err)
	}
	if got := last(w.events(t)); got != "session/login success by user" {
		t.Errorf("recorded %q", got)
	}
	dump := coretest.Dump(w.store) + w.log.String()
	if strings.Contains(dump, token.Reveal()) || strings.Contains(dump, token.Reveal()[4:]) || strings.Contains(dump, password) {
		t.Error("the token or the password is kept")
	}
}

func TestAnUnknownAddressAndAWrongPasswordFailAlike(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	type outcome struct {
		text   string
		checks int64
		events int
	}
	try := func(email, pass string) outcome {
		checks, events := w.hasher.Checks.Load(), len(w.events(t))
		_, token, err := w.SignIn(t.Context(), email, secret.New(pass), identity.Client{})
		if fault.KindOf(err) != fault.Unauthenticated || fault.CodeOf(err) != "invalid_credentials" || !token.IsZero() {
			t.Errorf("%q: %v", email, err)
		}
		return outcome{err.Error(), w.hasher.Checks.Load() - checks, len(w.events(t)) - events}
	}
	want := try(address, "wrong password")
	if want.checks != 1 || want.events != 1 || last(w.events(t)) != "session/login failure by user" {
		t.Errorf("a wrong password: %+v, %s", want, last(w.events(t)))
	}
	for _, email := range []string{"nobody@example.org", "", "no address", "nul\x00@example.org", "a\xff@example.org", strings.Repeat("a", 300) + "@example.org"} {
		if got := try(email, password); got != want {
			t.Errorf("%q: %+v, want %+v", email, got, want)
		}
	}
	if last(w.events(t)) != "session/login failure by anonymous" || strings.Contains(coretest.Dump(w.store), "nobody@") {
		t.Error("an unknown address was kept, or its failure not")
	}
	w.edit(t, u.ID, func(u *store.User) { u.PasswordHash = "" })
	if got := try(address, ""); got != want {
		t.Errorf("an account without a password: %+v, want %+v", got, want)
	}
}

func TestABannedAccountIsToldOnlyAfterTheRightPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	who, token := w.signIn(t)
	key := secret.New("kbk_key")
	w.apiKey(t, u.ID, key, nil)
	w.edit(t, u.ID, func(u *store.User) { u.Status = string(identity.Banned) })
	_, _, err := w.SignIn(t.Context(), address, secret.New(password), identity.Client{})
	if fault.KindOf(err) != fault.Denied || fault.CodeOf(err) != "account_banned" || last(w.events(t)) != "session/login failure by user" {
		t.Errorf("got %v, %s", err, last(w.events(t)))
	}
	if _, _, err := w.SignIn(t.Context(), address, secret.New("wrong password"), identity.Client{}); fault.CodeOf(err) != "invalid_credentials" {
		t.Errorf("a wrong password got %v", err)
	}
	if _, _, err := w.Session(t.Context(), token); fault.CodeOf(err) != "unauthenticated" {
		t.Errorf("the session %s lives on: %v", who.Session, err)
	}
	if _, _, err := w.APIKey(t.Context(), key); fault.CodeOf(err) != "unauthenticated" {
		t.Errorf("the API key works on: %v", err)
	}
}

func (w *world) apiKey(t *testing.T, u id.User, value secret.Text, expires *time.Time) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		return tx.APIKeys().Insert(ctx, store.APIKey{
			ID: id.New[id.APIKeyKind](w.Now(), w.deps.Random()), UserID: u, ValueHash: hash(value), ExpiresAt: expires, CreatedAt: w.Now(),
		})
	})
}

func TestASessionSlidesButNotPastItsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	_, token := w.signIn(t)
	began := w.Now()
	for w.Now().Sub(began) < identity.SessionMax {
		if _, _, err := w.Session(t.Context(), token); err != nil {
			t.Fatalf("ended after %v of use: %v", w.Now().Sub(began), err)
		}
		w.Move(6 * 24 * time.Hour)
	}
	if _, _, err := w.Session(t.Context(), token); fault.CodeOf(err) != "unauthenticated" {
		t.Errorf("lives on after %v: %v", w.Now().Sub(began), err)
	}
}

func (w *world) session(t *testing.T, token secret.Text) (ses store.Session) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) (err error) {
		ses, _, err = tx.Sessions().ByTokenHash(ctx, hash(token))
		return err
	})
	return ses
}

func TestNoSessionIsKeptOrTakenPastItsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	_, token := w.signIn(t)
	ends := w.session(t, token).EndsAt
	for range 8 {
		w.Move(3*24*time.Hour + time.Hour)
		_, _, _ = w.Session(t.Context(), token)
	}
	if got := w.session(t, token).ExpiresAt; !got.Equal(ends) {
		t.Errorf("it slid to %v, and ends at %v", got, ends)
	}
	long := w.session(t, token).ID
	w.tx(t, func(ctx context.Context, tx store.Tx) error { // as a process without that rule would
		return tx.Sessions().Extend(ctx, long, ends.Add(time.Hour))
	})
	w.Move(ends.Sub(w.Now()))
	if _, _, err := w.Session(t.Context(), token); fault.CodeOf(err) != "unauthenticated" {
		t.Errorf("taken past its end: %v", err)
	}
}

func TestASessionEndsAfterAWeekOfSilence(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	_, token := w.signIn(t)
	w.Move(identity.SessionIdle - time.Millisecond)
	if _, _, err := w.Session(t.Context(), token); err != nil {
		t.Fatalf("just within a week: %v", err)
	}
	w.Move(identity.SessionIdle)
	if _, _, err := w.Session(t.Context(), token); fault.CodeOf(err) != "unauthenticated" {
		t.Errorf("after a week: %v", err)
	}
}

func TestAQuickSuccessionOfRequestsWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	_, token := w.signIn(t)
	before := coretest.Dump(w.store)
	for range 3 {
		w.Move(15 * time.Minute)
		_, _, _ = w.Session(t.Context(), token)
	}
	if coretest.Dump(w.store) != before {
		t.Error("the session was written within the hour")
	}
	w.Move(16 * time.Minute)
	_, _, _ = w.Session(t.Context(), token)
	if coretest.Dump(w.store) == before {
		t.Error("the session was not written after an hour")
	}
}

func TestAClockThatGoesBackNeitherEndsNorShortensASession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	_, token := w.signIn(t)
	before := coretest.Dump(w.store)
	w.Move(-48 * time.Hour)
	if _, _, err := w.Session(t.Context(), token); err != nil || coretest.Dump(w.store) != before {
		t.Errorf("a clock two days back: %v, changed %v", err, coretest.Dump(w.store) != before)
	}
	w.Move(48*time.Hour + identity.SessionIdle - time.Millisecond)
	if _, _, err := w.Session(t.Context(), token); err != nil {
		t.Errorf("the session was shortened: %v", err)
	}
}

// lame fails every write, as a database does that is read-only for a while.
type lame struct{ store.Store }

func (lame) InTx(context.Context, func(context.Context, store.Tx) error) error {
	return errors.New("read only")
}

func TestASessionThatCannotBeExtendedIsGoodAllTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	_, token := w.signIn(t)
	w.Move(3 * time.Hour)
	if _, _, err := w.over(t, lame{w.store}).Session(t.Context(), token); err != nil {
		t.Error(err)
	}
	if !strings.Contains(w.log.String(), "session not extended") {
		t.Error("nobody was told")
	}
}

func TestSigningOutEndsTheSessionAndOnlyThat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	who, token := w.signIn(t)
	_, other := w.signIn(t)
	ctx := actor.With(t.Context(), who)
	if err := w.SignOut(ctx); err != nil || last(w.events(t)) != "session/logout success by user" {
		t.Fatalf("got %v, %s", err, last(w.events(t)))
	}
	if _, _, err := w.Session(t.Context(), token); fault.CodeOf(err) != "unauthenticated" {
		t.Errorf("the session lives on: %v", err)
	}
	if _, _, err := w.Session(t.Context(), other); err != nil {
		t.Errorf("another session ended: %v", err)
	}
	if err := w.SignOut(ctx); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := w.SignOut(t.Context()); err != nil {
		t.Errorf("without being signed in: %v", err)
	}
}

func TestAnUnknownCredentialSaysNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, text := range []string{"", "kbs_x", strings.Repeat("x", 1<<16), "\x00\xff"} {
		_, _, err1 := w.Session(t.Context(), secret.New(text))
		_, _, err2 := w.APIKey(t.Context(), secret.New(text))
		if fault.CodeOf(err1) != "unauthenticated" || fault.CodeOf(err2) != "unauthenticated" {
			t.Errorf("%.10q: %v, %v", text, err1, err2)
		}
	}
}

func TestAnAPIKeySpeaksForItsUserUntilItExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	expires := w.Now().Add(time.Hour)
	w.apiKey(t, u.ID, secret.New("kbk_short"), &expires)
	w.apiKey(t, u.ID, secret.New("kbk_ever"), nil)
	who, _, err := w.APIKey(t.Context(), secret.New("kbk_short"))
	if err != nil || who.UserID != u.ID || who.Method != actor.ByAPIKey || !who.Session.IsZero() {
		t.Errorf("got %+v, %v", who, err)
	}
	w.Move(time.Hour)
	if _, _, err := w.APIKey(t.Context(), secret.New("kbk_short")); fault.CodeOf(err) != "unauthenticated" {
		t.Errorf("an expired key: %v", err)
	}
	if _, _, err := w.APIKey(t.Context(), secret.New("kbk_ever")); err != nil {
		t.Errorf("a key without an end: %v", err)
	}
}

func TestAResetEndsEverySessionAndTheOldPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	_, token := w.signIn(t)
	got, err := w.ResetPassword(t.Context(), "ADA@example.org", secret.New("a new password"))
	if err != nil || got.ID != u.ID || last(w.events(t)) != "user/reset_password success by system" {
		t.Fatalf("got %+v, %v, %s", got, err, last(w.events(t)))
	}
	if _, _, err := w.Session(t.Context(), token); fault.CodeOf(err) != "unauthenticated" {
		t.Errorf("the session lives on: %v", err)
	}
	if _, _, err := w.SignIn(t.Context(), address, secret.New(password), identity.Client{}); fault.CodeOf(err) != "invalid_credentials" {
		t.Errorf("the old password: %v", err)
	}
	if _, _, err := w.SignIn(t.Context(), address, secret.New("a new password"), identity.Client{}); err != nil {
		t.Errorf("the new password: %v", err)
	}
	before := coretest.Dump(w.store)
	_, short := w.ResetPassword(t.Context(), address, secret.New("short"))
	_, unknown := w.ResetPassword(t.Context(), "nobody@example.org", secret.New("a new password"))
	if fault.KindOf(short) != fault.Invalid || fault.KindOf(unknown) != fault.NotFound || coretest.Dump(w.store) != before {
		t.Errorf("refusals: %v, %v", short, unknown)
	}
}

// meanwhile does something between the look at an account and the begin of its session.
type meanwhile struct {
	store.Store
	once sync.Once
	do   func()
}

func (m *meanwhile) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	m.once.Do(m.do)
	return m.Store.InTx(ctx, do)
}

func TestAResetDuringSigningInIsNotOutrun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	racing := &meanwhile{Store: w.store, do: func() { _, _ = w.ResetPassword(t.Context(), address, secret.New("a new password")) }}
	_, token, err := w.over(t, racing).SignIn(t.Context(), address, secret.New(password), identity.Client{})
	if fault.CodeOf(err) != "invalid_credentials" || !token.IsZero() {
		t.Errorf("the old password got in: %v", err)
	}
}

func TestABanDuringSigningInIsNotOutrun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	racing := &meanwhile{Store: w.store, do: func() { w.edit(t, u.ID, func(u *store.User) { u.Status = string(identity.Banned) }) }}
	_, token, err := w.over(t, racing).SignIn(t.Context(), address, secret.New(password), identity.Client{})
	if fault.CodeOf(err) != "account_banned" || !token.IsZero() {
		t.Errorf("got in: %v", err)
	}
}

func TestAWeakerHashIsMadeAnewAtTheNextSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	w.edit(t, u.ID, func(u *store.User) { u.PasswordHash = w.hasher.HashAs("v1", secret.New(password)) })
	w.signIn(t)
	if !strings.Contains(coretest.Dump(w.store), "v2:") || strings.Contains(coretest.Dump(w.store), "v1:") {
		t.Error("the hash is as it was")
	}
	w.signIn(t)
}

func TestSigningInWorksWhileAnotherSignInUpgradesTheHash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	w.edit(t, u.ID, func(u *store.User) { u.PasswordHash = w.hasher.HashAs("v1", secret.New(password)) })
	racing := &meanwhile{Store: w.store, do: func() { w.signIn(t) }}
	if _, _, err := w.over(t, racing).SignIn(t.Context(), address, secret.New(password), identity.Client{}); err != nil {
		t.Errorf("the right password was refused: %v", err)
	}
}

func TestSigningInWorksThoughTheHashCannotBeUpgraded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	w.edit(t, u.ID, func(u *store.User) { u.PasswordHash = w.hasher.HashAs("v1", secret.New(password)) })
	racing := &meanwhile{Store: w.store, do: func() { w.edit(t, u.ID, func(u *store.User) { u.Name = "Ada L" }) }}
	if _, _, err := w.over(t, racing).SignIn(t.Context(), address, secret.New(password), identity.Client{}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(w.log.String(), "password hash not upgraded") {
		t.Error("nobody was told")
	}
	w.signIn(t)
}

func TestSigningInDoesNotUndoAChangeOfTheAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	racing := &meanwhile{Store: w.store, do: func() { w.edit(t, u.ID, func(u *store.User) { u.Name = "Ada L" }) }}
	got, _, err := w.over(t, racing).SignIn(t.Context(), address, secret.New(password), identity.Client{})
	if err != nil || got.Name != "Ada L" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAHostileClientIsKeptInBounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	agent := strings.Repeat("é\x00\xff", 10_000)
	if _, _, err := w.SignIn(t.Context(), address, secret.New(password), identity.Client{IP: agent, UserAgent: agent}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(coretest.Dump(w.store), "é"); n > 200 {
		t.Errorf("%d characters of it are kept", n)
	}
}

func TestNamesAreTrimmedAndBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	ctx := coretest.As(t.Context(), u.ID, actor.User)
	for name, want := range map[string]string{
		"  Ada Lovelace ": "Ada Lovelace", "李雷": "李雷", strings.Repeat("é", 100): strings.Repeat("é", 100), "👩‍💻": "👩‍💻",
		"": "", "   ": "", strings.Repeat("é", 101): "", "a\x00b": "", "a\nb": "", "a\x1b[31m": "", "\xff": "", "a\u202eb": "", "\u200b": "",
	} {
		before := coretest.Dump(w.store)
		got, err := w.Rename(ctx, name)
		if want != "" && (err != nil || got.Name != want || last(w.events(t)) != "user/update_profile success by user") {
			t.Errorf("Rename(%q) = %q, %v", name, got.Name, err)
		}
		if want == "" && (fault.KindOf(err) != fault.Invalid || coretest.Dump(w.store) != before) {
			t.Errorf("Rename(%q) = %v, changed %v", name, err, coretest.Dump(w.store) != before)
		}
	}
	if me, err := w.Me(ctx); err != nil || me.ID != u.ID {
		t.Errorf("Me = %+v, %v", me, err)
	}
	if _, err := w.Rename(t.Context(), "x"); fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("nobody renamed themselves: %v", err)
	}
	if _, err := w.Me(t.Context()); fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("nobody is somebody: %v", err)
	}
}

func TestAddressesHaveOneSpelling(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for email, want := range map[string]string{
		" Grace@Example.ORG\n": "grace@example.org", "a.b+c@x.example": "a.b+c@x.example", "": "", "x": "", "@x": "", "a@": "", "a b@x": "",
		"Name <a@x.example>": "", "<a@x.example>": "", "a@x.example, b@x.example": "", "a@x\x00.example": "", "a@x.example (c)": "",
		strings.Repeat("a", 250) + "@x.example": "", "\xff@x.example": "", "\"a b\"@x.example": "",
	} {
		u, err := w.Create(t.Context(), identity.NewAccount{Email: email, Role: actor.User, Password: secret.New(password)})
		if want != "" && (err != nil || u.Email != want) {
			t.Errorf("%q became %q, %v", email, u.Email, err)
		}
		if want == "" && fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q was taken: %q, %v", email, u.Email, err)
		}
	}
	_, err := w.Create(t.Context(), identity.NewAccount{Email: "GRACE@example.org", Role: actor.User, Password: secret.New(password)})
	if fault.CodeOf(err) != "email_taken" {
		t.Errorf("a second spelling made a second account: %v", err)
	}
}

func TestAccountsAreMadeWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := coretest.Dump(w.store)
	for name, n := range map[string]identity.NewAccount{
		"no role":         {Email: address, Password: secret.New(password)},
		"unknown role":    {Email: address, Role: "root", Password: secret.New(password)},
		"no password":     {Email: address, Role: actor.User},
		"short password":  {Email: address, Role: actor.User, Password: secret.New("1234567")},
		"common password": {Email: address, Role: actor.User, Password: secret.New("12345678")},
		"long password":   {Email: address, Role: actor.User, Password: secret.New(strings.Repeat("x", 129))},
		"name":            {Email: address, Role: actor.User, Password: secret.New(password), Name: "a\x00"},
	} {
		if _, err := w.Create(t.Context(), n); fault.KindOf(err) != fault.Invalid || strings.Contains(err.Error(), "1234567") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if coretest.Dump(w.store) != before {
		t.Error("a refusal changed the store")
	}
	for i, p := range []string{"83746512", strings.Repeat("é", 128), "  spaces count  "} {
		u, err := w.Create(t.Context(), identity.NewAccount{Email: fmt.Sprintf("u%d@example.org", i), Role: actor.Operator, Password: secret.New(p)})
		if err != nil || u.Name != fmt.Sprint("u", i) || u.Role != "operator" || u.Status != "active" {
			t.Errorf("%q: %+v, %v", p, u, err)
		}
	}
	if last(w.events(t)) != "user/create success by system" {
		t.Errorf("recorded %s", last(w.events(t)))
	}
}

func TestTheFirstAdminIsMadeOnceHoweverManyTry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for i := range 20 {
		wg.Go(func() { // half of them under the same address
			_, did, err := w.FirstAdmin(t.Context(), identity.NewAccount{Email: fmt.Sprintf("admin%d@example.org", i/2), Password: secret.New(password)})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if did {
				made++
			}
		})
	}
	wg.Wait()
	all, err := w.List(t.Context(), store.UserFilter{}, page.Query{})
	if made != 1 || err != nil || len(all.Items) != 1 || all.Items[0].Role != "admin" {
		t.Errorf("%d made, %d there, %v", made, len(all.Items), err)
	}
	if there, err := w.HasAdmin(t.Context()); !there || err != nil {
		t.Errorf("HasAdmin = %v, %v", there, err)
	}
}

// TestTheFirstAdminTakesTurns: databases that run transactions side by side
// would let each count none before either inserts.
func TestTheFirstAdminTakesTurns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, _, err := w.FirstAdmin(t.Context(), identity.NewAccount{Email: address, Password: secret.New(password)}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(coretest.Dump(w.store), "turn/first-admin") {
		t.Error("no row was locked")
	}
}

func TestAnAddressThatSomebodyElseHasDoesNotPassForAnAdmin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	_, made, err := w.FirstAdmin(t.Context(), identity.NewAccount{Email: address, Password: secret.New(password)})
	if made || fault.CodeOf(err) != "email_taken" {
		t.Errorf("made %v, %v", made, err)
	}
}

func TestCheckPasswordConfirmsOnesOwnOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	ctx := coretest.As(t.Context(), u.ID, actor.User)
	if err := w.CheckPassword(ctx, secret.New(password)); err != nil {
		t.Error(err)
	}
	if err := w.CheckPassword(ctx, secret.New("wrong password")); fault.CodeOf(err) != "password_incorrect" || fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("a wrong one: %v", err)
	}
	w.edit(t, u.ID, func(u *store.User) { u.PasswordHash = "" })
	if err := w.CheckPassword(ctx, secret.New("")); fault.CodeOf(err) != "password_not_set" {
		t.Errorf("none set: %v", err)
	}
	if err := w.CheckPassword(t.Context(), secret.New(password)); fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("nobody: %v", err)
	}
}

func TestPruneRemovesOnlySessionsThatAreOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	for range 3 {
		w.signIn(t)
	}
	w.Move(identity.SessionIdle + time.Second)
	_, alive := w.signIn(t)
	if n, err := w.Prune(t.Context(), 2); n != 2 || err != nil {
		t.Errorf("removed %d, %v", n, err)
	}
	if n, err := w.Prune(t.Context(), 10); n != 1 || err != nil {
		t.Errorf("removed %d, %v", n, err)
	}
	if _, _, err := w.Session(t.Context(), alive); err != nil {
		t.Errorf("a living session was removed: %v", err)
	}
}

func TestNewPasswordsDifferAndAreLong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, err1 := w.NewPassword()
	b, err2 := w.NewPassword()
	if err1 != nil || err2 != nil || a == b || len(a.Reveal()) != 24 {
		t.Errorf("%v, %v, %d characters", err1, err2, len(a.Reveal()))
	}
}

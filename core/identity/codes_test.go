package identity_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
)

const newcomer = "new@example.org"

func (w *world) dump() string { return coretest.Dump(w.store) }

// fields are the places that a refusal names.
func fields(err error) (out []string) {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		for _, field := range f.Fields {
			out = append(out, field.Location)
		}
	}
	return out
}

// askCode has a code mailed to register with.
func (w *world) askCode(t *testing.T, email string) secret.Text {
	t.Helper()
	if err := w.SendRegistrationCode(t.Context(), email, identity.Client{}); err != nil {
		t.Fatal(err)
	}
	return w.code(t)
}

func (w *world) askReset(t *testing.T, email string) secret.Text {
	t.Helper()
	if err := w.SendResetCode(t.Context(), email); err != nil {
		t.Fatal(err)
	}
	return w.code(t)
}

func (w *world) register(t *testing.T, code secret.Text) (store.User, secret.Text, error) {
	t.Helper()
	return w.Register(t.Context(), identity.Registration{Email: newcomer, Password: secret.New(password), Code: code}, identity.Client{IP: "192.0.2.1", UserAgent: "curl"})
}

// other is a code of six digits that is not this one.
func other(code secret.Text) secret.Text {
	text := []byte(code.Reveal())
	text[0] = '0' + (text[0]-'0'+1)%10
	return secret.New(string(text))
}

func TestARegistrationMakesEverythingAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code := w.askCode(t, " NEW@Example.org ")
	if strings.Contains(w.dump()+w.log.String(), code.Reveal()) {
		t.Error("the code is kept")
	}
	u, token, err := w.register(t, code)
	if err != nil || u.Email != newcomer || u.Name != "new" || u.Role != "user" || u.LastLoginAt == nil {
		t.Fatalf("%+v, %v", u, err)
	}
	who, me, err := w.Session(t.Context(), token)
	if err != nil || who.UserID != u.ID || me.PasswordHash == "" {
		t.Errorf("the session: %+v, %v", who, err)
	}
	if got := w.events(t); strings.Join(got, ", ") != "user/register success by user, session/login success by user" {
		t.Errorf("recorded %q", got)
	}
	letters := w.mail.take()
	if len(letters) != 1 || letters[0].Template != "welcome" || letters[0].To != newcomer || letters[0].UserID != u.ID || letters[0].Data["name"] != "new" {
		t.Errorf("mailed %+v", letters)
	}
	if got := w.history(t, u); len(got) != 1 || got[0].Method != "register" || got[0].Result != "success" || got[0].IP != "192.0.2.1" || got[0].UserAgent != "curl" {
		t.Errorf("remembered %+v", got)
	}
	if _, _, err := w.SignIn(t.Context(), newcomer, secret.New(password), identity.Client{}); err != nil {
		t.Errorf("the password: %v", err)
	}
}

func (w *world) history(t *testing.T, u store.User) (out []store.SignIn) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		all, err := tx.SignIns().List(ctx, u.ID, page.Query{})
		out = all.Items
		return err
	})
	return out
}

// TestAKnownAddressIsToldToWhoeverReadsItsMailOnly: a code is mailed all the
// same, and with it one gets to know.
func TestAKnownAddressIsToldToWhoeverReadsItsMailOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	code := w.askCode(t, address)
	before := w.dump()
	try := func(code secret.Text) error {
		_, _, err := w.Register(t.Context(), identity.Registration{Email: address, Password: secret.New("another password"), Code: code}, identity.Client{})
		return err
	}
	if err := try(other(code)); fault.CodeOf(err) != "verification_code_invalid" {
		t.Errorf("without the code: %v", err)
	}
	if err := try(code); fault.CodeOf(err) != "email_taken" || fault.KindOf(err) != fault.Conflict {
		t.Errorf("with the code: %v", err)
	}
	if after := w.dump(); strings.Count(after, "User{") != strings.Count(before, "User{") || strings.Contains(after, "another") {
		t.Error("something was made")
	}
	if _, _, err := w.SignIn(t.Context(), address, secret.New(password), identity.Client{}); err != nil {
		t.Errorf("the old password: %v", err)
	}
}

func TestACodeHasFiveTries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code := w.askCode(t, newcomer)
	wrong := func() {
		t.Helper()
		_, token, err := w.register(t, other(code))
		if fault.CodeOf(err) != "verification_code_invalid" || fault.KindOf(err) != fault.Invalid || !token.IsZero() || strings.Join(fields(err), "") != "body.email_verification_code" {
			t.Fatalf("a wrong code: %v", err)
		}
	}
	for range 4 {
		wrong()
	}
	for _, text := range []string{"", "12345", "1234567", "12345a", "１２３４５６", "123456\n"} { // nothing that could be a code is no try
		if _, _, err := w.register(t, secret.New(text)); fault.CodeOf(err) != fault.ValidationFailed {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, _, err := w.register(t, code); err != nil {
		t.Errorf("the fifth try: %v", err)
	}
	w.Move(identity.CodeResend)
	code = w.askResetOf(t, newcomer)
	for range 5 {
		if err := w.reset(t, other(code)); fault.CodeOf(err) != "verification_code_invalid" {
			t.Fatal(err)
		}
	}
	if err := w.reset(t, code); fault.CodeOf(err) != "verification_code_invalid" {
		t.Errorf("the sixth try: %v", err)
	}
}

func (w *world) askResetOf(t *testing.T, email string) secret.Text {
	t.Helper()
	w.mail.take()
	return w.askReset(t, email)
}

func (w *world) reset(t *testing.T, code secret.Text) error {
	t.Helper()
	return w.ResetWithCode(t.Context(), identity.Reset{Email: newcomer, Password: secret.New("another password"), Code: code})
}

func TestACodeEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code := w.askCode(t, newcomer)
	w.Move(identity.CodeLife)
	if _, _, err := w.register(t, code); fault.CodeOf(err) != "verification_code_invalid" {
		t.Errorf("after ten minutes: %v", err)
	}
	code = w.askCode(t, newcomer)
	w.Move(identity.CodeLife - time.Millisecond)
	if _, _, err := w.register(t, code); err != nil {
		t.Errorf("within ten minutes: %v", err)
	}
	if _, _, err := w.register(t, code); fault.CodeOf(err) != "verification_code_invalid" {
		t.Errorf("used again: %v", err)
	}
}

func TestACodeIsForItsPurposeAndAddressOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	code := w.askCode(t, address)
	if err := w.ResetWithCode(t.Context(), identity.Reset{Email: address, Password: secret.New("another password"), Code: code}); fault.CodeOf(err) != "verification_code_invalid" {
		t.Errorf("to reset: %v", err)
	}
	if _, _, err := w.register(t, code); fault.CodeOf(err) != "verification_code_invalid" {
		t.Errorf("for another address: %v", err)
	}
	w.tx(t, func(ctx context.Context, tx store.Tx) error { // what is kept for one is of no use for the other
		c, err := tx.Codes().Get(ctx, "register", address)
		if err != nil {
			return err
		}
		c.Purpose = "reset-password"
		return tx.Codes().Put(ctx, c)
	})
	if err := w.ResetWithCode(t.Context(), identity.Reset{Email: address, Password: secret.New("another password"), Code: code}); fault.CodeOf(err) != "verification_code_invalid" {
		t.Errorf("a hash that was moved: %v", err)
	}
}

// TestAnotherCodeTakesAMinute and makes the first one useless.
func TestAnotherCodeTakesAMinute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	for _, email := range []string{address, "nobody@example.org"} {
		if err := w.SendResetCode(t.Context(), email); err != nil {
			t.Fatal(err)
		}
		w.Move(40*time.Second - time.Millisecond)
		err := w.SendResetCode(t.Context(), strings.ToUpper(email))
		f, ok := errors.AsType[*fault.Error](err)
		if !ok || f.Kind != fault.Exhausted || f.Code != "rate_limited" || f.RetryAfter != 20*time.Second+time.Millisecond {
			t.Errorf("%s: %v", email, err)
		}
		w.Move(20*time.Second + time.Millisecond)
		if err := w.SendResetCode(t.Context(), email); err != nil {
			t.Errorf("%s, a minute later: %v", email, err)
		}
	}
	w.mail.take()
	first := w.askCode(t, newcomer)
	w.Move(identity.CodeResend)
	second := w.askCode(t, newcomer)
	if _, _, err := w.register(t, first); fault.CodeOf(err) != "verification_code_invalid" {
		t.Errorf("the first code: %v", err)
	}
	if _, _, err := w.register(t, second); err != nil {
		t.Errorf("the second code: %v", err)
	}
}

// TestACodeOfTheFutureDoesNotLockAnybodyOut: a clock that was ahead costs no more
// than the usual pause.
func TestACodeOfTheFutureDoesNotLockAnybodyOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.askCode(t, newcomer)
	w.Move(-time.Hour)
	f, _ := errors.AsType[*fault.Error](w.SendRegistrationCode(t.Context(), newcomer, identity.Client{}))
	if f == nil || f.RetryAfter > identity.CodeResend {
		t.Errorf("%+v", f)
	}
}

// TestOneCodeServesOnceHoweverManyComeWithIt.
func TestOneCodeServesOnceHoweverManyComeWithIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code := w.askCode(t, newcomer)
	if got := w.atOnce(func() error { _, _, err := w.register(t, code); return err }); got[""] != 1 || got["verification_code_invalid"] != 3 {
		t.Errorf("registered: %v", got)
	}
	w.mail.take()
	code = w.askReset(t, newcomer)
	if got := w.atOnce(func() error { return w.reset(t, code) }); got[""] != 1 || got["verification_code_invalid"] != 3 {
		t.Errorf("reset: %v", got)
	}
}

// TestOneOfManyWhoAskAtOnceGetsACode.
func TestOneOfManyWhoAskAtOnceGetsACode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got := w.atOnce(func() error { return w.SendRegistrationCode(t.Context(), newcomer, identity.Client{}) })
	if got[""] != 1 || got["rate_limited"] != 3 {
		t.Errorf("%v", got)
	}
	w.code(t)
}

// atOnce does something four times and counts the codes of the outcomes.
func (w *world) atOnce(do func() error) map[string]int {
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := map[string]int{}
	for range 4 {
		wg.Go(func() {
			err := do()
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				out[""]++
				return
			}
			out[fault.CodeOf(err)]++
		})
	}
	wg.Wait()
	return out
}

// failing breaks off every transaction that has come to a table, before it
// commits.
type failing struct {
	store.Store
	at string
}

var errBroken = errors.New("broken off")

func (f failing) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	return f.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		seen := &seen{Tx: tx}
		err := do(ctx, seen)
		if err == nil && strings.Contains(seen.tables, f.at) {
			return errBroken
		}
		return err
	})
}

type seen struct {
	store.Tx
	tables string
}

func (s *seen) Sessions() store.Sessions { s.tables += " sessions"; return s.Tx.Sessions() }
func (s *seen) Codes() store.Codes       { s.tables += " codes"; return s.Tx.Codes() }

// TestACrashLeavesACodeThatCanBeUsed, and nothing else: all is made in the
// transaction that uses it up.
func TestACrashLeavesACodeThatCanBeUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code := w.askCode(t, newcomer)
	crashing := w.over(t, failing{w.store, "sessions"})
	r := identity.Registration{Email: newcomer, Password: secret.New(password), Code: code}
	if _, _, err := crashing.Register(t.Context(), r, identity.Client{}); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	if dump := w.dump(); strings.Contains(dump, "User{") || strings.Contains(dump, "Session{") || strings.Contains(dump, "SignIn{") || strings.Contains(dump, "AuditEvent{") {
		t.Errorf("something is left:\n%s", dump)
	}
	if _, _, err := w.register(t, code); err != nil {
		t.Fatalf("the code was used up: %v", err)
	}
	w.mail.take()
	code = w.askReset(t, newcomer)
	if err := crashing.ResetWithCode(t.Context(), identity.Reset{Email: newcomer, Password: secret.New("another password"), Code: code}); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	if _, _, err := w.SignIn(t.Context(), newcomer, secret.New(password), identity.Client{}); err != nil {
		t.Errorf("the old password: %v", err)
	}
	if err := w.reset(t, code); err != nil {
		t.Errorf("the code was used up: %v", err)
	}
}

// TestATryThatCannotBeCountedIsNone: whoever makes the database fail gets no
// more tries out of it.
func TestATryThatCannotBeCountedIsNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code := w.askCode(t, newcomer)
	_, _, err := w.over(t, failing{w.store, "codes"}).Register(t.Context(), identity.Registration{Email: newcomer, Password: secret.New(password), Code: code}, identity.Client{})
	if !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
}

func TestAResetByMailEndsEverySession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	_, token := w.signIn(t)
	code := w.askReset(t, strings.ToUpper(address))
	set := identity.Reset{Email: " " + address, Password: secret.New("another password"), Code: code}
	if err := w.ResetWithCode(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	if got := last(w.events(t)); got != "user/reset_password success by user" {
		t.Errorf("recorded %q", got)
	}
	if _, _, err := w.Session(t.Context(), token); fault.CodeOf(err) != "unauthenticated" {
		t.Errorf("the session lives on: %v", err)
	}
	if _, _, err := w.SignIn(t.Context(), address, secret.New(password), identity.Client{}); fault.CodeOf(err) != "invalid_credentials" {
		t.Errorf("the old password: %v", err)
	}
	if got, _, err := w.SignIn(t.Context(), address, secret.New("another password"), identity.Client{}); err != nil || got.ID != u.ID {
		t.Errorf("the new password: %v", err)
	}
	if dump := w.dump() + w.log.String(); strings.Contains(dump, "another password") || strings.Contains(dump, code.Reveal()) {
		t.Error("the password or the code is kept")
	}
	racing := &meanwhile{Store: w.store, do: func() {
		w.Move(identity.CodeResend)
		_ = w.ResetWithCode(t.Context(), identity.Reset{Email: address, Password: secret.New("a third password"), Code: w.askReset(t, address)})
	}}
	if _, token, err := w.over(t, racing).SignIn(t.Context(), address, secret.New("another password"), identity.Client{}); fault.CodeOf(err) != "invalid_credentials" || !token.IsZero() {
		t.Errorf("the old password got in while it was reset: %v", err)
	}
}

func TestOnlyPeopleWithAccountsGetResetLetters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	w.askReset(t, address)
	if err := w.SendResetCode(t.Context(), newcomer); err != nil || len(w.mail.take()) != 0 {
		t.Errorf("%v, or a letter went to somebody without an account", err)
	}
	w.Move(identity.CodeResend)
	w.tx(t, func(ctx context.Context, tx store.Tx) error { return tx.Users().Remove(ctx, u.ID, w.Now()) })
	if err := w.SendResetCode(t.Context(), address); err != nil || len(w.mail.take()) != 0 {
		t.Errorf("%v, or a letter went to somebody who is gone", err)
	}
}

func TestAWelcomeThatCannotBeMailedLocksNobodyOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code := w.askCode(t, newcomer)
	w.mail.fail(identity.NoMail{}.Send(t.Context(), nil, identity.Letter{}))
	if _, _, err := w.register(t, code); err != nil {
		t.Error(err)
	}
	w.mail.fail(nil)
	w.Move(time.Hour)
	if err := w.SendRegistrationCode(t.Context(), "third@example.org", identity.Client{}); err != nil {
		t.Fatal(err)
	}
	code = w.code(t)
	w.mail.fail(errBroken)
	_, _, err := w.Register(t.Context(), identity.Registration{Email: "third@example.org", Password: secret.New(password), Code: code}, identity.Client{})
	if !errors.Is(err, errBroken) || strings.Contains(w.dump(), "Email=third@") {
		t.Errorf("a letter was lost: %v", err)
	}
}

func TestPasswordsAreNotEverybodys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	for text, ok := range map[string]bool{
		"password": false, "PassWord": false, "12345678": false, "1234567": false, "trustno1": false, "swetlana": false, "qwertyuiop": false,
		strings.Repeat("a", 129): false, strings.Repeat("é", 128): true, "# The 5000": true, "correct horse battery staple": true,
	} {
		w.Move(identity.CodeResend)
		code := w.askReset(t, address)
		err := w.ResetWithCode(t.Context(), identity.Reset{Email: address, Password: secret.New(text), Code: code})
		if ok != (err == nil) || !ok && strings.Join(fields(err), "") != "body.new_password" {
			t.Errorf("%q: %v", text, err)
		}
		_, _, err = w.Register(t.Context(), identity.Registration{Email: newcomer, Password: secret.New(text), Code: code}, identity.Client{})
		if named := strings.Join(fields(err), ""); ok != (named == "body.email_verification_code") || !ok && named != "body.password" {
			t.Errorf("%q to register: %v", text, err)
		}
	}
}

func TestAFaultyRequestNamesAllThatIsWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	err := w.ResetWithCode(t.Context(), identity.Reset{Email: "no address", Password: secret.New("short"), Code: secret.New("x")})
	if got := strings.Join(fields(err), " "); got != "body.email body.new_password body.email_verification_code" {
		t.Errorf("%v", err)
	}
	_, _, err = w.Register(t.Context(), identity.Registration{Email: newcomer, Password: secret.New("short"), Code: secret.New("x")}, identity.Client{})
	if got := strings.Join(fields(err), " "); got != "body.password body.email_verification_code" {
		t.Errorf("%v", err)
	}
	for _, err := range []error{w.SendResetCode(t.Context(), "no address"), w.SendRegistrationCode(t.Context(), "a@b c", identity.Client{})} {
		if strings.Join(fields(err), "") != "body.email" {
			t.Errorf("%v", err)
		}
	}
}

func TestWhatIsOldGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	w.signIn(t)
	w.askCode(t, newcomer)
	w.Move(identity.CodeLife - time.Millisecond)
	w.askReset(t, address)
	if n, err := w.PruneCodes(t.Context(), 10); n != 0 || err != nil {
		t.Errorf("%d codes went that are good, %v", n, err)
	}
	w.Move(time.Second)
	if n, err := w.PruneCodes(t.Context(), 10); n != 1 || err != nil {
		t.Errorf("%d codes went, %v", n, err)
	}
	w.Move(180*24*time.Hour - time.Hour)
	if n, err := w.PruneSignIns(t.Context(), 10); n != 0 || err != nil || len(w.history(t, u)) != 1 {
		t.Errorf("%d sign-ins went too early, %v", n, err)
	}
	w.Move(time.Hour)
	if n, err := w.PruneSignIns(t.Context(), 10); n != 1 || err != nil {
		t.Errorf("%d sign-ins went, %v", n, err)
	}
}

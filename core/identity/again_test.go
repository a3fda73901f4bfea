package identity_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/sso"
	"github.com/kubebyon/kubebyon/ports/store"
)

// TestWhoeverComesInAgainLeavesTheSessionBefore, by whichever way: the browser
// forgets its token, and a copy of it must be worth nothing.
func TestWhoeverComesInAgainLeavesTheSessionBefore(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]func(*world, identity.Client) (secret.Text, error){
		"by password": func(w *world, from identity.Client) (secret.Text, error) {
			_, token, err := w.SignIn(t.Context(), address, secret.New(password), from)
			return token, err
		},
		"as a newcomer": func(w *world, from identity.Client) (secret.Text, error) {
			_, token, err := w.Register(t.Context(), identity.Registration{Email: newcomer, Password: secret.New(password), Code: w.askCode(t, newcomer)}, from)
			return token, err
		},
		"by a provider": func(w *world, from identity.Client) (secret.Text, error) {
			w.company(map[string]sso.Identity{"ada": person("1", address, true)})
			_, token, _, err := w.EndSSO(t.Context(), w.way(t, "ada"), from)
			return token, err
		},
	} {
		w := newWorld(t)
		w.account(t)
		_, before := w.signIn(t)
		_, elsewhere := w.signIn(t)
		token, err := again(w, identity.Client{Session: before})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for what, c := range map[string]struct {
			token secret.Text
			good  bool
		}{"the session before": {before, false}, "one elsewhere": {elsewhere, true}, "the new one": {token, true}} {
			if _, _, err := w.Session(t.Context(), c.token); (err == nil) != c.good {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
		if !slices.Contains(w.events(t), "session/logout success by user") {
			t.Errorf("%s: the end of the session is not on record: %s", name, w.events(t))
		}
	}
}

func TestWhoIsRefusedKeepsTheSessionBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	_, before := w.signIn(t)
	_, _, err := w.SignIn(t.Context(), address, secret.New("not the password"), identity.Client{Session: before})
	if fault.CodeOf(err) != "invalid_credentials" {
		t.Fatal(err)
	}
	if _, _, err := w.Session(t.Context(), before); err != nil {
		t.Errorf("a wrong password has ended the session: %v", err)
	}
	kept := w.over(t, fails{w.store})
	if _, _, err := kept.SignIn(t.Context(), address, secret.New(password), identity.Client{Session: before}); !errors.Is(err, errNoSession) {
		t.Fatal(err)
	}
	if _, _, err := w.Session(t.Context(), before); err != nil {
		t.Errorf("a sign-in that was rolled back has ended the session: %v", err)
	}
	if _, _, err := w.SignIn(t.Context(), address, secret.New(password), identity.Client{Session: secret.New("kbs_nobody's")}); err != nil {
		t.Errorf("with a token that is nobody's: %v", err)
	}
}

var errNoSession = errors.New("no session can be made")

// fails to make sessions, at the very last.
type fails struct{ store.Store }

func (f fails) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	return f.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		return errors.Join(do(ctx, tx), errNoSession)
	})
}

// TestAPasswordIsMoreThanNames of the service and of whoever has it.
func TestAPasswordIsMoreThanNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := coretest.Dump(w.store)
	for text, ok := range map[string]bool{
		"KubeBYON2026!": false, "kubernetes-admin": false, "Administrator1": false, "clusterOPERATOR": false, "kubeconfig.kubectl": false,
		"kubernetes is not enough": true, "admin" + "1234567": false, "admin" + "x2345678": true,
		"ada.lovelace1": false, "Lovelace-Lovelace": false, "analytical.engine": false, "analytical thinking": true, "adaadaadaada": true,
	} {
		_, err := w.Create(t.Context(), identity.NewAccount{Email: "ada.lovelace@analytical-engine.example", Name: "Ada Lovelace", Role: actor.User, Password: secret.New(text)})
		if !ok && (strings.Join(fields(err), "") != "body.password" || coretest.Dump(w.store) != before) {
			t.Errorf("%q: %v", text, err)
		}
		if ok {
			if err != nil && fault.CodeOf(err) != "email_taken" {
				t.Errorf("%q: %v", text, err)
			}
			before = coretest.Dump(w.store)
		}
	}
	for what, refused := range map[string]error{
		"an operator's reset": func() error {
			_, err := w.ResetPassword(t.Context(), "ada.lovelace@analytical-engine.example", secret.New("lovelace-1815"))
			return err
		}(),
		"a reset by mail": w.ResetWithCode(t.Context(), identity.Reset{Email: newcomer, Password: secret.New("kubebyon-2026"), Code: secret.New("123456")}),
		"a registration": func() error {
			_, _, err := w.Register(t.Context(), identity.Registration{Email: newcomer, Name: "Grace Hopper", Password: secret.New("hopper-grace"), Code: secret.New("123456")}, identity.Client{})
			return err
		}(),
	} {
		if got := strings.Join(fields(refused), ""); got != "body.password" && got != "body.new_password" {
			t.Errorf("%s: %v", what, refused)
		}
	}
}

// TestAPasswordIsMoreThanTheNameOfItsOwner, whose address says nothing of it.
func TestAPasswordIsMoreThanTheNameOfItsOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	root, err := w.Create(t.Context(), identity.NewAccount{Email: "root@example.net", Name: "Root", Role: actor.Admin, Password: secret.New(password)})
	if err != nil {
		t.Fatal(err)
	}
	const email = "k7@example.net"
	u, err := w.Create(t.Context(), identity.NewAccount{Email: email, Name: "Katherine Johnson", Role: actor.User, Password: secret.New(password)})
	if err != nil {
		t.Fatal(err)
	}
	named := secret.New("Johnson-katherine1")
	code := w.askResetOf(t, email)
	for what, set := range map[string]func() error{
		"an operator's reset":      func() error { _, err := w.ResetPassword(t.Context(), email, named); return err },
		"an administrator's reset": func() error { _, err := w.ResetPasswordOf(w.as(t, root), u.ID, named); return err },
		"a reset by mail": func() error {
			return w.ResetWithCode(t.Context(), identity.Reset{Email: email, Password: named, Code: code})
		},
	} {
		if err := set(); strings.Join(fields(err), " ") != "body.new_password" {
			t.Errorf("%s: %v", what, err)
		}
	}
	wrong := secret.New("000000")
	if code.Reveal() == "000000" {
		wrong = secret.New("000001")
	}
	if err := w.ResetWithCode(t.Context(), identity.Reset{Email: email, Password: named, Code: wrong}); fault.CodeOf(err) != "verification_code_invalid" {
		t.Errorf("without the code somebody is told of the name: %v", err)
	}
	if err := w.ResetWithCode(t.Context(), identity.Reset{Email: email, Password: secret.New("another password"), Code: code}); err != nil {
		t.Errorf("the code was used up by a password that was refused: %v", err)
	}
}

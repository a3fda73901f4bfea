// Package captchatest is the contract of package captcha, as tests.
package captchatest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/captcha"
)

// World is a provider and the Verifier that asks it.
type World struct {
	Connector captcha.Connector
	Impatient captcha.Connector // to the same provider; gives up within a second
	Config    captcha.Config
	// Solve is what a person's browser gets for a puzzle: another token each time.
	Solve func() string
	// Down makes the provider fail, Hang makes it take requests and not answer.
	Down, Hang func()
	// Asked is how many requests the provider had.
	Asked func() int
}

// Run checks everything package captcha promises. Each test has a World of its own.
func Run(t *testing.T, newWorld func(t *testing.T) World) {
	for name, promise := range map[string]func(*testing.T, World, captcha.Verifier){
		"AnEarnedTokenPasses":          anEarnedTokenPasses,
		"ATokenPassesOnce":             aTokenPassesOnce,
		"MadeUpTokensFail":             madeUpTokensFail,
		"AnOutageLetsNobodyIn":         anOutageLetsNobodyIn,
		"AProviderThatHangsIsAnOutage": aProviderThatHangsIsAnOutage,
		"CanceledContext":              canceledContext,
		"WrongKeysAreAnOutage":         wrongKeysAreAnOutage,
		"ManyAtOnce":                   manyAtOnce,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			promise(t, w, connect(t, w, w.Config))
		})
	}
	t.Run("ConfigsThatCannotBeAreRefused", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		if v, err := w.Connector.Connect(captcha.Config{}); !errors.Is(err, fault.Invalid) || v != nil {
			t.Errorf("an empty config: %v, %v; want it refused", v, err)
		}
		if n := w.Asked(); n != 0 {
			t.Errorf("Connect asked the provider %d times", n)
		}
	})
}

const browser = "203.0.113.7"

func anEarnedTokenPasses(t *testing.T, w World, v captcha.Verifier) {
	for _, ip := range []string{browser, "2001:db8::7", "", "no address"} {
		if err := v.Verify(t.Context(), secret.New(w.Solve()), ip); err != nil {
			t.Errorf("from %q: %v", ip, err)
		}
	}
}

func aTokenPassesOnce(t *testing.T, w World, v captcha.Verifier) {
	token := w.Solve()
	if err := v.Verify(t.Context(), secret.New(token), browser); err != nil {
		t.Fatal(err)
	}
	expect(t, w, token, v.Verify(t.Context(), secret.New(token), browser), fault.Invalid, "captcha_failed")
}

func madeUpTokensFail(t *testing.T, w World, v captcha.Verifier) {
	for _, token := range []string{"", "made-up-token", w.Solve() + "x", strings.Repeat("made-up-token", 100_000), "a\x00b", "a&secret=b"} {
		expect(t, w, token, v.Verify(t.Context(), secret.New(token), browser), fault.Invalid, "captcha_failed")
	}
}

func anOutageLetsNobodyIn(t *testing.T, w World, v captcha.Verifier) {
	token := w.Solve()
	w.Down()
	before := w.Asked()
	expect(t, w, token, v.Verify(t.Context(), secret.New(token), browser), fault.Unavailable, "captcha_unavailable")
	if n := w.Asked() - before; n > 1 {
		t.Errorf("the provider was asked %d times about one token", n)
	}
}

func aProviderThatHangsIsAnOutage(t *testing.T, w World, _ captcha.Verifier) {
	w.Connector = w.Impatient
	v, token := connect(t, w, w.Config), w.Solve()
	w.Hang()
	start := time.Now()
	expect(t, w, token, v.Verify(t.Context(), secret.New(token), browser), fault.Unavailable, "captcha_unavailable")
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v: somebody waits in front of the screen", took)
	}
}

func canceledContext(t *testing.T, w World, v captcha.Verifier) {
	token := w.Solve()
	w.Hang()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := v.Verify(ctx, secret.New(token), browser)
	expect(t, w, token, err, fault.Unavailable, "captcha_unavailable")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not say that the context was canceled", err)
	}
}

func wrongKeysAreAnOutage(t *testing.T, w World, _ captcha.Verifier) {
	c := w.Config
	c.SecretKey = secret.New("not-the-secret-key")
	token := w.Solve()
	err := connect(t, w, c).Verify(t.Context(), secret.New(token), browser)
	expect(t, w, token, err, fault.Unavailable, "captcha_unavailable")
	if err != nil && strings.Contains(err.Error(), c.SecretKey.Reveal()) {
		t.Errorf("the error holds the secret key: %v", err)
	}
}

func manyAtOnce(t *testing.T, w World, v captcha.Verifier) {
	var all sync.WaitGroup
	for range 16 {
		token := w.Solve()
		all.Go(func() {
			if err := v.Verify(t.Context(), secret.New(token), browser); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func connect(t *testing.T, w World, c captcha.Config) captcha.Verifier {
	t.Helper()
	v, err := w.Connector.Connect(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func expect(t *testing.T, w World, token string, err error, kind fault.Kind, code string) {
	t.Helper()
	if !errors.Is(err, kind) || fault.CodeOf(err) != code {
		t.Errorf("%d bytes of token: %v; want %s, code %s", len(token), err, kind, code)
		return
	}
	text := fmt.Sprintf("%v %+v", err, err)
	if len(token) > 8 && strings.Contains(text, token) || strings.Contains(text, w.Config.SecretKey.Reveal()) {
		t.Errorf("the error holds a secret: %s", text)
	}
}

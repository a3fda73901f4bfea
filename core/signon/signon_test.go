package signon_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/signon"
	"github.com/kubebyon/kubebyon/ports/seal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const back = "https://console.example.com/api/auth/sso/github/callback"

var start = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

func sealer() seal.Sealer { return keyseal.New([32]byte{1}) }

// keeper is one at a time after the start.
func keeper(t testing.TB, after time.Duration) *signon.Keeper {
	t.Helper()
	return keeperOf(t, signon.Deps{Sealer: sealer(), Now: func() time.Time { return start.Add(after) }, Random: rand.Reader})
}

func keeperOf(t testing.TB, d signon.Deps) *signon.Keeper {
	t.Helper()
	k, err := signon.New(d)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestTheBrowserThatBeganGoesOn(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{"/clusters?a=b#c": "/clusters?a=b#c", "": "/", "/": "/"} {
		a, cookie, err := keeper(t, 0).Begin(t.Context(), "github", back, target)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Check(); err != nil || a.RedirectURL != back {
			t.Errorf("the attempt is %+v, %v", a, err)
		}
		got, where, err := keeper(t, 9*time.Minute).End(t.Context(), "github", a.State, cookie) // another server
		if err != nil || got != a || where != want {
			t.Errorf("it goes to %q with %+v, %v; want %q with %+v", where, got, err, want, a)
		}
	}
}

func TestOthersDoNot(t *testing.T) {
	t.Parallel()
	k := keeper(t, 0)
	mine, cookie, err := k.Begin(t.Context(), "github", back, "/mine")
	if err != nil {
		t.Fatal(err)
	}
	theirs, another, err := k.Begin(t.Context(), "github", back, "/theirs")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := sealer().Seal(t.Context(), "another-purpose", []byte(`{"p":"github"}`))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := keyseal.New([32]byte{2}).Seal(t.Context(), "signon", []byte(`{"p":"github"}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		after                   time.Duration
		provider, state, cookie string
		want                    string
	}{
		"another state":            {0, "github", theirs.State, cookie, "sso_failed"},
		"another cookie":           {0, "github", mine.State, another, "sso_failed"},
		"no state":                 {0, "github", "", cookie, "sso_failed"},
		"more than the state":      {0, "github", mine.State + "A", cookie, "sso_failed"},
		"less than the state":      {0, "github", mine.State[:42], cookie, "sso_failed"},
		"another provider":         {0, "google", mine.State, cookie, "sso_failed"},
		"no provider":              {0, "", mine.State, cookie, "sso_failed"},
		"in ten minutes":           {10 * time.Minute, "github", mine.State, cookie, "sso_expired"},
		"the next day":             {24 * time.Hour, "github", mine.State, cookie, "sso_expired"},
		"no cookie":                {0, "github", mine.State, "", "sso_expired"},
		"rubbish":                  {0, "github", mine.State, "rubbish", "sso_expired"},
		"a cookie over two lines":  {0, "github", mine.State, cookie + "\n", "sso_expired"},
		"no base64":                {0, "github", mine.State, "=" + cookie, "sso_expired"},
		"a cookie with more":       {0, "github", mine.State, cookie + "AAAA", "sso_expired"},
		"a cookie with less":       {0, "github", mine.State, cookie[:len(cookie)-4], "sso_expired"},
		"a long cookie":            {0, "github", mine.State, strings.Repeat("A", 1<<20), "sso_expired"},
		"sealed for another thing": {0, "github", mine.State, base64.RawURLEncoding.EncodeToString(elsewhere), "sso_expired"},
		"sealed by another":        {0, "github", mine.State, base64.RawURLEncoding.EncodeToString(stranger), "sso_expired"},
	} {
		a, target, err := keeper(t, c.after).End(t.Context(), c.provider, c.state, c.cookie)
		if !errors.Is(err, fault.Denied) || fault.CodeOf(err) != c.want || target != "" || a.State != "" || !a.Verifier.IsZero() {
			t.Errorf("%s: %+v, %q, %v; want nothing, and code %s", name, a, target, err, c.want)
			continue
		}
		for _, s := range []string{mine.State, mine.Nonce, mine.Verifier.Reveal(), cookie} {
			if strings.Contains(err.Error(), s) {
				t.Errorf("%s: the error holds a secret: %v", name, err)
			}
		}
	}
}

func TestTheCookieTellsNothing(t *testing.T) {
	t.Parallel()
	a, cookie, err := keeper(t, 0).Begin(t.Context(), "github", back, "/"+strings.Repeat("a", 511))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := sealer().Open(t.Context(), "signon", sealed)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]string{"state": a.State, "nonce": a.Nonce, "verifier": a.Verifier.Reveal(), "provider": "github"} {
		if strings.Contains(cookie, s) || bytes.Contains(sealed, []byte(s)) {
			t.Errorf("the cookie holds the %s in clear", name)
		}
		if bytes.Contains(plain, []byte(s)) != (name != "state") {
			t.Errorf("opened, the cookie holds %s", plain)
		}
	}
	if len(cookie) > 3000 {
		t.Errorf("the cookie has %d bytes; some browsers keep no more than 4096 with its name", len(cookie))
	}
}

func TestEveryAttemptIsAnother(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 50 {
		a, cookie, err := keeper(t, 0).Begin(t.Context(), "github", back, "/")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{a.State, a.Nonce, a.Verifier.Reveal(), cookie} {
			if len(s) < 43 || seen[s] {
				t.Errorf("%d characters, met before: %v", len(s), seen[s])
			}
			seen[s] = true
		}
	}
}

func TestTheCookieIsFromTheGivenRandomness(t *testing.T) {
	t.Parallel()
	d := signon.Deps{Sealer: sealer(), Now: time.Now, Random: strings.NewReader(strings.Repeat("a", 95))}
	if a, cookie, err := keeperOf(t, d).Begin(t.Context(), "github", back, "/"); !errors.Is(err, io.ErrUnexpectedEOF) || cookie != "" || a.State != "" {
		t.Errorf("with 95 of 96 random bytes: %+v, %q, %v", a, cookie, err)
	}
	d.Random = iotest.ErrReader(io.ErrClosedPipe)
	if _, _, err := keeperOf(t, d).Begin(t.Context(), "github", back, "/"); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("without random bytes: %v", err)
	}
}

func TestATargetElsewhereBeginsNothing(t *testing.T) {
	t.Parallel()
	a, cookie, err := keeper(t, 0).Begin(t.Context(), "github", back, "//example.com")
	if fault.CodeOf(err) != fault.ValidationFailed || cookie != "" || a.State != "" || !strings.Contains(err.Error(), "query.redirect must be a path") {
		t.Errorf("%+v, %q, %v", a, cookie, err)
	}
}

// broken is a sealer that is out of order.
type broken struct{ err error }

func (b broken) Seal(context.Context, string, []byte) ([]byte, error)   { return nil, b.err }
func (b broken) Open(context.Context, string, []byte) ([]byte, error)   { return nil, b.err }
func (b broken) Derive(context.Context, string, []byte) ([]byte, error) { return nil, b.err }

// TestAnOutageIsNotBlamedOnTheBrowser.
func TestAnOutageIsNotBlamedOnTheBrowser(t *testing.T) {
	t.Parallel()
	out := fault.Unavailable.New("database_unavailable", "The database does not answer.")
	k := keeperOf(t, signon.Deps{Sealer: broken{out}, Now: time.Now, Random: rand.Reader})
	if _, cookie, err := k.Begin(t.Context(), "github", back, "/"); !errors.Is(err, fault.Unavailable) || cookie != "" {
		t.Errorf("Begin: %q, %v", cookie, err)
	}
	if a, _, err := k.End(t.Context(), "github", "state", "AAAA"); fault.CodeOf(err) != "database_unavailable" || a.State != "" {
		t.Errorf("End: %+v, %v", a, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	k = keeperOf(t, signon.Deps{Sealer: broken{context.Canceled}, Now: time.Now, Random: rand.Reader})
	if _, _, err := k.End(ctx, "github", "state", "AAAA"); !errors.Is(err, context.Canceled) || errors.Is(err, fault.Denied) {
		t.Errorf("End with a canceled context: %v", err)
	}
}

func TestEveryDependencyIsNeeded(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]signon.Deps{
		"no sealer": {Now: time.Now, Random: rand.Reader}, "no clock": {Sealer: sealer(), Random: rand.Reader}, "no randomness": {Sealer: sealer(), Now: time.Now},
	} {
		if k, err := signon.New(d); err == nil || k != nil {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
}

// signer seals in the open: the same every time, in every process that takes
// part in fuzzing.
type signer struct{ seal.Sealer }

func (signer) sum(purpose string, plain []byte) []byte {
	h := hmac.New(sha256.New, []byte(purpose))
	h.Write(plain)
	return h.Sum(nil)
}

func (s signer) Seal(_ context.Context, purpose string, plain []byte) ([]byte, error) {
	return append(s.sum(purpose, plain), plain...), nil
}

func (s signer) Open(_ context.Context, purpose string, sealed []byte) ([]byte, error) {
	if len(sealed) < 32 || !hmac.Equal(sealed[:32], s.sum(purpose, sealed[32:])) {
		return nil, errors.New("broken")
	}
	return sealed[32:], nil
}

// FuzzEnd: nothing goes on but the cookie that was made, with its state.
func FuzzEnd(f *testing.F) {
	k := func(t testing.TB) *signon.Keeper {
		return keeperOf(t, signon.Deps{Sealer: signer{}, Now: func() time.Time { return start }, Random: strings.NewReader(strings.Repeat("a", 96))})
	}
	a, cookie, err := k(f).Begin(f.Context(), "github", back, "/clusters")
	if err != nil {
		f.Fatal(err)
	}
	f.Add("github", a.State, cookie)
	f.Add("github", "", "")
	f.Add("google", a.State, cookie)
	f.Add("github", a.State, cookie+"=")
	f.Add("github", a.State, cookie+"\n")
	f.Fuzz(func(t *testing.T, provider, state, text string) {
		_, _, err := k(t).End(t.Context(), provider, state, text)
		if err == nil && (provider != "github" || state != a.State || text != cookie) {
			t.Errorf("%q goes on with %q and %q", provider, state, text)
		}
		if code := fault.CodeOf(err); err != nil && code != "sso_expired" && code != "sso_failed" {
			t.Errorf("refused with %v", err)
		}
	})
}

// Package signon keeps a browser's way to a sign-in provider and back in one
// piece. Whoever makes somebody else's browser come back with a code of theirs
// would sign it in as themselves (RFC 6749, section 10.12; RFC 9700, section
// 4.7). So what a sign-in began with is sealed into a cookie of the browser that
// began it, and only that browser, with that cookie, in time, from that
// provider, with the right state, goes on.
//
// The cookie is the whole memory: nothing is stored, any server can end what
// another began. The caller sets it HttpOnly, SameSite=Lax (the provider's page
// sends the browser back, which Strict would make a stranger of), Secure where
// the console is, with the life [Life], and removes it when the browser is back,
// whatever came of it.
package signon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/sso"
)

// Life is how long somebody may take at the provider.
const Life = 10 * time.Minute

// purpose is what cookies are sealed for.
const purpose = "signon"

// longestCookie is more than any that Begin makes: the longest has under 2 KiB.
const longestCookie = 4 << 10

// Deps are what a Keeper cannot work without.
type Deps struct {
	Sealer seal.Sealer
	Now    func() time.Time
	Random io.Reader // unpredictable: crypto/rand.Reader
}

// Keeper begins and ends ways. It is safe for concurrent use if its Random is.
type Keeper struct{ deps Deps }

// New refuses missing dependencies, so that wiring mistakes fail at start.
func New(d Deps) (*Keeper, error) {
	if d.Sealer == nil || d.Now == nil || d.Random == nil {
		return nil, errors.New("signon: every field of Deps must be set")
	}
	return &Keeper{d}, nil
}

// way is what the cookie holds, sealed. The state is there as a hash: whoever
// gets to read an opened cookie still cannot come back with it.
type way struct {
	Provider    string `json:"p"`
	State       []byte `json:"s"`
	Nonce       string `json:"n"`
	Verifier    string `json:"v"`
	RedirectURL string `json:"u"`
	Target      string `json:"t"`
	Until       int64  `json:"e"` // Unix seconds
}

// Begin makes an attempt to sign in with a provider, and the cookie for the
// browser that makes it. RedirectURL is where the provider shall send the
// browser back to; target is where it goes in the end, see [CheckTarget].
func (k *Keeper) Begin(ctx context.Context, provider, redirectURL, target string) (a sso.Attempt, cookie string, err error) {
	if target == "" {
		target = "/"
	}
	if err := CheckTarget(target); err != nil {
		return sso.Attempt{}, "", err
	}
	var words [3]string
	for i := range words {
		if words[i], err = k.word(); err != nil {
			return sso.Attempt{}, "", err
		}
	}
	a = sso.Attempt{State: words[0], Nonce: words[1], Verifier: secret.New(words[2]), RedirectURL: redirectURL}
	plain, err := json.Marshal(way{
		Provider: provider, State: hash(a.State), Nonce: a.Nonce, Verifier: words[2],
		RedirectURL: redirectURL, Target: target, Until: k.deps.Now().Add(Life).Unix(),
	})
	if err != nil {
		return sso.Attempt{}, "", fmt.Errorf("write the cookie: %w", err)
	}
	sealed, err := k.deps.Sealer.Seal(ctx, purpose, plain)
	if err != nil {
		return sso.Attempt{}, "", fmt.Errorf("seal the cookie: %w", err)
	}
	return a, base64.RawURLEncoding.EncodeToString(sealed), nil
}

// End returns the attempt that the cookie is of, and where its browser goes
// when it is signed in. It fails with fault.Denied: with code sso_expired when
// there is no cookie that can be one, or it is too old, and with code sso_failed
// when the browser came back from another provider, or with another state.
func (k *Keeper) End(ctx context.Context, provider, state, cookie string) (a sso.Attempt, target string, err error) {
	w, err := k.open(ctx, cookie)
	if err != nil {
		return sso.Attempt{}, "", err
	}
	if k.deps.Now().Unix() >= w.Until {
		return sso.Attempt{}, "", expired()
	}
	isState := subtle.ConstantTimeCompare(hash(state), w.State) == 1
	if w.Provider != provider || !isState {
		return sso.Attempt{}, "", sso.Failed(errors.New("the browser came back from another attempt than it has the cookie of"))
	}
	a = sso.Attempt{State: state, Nonce: w.Nonce, Verifier: secret.New(w.Verifier), RedirectURL: w.RedirectURL}
	return a, w.Target, nil
}

func (k *Keeper) open(ctx context.Context, cookie string) (w way, err error) {
	if len(cookie) > longestCookie || strings.ContainsAny(cookie, "\r\n") { // which base64 would leave out
		return w, expired()
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(cookie)
	if err != nil || len(sealed) == 0 {
		return w, expired()
	}
	plain, err := k.deps.Sealer.Open(ctx, purpose, sealed)
	if errors.Is(err, fault.Unavailable) || ctx.Err() != nil {
		return w, fmt.Errorf("open the cookie: %w", errors.Join(err, ctx.Err()))
	}
	if err != nil {
		return w, expired().Because(err)
	}
	d := json.NewDecoder(bytes.NewReader(plain))
	d.DisallowUnknownFields()
	if d.Decode(&w) != nil {
		return way{}, expired()
	}
	return w, nil
}

// word is 256 random bits in 43 characters, which fits a PKCE verifier too.
func (k *Keeper) word() (string, error) {
	var b [32]byte
	if _, err := io.ReadFull(k.deps.Random, b[:]); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b[:]), nil
}

func hash(state string) []byte {
	sum := sha256.Sum256([]byte(state))
	return sum[:]
}

func expired() *fault.Error {
	return fault.Denied.New("sso_expired", "The sign-in took longer than %d minutes, or was begun in another browser. Begin it again.", int(Life.Minutes()))
}

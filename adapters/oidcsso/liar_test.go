package oidcsso_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/sso"
)

const (
	accessToken = "access-token-of-ada"
	subject     = "subject-of-ada-1815"
)

// liar is a provider that is honest but for what a test changes.
type liar struct {
	*httptest.Server
	issuer string
	gone   chan struct{} // closed at the end of the test

	mu       sync.Mutex
	signer   key
	public   []jose.JSONWebKey
	grants   map[string]url.Values // what Begin asked for, by code
	asked    map[string]int        // by path
	instead  map[string]http.HandlerFunc
	metadata map[string]any // besides, or in place of, the true ones
	claims   map[string]any // likewise; nil leaves one out
	userinfo map[string]any
	answer   map[string]any // of the token endpoint, likewise
	padding  map[string]int // behind an answer, by path
	sign     func(k key, claims map[string]any) string
}

type key struct {
	id  string
	key *ecdsa.PrivateKey
}

func newKey(t *testing.T, id string) key {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key{id, k}
}

func (k key) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.key.Public(), KeyID: k.id, Algorithm: "ES256", Use: "sig"}
}

func newLiar(t *testing.T) *liar {
	t.Helper()
	l := unstarted(t)
	l.Server = httptest.NewServer(l)
	l.issuer = l.URL
	l.close(t)
	return l
}

func unstarted(t *testing.T) *liar {
	t.Helper()
	k := newKey(t, "first")
	return &liar{
		gone: make(chan struct{}), signer: k, public: []jose.JSONWebKey{k.public()}, grants: map[string]url.Values{},
		asked: map[string]int{}, instead: map[string]http.HandlerFunc{}, padding: map[string]int{}, metadata: map[string]any{}, claims: map[string]any{}, userinfo: map[string]any{}, answer: map[string]any{},
		sign: func(k key, claims map[string]any) string {
			return signed(t, jose.SigningKey{Algorithm: jose.ES256, Key: k.key}, k.id, claims)
		},
	}
}

func (l *liar) close(t *testing.T) {
	t.Cleanup(func() {
		close(l.gone)
		l.Close()
	})
}

// signed is a JWT. It is called by handlers too, so it ends no test.
func signed(t *testing.T, k jose.SigningKey, id string, claims map[string]any) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Error(err)
	}
	return signedText(t, k, id, string(payload))
}

func signedText(t *testing.T, k jose.SigningKey, id, payload string) string {
	s, err := jose.NewSigner(k, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", id))
	if err != nil {
		t.Error(err)
		return ""
	}
	jws, err := s.Sign([]byte(payload))
	if err != nil {
		t.Error(err)
		return ""
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Error(err)
	}
	return text
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[r.URL.Path]++
	if h := l.instead[r.URL.Path]; h != nil {
		l.mu.Unlock()
		defer l.mu.Lock()
		h(w, r)
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		reply(w, http.StatusOK, merged(map[string]any{
			"issuer": l.issuer, "authorization_endpoint": l.issuer + "/authorize", "token_endpoint": l.issuer + "/token",
			"jwks_uri": l.issuer + "/keys", "userinfo_endpoint": l.issuer + "/userinfo",
			"id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"},
		}, l.metadata))
	case "/keys":
		reply(w, http.StatusOK, map[string]any{"keys": l.public})
	case "/token":
		l.token(w, r)
	case "/userinfo":
		l.info(w, r)
	default:
		http.NotFound(w, r)
	}
	_, _ = io.WriteString(w, strings.Repeat(" ", l.padding[r.URL.Path]))
}

func (l *liar) token(w http.ResponseWriter, r *http.Request) {
	id, password, ok := r.BasicAuth()
	if id, _ = url.QueryUnescape(id); !ok {
		id, password = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	code := r.PostFormValue("code")
	grant, known := l.grants[code]
	delete(l.grants, code)
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	switch {
	case r.Method != http.MethodPost || r.PostFormValue("grant_type") != "authorization_code":
		reply(w, http.StatusBadRequest, map[string]any{"error": "unsupported_grant_type"})
	case id != clientID || password != clientSecret:
		reply(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client", "error_description": "not " + password})
	case !known || grant.Get("redirect_uri") != r.PostFormValue("redirect_uri") ||
		grant.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]):
		reply(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant", "error_description": "the code " + code + " is not good"})
	default:
		hash := sha256.Sum256([]byte(accessToken))
		now := time.Now().Unix()
		claims := merged(map[string]any{
			"iss": l.issuer, "sub": subject, "aud": clientID, "iat": now, "exp": now + 300, "nonce": grant.Get("nonce"),
			"at_hash": base64.RawURLEncoding.EncodeToString(hash[:16]),
			"email":   "ada@example.com", "email_verified": true, "name": "Ada Lovelace",
		}, l.claims)
		reply(w, http.StatusOK, merged(map[string]any{
			"access_token": accessToken, "token_type": "Bearer", "expires_in": 300, "id_token": l.sign(l.signer, claims),
		}, l.answer))
	}
}

func (l *liar) info(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+accessToken {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	reply(w, http.StatusOK, merged(map[string]any{"sub": subject, "email": "ada@example.org", "email_verified": true, "name": "Ada of the call"}, l.userinfo))
}

func merged(honest, changes map[string]any) map[string]any {
	maps.Copy(honest, changes)
	maps.DeleteFunc(honest, func(_ string, v any) bool { return v == nil })
	return honest
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// visit is the browser of somebody who is signed in already.
func (l *liar) visit(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Error(err)
		return ""
	}
	q := u.Query()
	l.mu.Lock()
	defer l.mu.Unlock()
	code := fmt.Sprintf("code-number-%d", len(l.grants)+l.asked["/token"])
	for l.grants[code] != nil {
		code += "0"
	}
	l.grants[code] = q
	return q.Get("redirect_uri") + "?" + url.Values{"code": {code}, "state": {q.Get("state")}}.Encode()
}

// does lets a handler answer in place of the provider.
func (l *liar) does(path string, h http.HandlerFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.instead[path] = h
}

func (l *liar) times(path string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked[path]
}

// rotate makes another key that signs from now on.
func (l *liar) rotate(k key, public ...jose.JSONWebKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.signer, l.public = k, public
}

func (l *liar) config() sso.Config {
	return sso.Config{
		Name: "company", DisplayName: "The company", Type: sso.OIDC, Issuer: l.issuer,
		ClientID: clientID, ClientSecret: secret.New(clientSecret),
	}
}

func attempt() sso.Attempt {
	return sso.Attempt{
		State: "state-of-the-attempt", Nonce: "nonce-of-the-attempt", RedirectURL: backTo,
		Verifier: secret.New("verifier-of-the-attempt-verifier-of-the-attempt"),
	}
}

// signIn goes all the way.
func (l *liar) signIn(t *testing.T, p sso.Provider) (sso.Identity, error) {
	t.Helper()
	return l.signInWith(t, p, func(*sso.Answer) {})
}

func (l *liar) signInWith(t *testing.T, p sso.Provider, change func(*sso.Answer)) (sso.Identity, error) {
	t.Helper()
	address, err := p.Begin(t.Context(), attempt())
	if err != nil {
		return sso.Identity{}, err
	}
	back, err := url.Parse(l.visit(t, address))
	if err != nil {
		t.Fatal(err)
	}
	answer := sso.Answer{Code: secret.New(back.Query().Get("code"))}
	change(&answer)
	return p.Complete(t.Context(), attempt(), answer)
}

func connect(t *testing.T, c sso.Connector, config sso.Config) sso.Provider {
	t.Helper()
	p, err := c.Connect(config)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

package oidcsso_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/sso"
	"github.com/kubebyon/kubebyon/ports/sso/ssotest"
)

func TestLocalProvider(t *testing.T) {
	t.Parallel()
	ssotest.Run(t, func(t *testing.T) ssotest.World {
		l := newLiar(t)
		l.metadata["token_endpoint_auth_methods_supported"] = []string{"client_secret_post", "private_key_jwt"}
		c, seen := connector(t, 10*time.Second)
		impatient, _ := connector(t, 300*time.Millisecond)
		return ssotest.World{
			Connector: c, Impatient: impatient, Config: l.config(), RedirectURL: backTo, Visit: l.visit, Secrets: seen.Tokens,
			Person: sso.Identity{Subject: secret.New(l.issuer + " " + subject), Email: "ada@example.com", EmailVerified: true, Name: "Ada Lovelace"},
			Down:   func() { l.fail(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }) },
			Hang: func() {
				l.fail(func(_ http.ResponseWriter, r *http.Request) {
					select {
					case <-r.Context().Done():
					case <-l.gone:
					}
				})
			},
		}
	})
}

func (l *liar) fail(h http.HandlerFunc) {
	for _, path := range []string{"/.well-known/openid-configuration", "/keys", "/token", "/userinfo"} {
		l.does(path, h)
	}
}

// TestLies: who is not surely the person is nobody.
func TestLies(t *testing.T) {
	t.Parallel()
	claim := func(name string, value any) func(*testing.T, *liar) {
		return func(_ *testing.T, l *liar) { l.claims[name] = value }
	}
	sign := func(sign func(t *testing.T, l *liar, k key, claims map[string]any) string) func(*testing.T, *liar) {
		return func(t *testing.T, l *liar) {
			l.sign = func(k key, claims map[string]any) string { return sign(t, l, k, claims) }
		}
	}
	for name, lie := range map[string]func(*testing.T, *liar){
		"another issuer":                claim("iss", "https://elsewhere.example.com"),
		"nearly the issuer":             func(_ *testing.T, l *liar) { l.claims["iss"] = l.issuer + "/" },
		"no issuer":                     claim("iss", nil),
		"Google's short name":           claim("iss", "accounts.google.com"),
		"another audience":              claim("aud", "another-client"),
		"other audiences":               claim("aud", []string{"another-client", "a-third"}),
		"no audience":                   claim("aud", nil),
		"two audiences, no party":       claim("aud", []string{clientID, "another-client"}),
		"another party":                 claim("azp", "another-client"),
		"another nonce":                 claim("nonce", "nonce-of-another-attempt"),
		"no nonce":                      claim("nonce", nil),
		"expired":                       claim("exp", time.Now().Add(-time.Second).Unix()),
		"expired long ago":              claim("exp", 0),
		"without an end":                claim("exp", nil),
		"from the future":               claim("nbf", time.Now().Add(time.Hour).Unix()),
		"another access token's":        claim("at_hash", base64.RawURLEncoding.EncodeToString(make([]byte, 16))),
		"no subject":                    claim("sub", nil),
		"an empty subject":              claim("sub", ""),
		"a number for a subject":        claim("sub", 18151210),
		"a long subject":                claim("sub", strings.Repeat("s", 256)),
		"a second subject":              claim("Sub", "somebody-else"),
		"a second subject, in capitals": claim("SUB", "somebody-else"),
		"a subject with a long s":       claim("ſub", "somebody-else"),
		"a second verification":         claim("Email_Verified", true),
		"a second nonce":                claim("NONCE", "nonce-of-the-attempt"),
		"claims that are elsewhere":     claim("_claim_names", map[string]string{"email": "src"}),
		"algorithm none": sign(func(t *testing.T, _ *liar, _ key, claims map[string]any) string {
			return encoded(t, map[string]any{"alg": "none"}) + "." + encoded(t, claims) + "."
		}),
		"algorithm none, in capitals": sign(func(t *testing.T, _ *liar, k key, claims map[string]any) string {
			return encoded(t, map[string]any{"alg": "NONE", "kid": k.id}) + "." + encoded(t, claims) + "."
		}),
		"HS256 with the client's secret": sign(func(t *testing.T, _ *liar, k key, claims map[string]any) string {
			return signed(t, jose.SigningKey{Algorithm: jose.HS256, Key: []byte(strings.Repeat(clientSecret, 2))}, k.id, claims)
		}),
		"HS256 with the public key": sign(func(t *testing.T, _ *liar, k key, claims map[string]any) string {
			public, err := json.Marshal(k.public())
			if err != nil {
				t.Error(err)
			}
			return signed(t, jose.SigningKey{Algorithm: jose.HS256, Key: public}, k.id, claims)
		}),
		"an unknown key": sign(func(t *testing.T, _ *liar, _ key, claims map[string]any) string {
			k := newKey(t, "unknown")
			return signed(t, jose.SigningKey{Algorithm: jose.ES256, Key: k.key}, k.id, claims)
		}),
		"an unknown key under a known name": sign(func(t *testing.T, _ *liar, k key, claims map[string]any) string {
			return signed(t, jose.SigningKey{Algorithm: jose.ES256, Key: newKey(t, "").key}, k.id, claims)
		}),
		"a key that the token brings": sign(func(t *testing.T, _ *liar, _ key, claims map[string]any) string {
			k := newKey(t, "brought")
			s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k.key}, &jose.SignerOptions{EmbedJWK: true})
			if err != nil {
				t.Error(err)
			}
			payload, err := json.Marshal(claims)
			if err != nil {
				t.Error(err)
			}
			jws, err := s.Sign(payload)
			if err != nil {
				t.Error(err)
			}
			text, err := jws.CompactSerialize()
			if err != nil {
				t.Error(err)
			}
			return text
		}),
		"other claims under the signature": sign(func(t *testing.T, _ *liar, k key, claims map[string]any) string {
			parts := strings.Split(signed(t, jose.SigningKey{Algorithm: jose.ES256, Key: k.key}, k.id, claims), ".")
			claims["sub"] = "somebody-else"
			return parts[0] + "." + encoded(t, claims) + "." + parts[2]
		}),
		"no signature": sign(func(t *testing.T, _ *liar, k key, claims map[string]any) string {
			parts := strings.Split(signed(t, jose.SigningKey{Algorithm: jose.ES256, Key: k.key}, k.id, claims), ".")
			return parts[0] + "." + parts[1] + "."
		}),
		"an algorithm that the metadata do not name": func(_ *testing.T, l *liar) {
			l.metadata["id_token_signing_alg_values_supported"] = []string{"RS256", "HS256"}
		},
		"rubbish for a token":   sign(func(*testing.T, *liar, key, map[string]any) string { return "rubbish" }),
		"no token":              func(_ *testing.T, l *liar) { l.answer["id_token"] = nil },
		"an object for a token": func(_ *testing.T, l *liar) { l.answer["id_token"] = map[string]any{"sub": subject} },
		"no access token":       func(_ *testing.T, l *liar) { l.answer["access_token"] = nil },
		"claims that are no object": sign(func(t *testing.T, _ *liar, k key, _ map[string]any) string {
			return signedText(t, jose.SigningKey{Algorithm: jose.ES256, Key: k.key}, k.id, `["sub"]`)
		}),
		"somebody else's address": func(_ *testing.T, l *liar) {
			l.claims["email"], l.userinfo["sub"] = nil, "somebody-else"
		},
		"nobody's address": func(_ *testing.T, l *liar) { l.claims["email"], l.userinfo["sub"] = nil, nil },
		"an address in two spellings": func(_ *testing.T, l *liar) {
			l.claims["email"], l.userinfo["Email"] = nil, "grace@example.com"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLiar(t)
			lie(t, l)
			c, seen := connector(t, 10*time.Second)
			id, err := l.signIn(t, connect(t, c, l.config()))
			refused(t, seen, id, err, "sso_failed")
			if n := l.times("/token"); n != 1 {
				t.Errorf("the code was sent %d times", n)
			}
		})
	}
}

// TestTruths are the neighbours of the lies.
func TestTruths(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tell func(*testing.T, *liar)
		want func(*sso.Identity)
	}{
		"audiences, and the party": {func(_ *testing.T, l *liar) {
			l.claims["aud"], l.claims["azp"] = []string{"another-client", clientID}, clientID
		}, nil},
		"one audience in a list": {func(_ *testing.T, l *liar) { l.claims["aud"] = []string{clientID} }, nil},
		"no hash":                {func(_ *testing.T, l *liar) { l.claims["at_hash"] = nil }, nil},
		"true, as text":          {func(_ *testing.T, l *liar) { l.claims["email_verified"] = "true" }, nil},
		"unverified":             {func(_ *testing.T, l *liar) { l.claims["email_verified"] = false }, func(i *sso.Identity) { i.EmailVerified = false }},
		"false, as text":         {func(_ *testing.T, l *liar) { l.claims["email_verified"] = "false" }, func(i *sso.Identity) { i.EmailVerified = false }},
		"verified or not":        {func(_ *testing.T, l *liar) { l.claims["email_verified"] = nil }, func(i *sso.Identity) { i.EmailVerified = false }},
		"verified by a number":   {func(_ *testing.T, l *liar) { l.claims["email_verified"] = 1 }, func(i *sso.Identity) { i.EmailVerified = false }},
		"no address at all": {
			func(_ *testing.T, l *liar) { l.claims["email"], l.userinfo["email"] = nil, nil },
			func(i *sso.Identity) { i.Email, i.EmailVerified, i.Name = "", false, "Ada of the call" },
		},
		"no address, no userinfo": {
			func(_ *testing.T, l *liar) { l.claims["email"], l.metadata["userinfo_endpoint"] = nil, nil },
			func(i *sso.Identity) { i.Email, i.EmailVerified = "", false },
		},
		"an address in userinfo": {
			func(_ *testing.T, l *liar) { l.claims["email"], l.claims["email_verified"] = nil, nil },
			func(i *sso.Identity) { i.Email, i.Name = "ada@example.org", "Ada of the call" },
		},
		"an unverified address in userinfo": {
			func(_ *testing.T, l *liar) { l.claims["email"], l.userinfo["email_verified"] = nil, nil },
			func(i *sso.Identity) { i.Email, i.EmailVerified, i.Name = "ada@example.org", false, "Ada of the call" },
		},
		"no address but text":       {func(_ *testing.T, l *liar) { l.claims["email"] = "Ada <ada@example.com>" }, func(i *sso.Identity) { i.Email, i.EmailVerified = "", false }},
		"two addresses":             {func(_ *testing.T, l *liar) { l.claims["email"] = "ada@example.com,grace@example.com" }, func(i *sso.Identity) { i.Email, i.EmailVerified = "", false }},
		"an address with a line":    {func(_ *testing.T, l *liar) { l.claims["email"] = "ada@example.com\r\nBcc: b@example.com" }, func(i *sso.Identity) { i.Email, i.EmailVerified = "", false }},
		"a long address":            {func(_ *testing.T, l *liar) { l.claims["email"] = strings.Repeat("a", 250) + "@b.example" }, func(i *sso.Identity) { i.Email, i.EmailVerified = "", false }},
		"a name that turns around":  {func(_ *testing.T, l *liar) { l.claims["name"], l.claims["preferred_username"] = "\u202eada", "ada" }, func(i *sso.Identity) { i.Name = "ada" }},
		"no name":                   {func(_ *testing.T, l *liar) { l.claims["name"] = nil }, func(i *sso.Identity) { i.Name = "" }},
		"a name that is a number":   {func(_ *testing.T, l *liar) { l.claims["name"] = 7 }, func(i *sso.Identity) { i.Name = "" }},
		"a claim that nobody reads": {func(_ *testing.T, l *liar) { l.claims["Locale"], l.claims["locale"] = "en", "en" }, nil},
		"no list of algorithms, RS256 is not used": {func(_ *testing.T, l *liar) {
			l.metadata["id_token_signing_alg_values_supported"] = []string{"ES256", "RS256"}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLiar(t)
			c.tell(t, l)
			want := sso.Identity{Subject: secret.New(l.issuer + " " + subject), Email: "ada@example.com", EmailVerified: true, Name: "Ada Lovelace"}
			if c.want != nil {
				c.want(&want)
			}
			connector, _ := connector(t, 10*time.Second)
			if got, err := l.signIn(t, connect(t, connector, l.config())); err != nil || got != want {
				t.Errorf("%+v, %v; want %+v", got, err, want)
			}
		})
	}
}

func encoded(t *testing.T, v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		t.Error(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// refused checks the error, and that it keeps what must not be told.
func refused(t *testing.T, seen *recorder, id sso.Identity, err error, code string) {
	t.Helper()
	kind := fault.Denied
	if code == "sso_unavailable" {
		kind = fault.Unavailable
	}
	if !errors.Is(err, kind) || fault.CodeOf(err) != code || id != (sso.Identity{}) {
		t.Fatalf("%+v, %v; want nobody, and code %s", id, err, code)
	}
	said := fmt.Sprintf("%v %+v", err, err)
	secrets := append(seen.Tokens(), clientSecret, accessToken, subject, "somebody-else", "18151210", "code-number", "@example.com",
		attempt().Verifier.Reveal(), attempt().Nonce)
	for _, s := range slices.Compact(secrets) {
		if len(s) >= 8 && strings.Contains(said, s) {
			t.Errorf("the error holds a secret (%s): %s", s, said)
		}
	}
	if len(said) > 2000 {
		t.Errorf("the error has %d bytes", len(said))
	}
}

// TestWhatIsWrongIsInTheLog: an administrator who mixed something up finds what.
func TestWhatIsWrongIsInTheLog(t *testing.T) {
	t.Parallel()
	for want, claims := range map[string]map[string]any{
		"another issuer's":              {"iss": "https://elsewhere.example.com"},
		"another audience":              {"aud": "another-client"},
		"has expired":                   {"exp": 1},
		"another client":                {"azp": "another-client"},
		"the nonce differs":             {"nonce": "another"},
		"another access token":          {"at_hash": "another"},
		"differ in case only":           {"SUB": "another"},
		"its algorithm or its time":     {"nbf": time.Now().Add(time.Hour).Unix()},
		"names the person with nothing": {"sub": ""},
	} {
		l := newLiar(t)
		maps.Copy(l.claims, claims)
		c, _ := connector(t, 10*time.Second)
		if _, err := l.signIn(t, connect(t, c, l.config())); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v; want %q", claims, err, want)
		}
	}
}

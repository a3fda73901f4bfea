package oidcsso_test

import (
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/storage"

	"github.com/kubebyon/kubebyon/adapters/oidcsso/oidcpeer"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/sso"
	"github.com/kubebyon/kubebyon/ports/sso/ssotest"
)

const (
	backTo       = "https://console.example.com/api/auth/sso/company/callback"
	clientID     = "kubebyon"
	clientSecret = "secret-of-the-client"
)

// TestRealProvider runs the suite against another implementation, in processes
// of its own, which keeps addresses for its userinfo call.
func TestRealProvider(t *testing.T) {
	t.Parallel()
	ssotest.Run(t, func(t *testing.T) ssotest.World {
		peer := oidcpeer.Start(t, oidcpeer.Config{
			Clients: []oidcpeer.Client{{ID: clientID, Secret: clientSecret, RedirectURLs: []string{backTo}}},
			People: []storage.User{{
				ID: "subject-of-ada-1815", Username: "ada", Password: "a password", FirstName: "Ada", LastName: "Lovelace",
				Email: "ada@example.com", EmailVerified: true,
			}},
		})
		c, seen := connector(t, 10*time.Second)
		impatient, _ := connector(t, 300*time.Millisecond)
		return ssotest.World{
			Connector: c, Impatient: impatient,
			Config: sso.Config{
				Name: "company", DisplayName: "The company", Type: sso.OIDC, Issuer: peer.Issuer,
				ClientID: clientID, ClientSecret: secret.New(clientSecret),
			},
			Person: sso.Identity{
				Subject: secret.New(peer.Issuer + " subject-of-ada-1815"),
				Email:   "ada@example.com", EmailVerified: true, Name: "Ada Lovelace",
			},
			RedirectURL: backTo,
			Visit: func(t *testing.T, address string) string {
				back, err := peer.SignIn(t.Context(), address, backTo, "ada", "a password")
				if err != nil {
					t.Error(err)
				}
				return back
			},
			Down: peer.Kill, Hang: peer.Freeze, Secrets: seen.Tokens,
		}
	})
}

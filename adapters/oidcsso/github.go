package oidcsso

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/oauth2"

	"github.com/kubebyon/kubebyon/ports/sso"
)

// gitHub is github.com, or a GitHub Enterprise.
type gitHub struct {
	*Connector
	config   sso.Config
	site     string
	api      string
	endpoint oauth2.Endpoint
}

func newGitHub(c *Connector, config sso.Config) *gitHub {
	g := &gitHub{Connector: c, config: config, site: "https://github.com", api: "https://api.github.com"}
	if config.Issuer != "" {
		g.site = strings.TrimRight(config.Issuer, "/")
		g.api = apiOf(g.site)
	}
	g.endpoint = oauth2.Endpoint{
		AuthURL: g.site + "/login/oauth/authorize", TokenURL: g.site + "/login/oauth/access_token",
		AuthStyle: oauth2.AuthStyleInParams,
	}
	return g
}

// apiOf is where the API of an Enterprise is: on GitHub's own servers it has a
// host of its own, on a company's a path.
func apiOf(site string) string {
	if u, err := url.Parse(site); err == nil && (u.Hostname() == "github.com" || strings.HasSuffix(u.Hostname(), ".ghe.com")) {
		return u.Scheme + "://api." + u.Host
	}
	return site + "/api/v3"
}

// Begin implements sso.Provider. GitHub knows no nonce; PKCE ties the code to
// the browser.
func (g *gitHub) Begin(_ context.Context, a sso.Attempt) (string, error) {
	if err := a.Check(); err != nil {
		return "", err
	}
	return g.oauth(a).AuthCodeURL(a.State, oauth2.S256ChallengeOption(a.Verifier.Reveal())), nil
}

// Complete implements sso.Provider.
func (g *gitHub) Complete(ctx context.Context, a sso.Attempt, answer sso.Answer) (sso.Identity, error) {
	if err := a.Check(); err != nil {
		return sso.Identity{}, err
	}
	if err := refused(answer); err != nil {
		return sso.Identity{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.patience)
	defer cancel()
	token, err := exchange(ctx, g.client, g.oauth(a), a, answer.Code)
	if err != nil {
		return sso.Identity{}, err
	}
	return g.identify(ctx, token)
}

func (g *gitHub) oauth(a sso.Attempt) *oauth2.Config {
	return &oauth2.Config{
		ClientID: g.config.ClientID, ClientSecret: g.config.ClientSecret.Reveal(),
		Endpoint: g.endpoint, RedirectURL: a.RedirectURL, Scopes: []string{"read:user", "user:email"},
	}
}

// identify takes the primary address. The one on the profile may be any text.
func (g *gitHub) identify(ctx context.Context, token *oauth2.Token) (sso.Identity, error) {
	var user struct {
		ID    int64  `json:"id"`
		Login string `json:"login"`
		Name  string `json:"name"`
	}
	if err := g.get(ctx, token, "/user", &user); err != nil {
		return sso.Identity{}, err
	}
	var emails []struct {
		Email    string `json:"email"`
		Primary  bool   `json:"primary"`
		Verified bool   `json:"verified"`
	}
	if err := g.get(ctx, token, "/user/emails?per_page=100", &emails); err != nil {
		return sso.Identity{}, err
	}
	subject := ""
	if user.ID > 0 {
		subject = strconv.FormatInt(user.ID, 10)
	}
	for _, e := range emails {
		if e.Primary {
			return identity(g.site, subject, e.Email, e.Verified, user.Name, user.Login)
		}
	}
	return identity(g.site, subject, "", false, user.Name, user.Login)
}

func (g *gitHub) get(ctx context.Context, token *oauth2.Token, path string, into any) error {
	step := "ask GitHub for " + path
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, g.api+path, nil)
	if err != nil {
		return failed(ctx, step, err)
	}
	r.Header.Set("Authorization", "Bearer "+token.AccessToken)
	r.Header.Set("Accept", "application/vnd.github+json")
	r.Header.Set("X-Github-Api-Version", "2022-11-28")
	resp, err := g.client.Do(r)
	if err != nil {
		return failed(ctx, step, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return failed(ctx, step, &refusal{fmt.Sprintf("it answered with status %d", resp.StatusCode)})
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return failed(ctx, step, err)
	}
	return nil
}

package app

import (
	"context"
	"strings"
	"sync"

	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/settings"
	"github.com/kubebyon/kubebyon/ports/captcha"
	"github.com/kubebyon/kubebyon/ports/sso"
	"github.com/kubebyon/kubebyon/ports/store"
)

// policy is what the administrators have set about strangers, for package
// identity. Clients are made once for each version of their section.
type policy struct {
	settings  *settings.Service
	sso       sso.Connector
	captcha   captcha.Connector
	providers made[map[string]way]
	puzzles   made[captcha.Verifier]
}

// way is a client of a sign-in provider, or why there is none.
type way struct {
	provider sso.Provider
	err      error
}

// RegistrationOpen implements identity.Policy. When it cannot be read whether it
// is, it is not.
func (p *policy) RegistrationOpen(ctx context.Context) (bool, error) {
	now, err := p.settings.Current(ctx)
	return now.RegistrationEnabled, err
}

// Captcha implements identity.Policy. One that is on and cannot be used lets
// nobody in, as its provider's outage does.
func (p *policy) Captcha(ctx context.Context) (identity.Captcha, error) {
	now, err := p.settings.Current(ctx)
	if err != nil {
		return identity.Captcha{}, err
	}
	h := now.HCaptcha
	err = now.Check(settings.InHCaptcha)
	if err == nil && !h.Enabled {
		return identity.Captcha{}, nil
	}
	var v captcha.Verifier
	if err == nil {
		v, err = p.puzzles.of(now.Version(settings.InHCaptcha), func() (captcha.Verifier, error) { return p.captcha.Connect(h.Config()) })
	}
	if err != nil {
		return identity.Captcha{}, fault.Unavailable.New("captcha_unavailable",
			"The captcha cannot be checked: its settings are unusable. An administrator has to set them anew.").Because(err)
	}
	return identity.Captcha{SiteKey: h.SiteKey, Verifier: v}, nil
}

// Provider implements identity.Policy.
func (p *policy) Provider(ctx context.Context, name string) (sso.Provider, error) {
	now, err := p.settings.Current(ctx)
	if err != nil {
		return nil, err
	}
	if err := now.Check(settings.InOAuth); err != nil {
		return nil, sso.Unavailable(err)
	}
	w, ok := p.ways(now)[name]
	if !ok {
		return nil, fault.NotFound.New("sso_provider_unknown", "There is no such sign-in provider.")
	}
	if w.err != nil {
		return nil, sso.Unavailable(w.err)
	}
	return w.provider, nil
}

// Providers implements identity.Policy.
func (p *policy) Providers(ctx context.Context) (out []identity.Provider, err error) {
	now, err := p.settings.Current(ctx)
	if err != nil || now.Check(settings.InOAuth) != nil {
		return nil, err // those that cannot be used are not offered
	}
	ways := p.ways(now)
	for _, c := range now.OAuth.Providers {
		if w, ok := ways[c.Name]; ok && w.err == nil {
			out = append(out, identity.Provider{Name: c.Name, DisplayName: c.DisplayName})
		}
	}
	return out, nil
}

// ways are the clients of the providers that are on, by name. The section is
// readable.
func (p *policy) ways(now settings.Snapshot) map[string]way {
	out, _ := p.providers.of(now.Version(settings.InOAuth), func() (map[string]way, error) {
		out := map[string]way{}
		for _, c := range now.OAuth.Providers {
			if c.Enabled {
				provider, err := p.sso.Connect(c.Config())
				out[c.Name] = way{provider, err}
			}
		}
		return out, nil
	})
	return out
}

// made is what was made from a section of the settings. It lasts for as long as
// the section's version.
type made[T any] struct {
	mu      sync.Mutex
	version int64
	is      bool
	value   T
	err     error
}

// of makes it anew for a version that is higher than the one it was made from: a
// request that has older settings than another one takes nothing back.
func (m *made[T]) of(version int64, from func() (T, error)) (T, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.is || version > m.version {
		m.value, m.err = from()
		m.version, m.is = version, true
	}
	return m.value, m.err
}

// baseURLs are those that are set, or else those that the server was started with.
func (p *platform) baseURLs(ctx context.Context) (public, join string) { return p.baseURLsIn(ctx, nil) }

// set is what is set, asked for in a transaction if there is one.
func (p *platform) set(ctx context.Context, tx store.Tx) (settings.Snapshot, error) {
	if tx == nil {
		return p.settings.Current(ctx)
	}
	return p.settings.CurrentIn(ctx, tx)
}

func (p *platform) baseURLsIn(ctx context.Context, tx store.Tx) (public, join string) {
	public, join = strings.TrimRight(p.config.HTTP.PublicBaseURL, "/"), strings.TrimRight(p.config.HTTP.JoinBaseURL, "/")
	now, err := p.set(ctx, tx)
	if err != nil {
		return public, join // without a store, nothing is done that they matter for
	}
	if now.PublicBaseURL != "" {
		public = now.PublicBaseURL
	}
	if now.JoinBaseURL != "" {
		join = now.JoinBaseURL
	}
	return public, join
}

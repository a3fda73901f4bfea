package ssotest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/sso"
)

// patience is more than any adapter has with a provider, on a busy machine too.
const patience = 30 * time.Second

func (w World) impatient() World {
	if w.Impatient != nil {
		w.Connector = w.Impatient
	}
	return w
}

func anOutageIsUnavailable(t *testing.T, w World, p sso.Provider) {
	a := w.attempt("a")
	answer := w.signIn(t, p, a)
	w.Down()
	id, err := p.Complete(t.Context(), a, answer)
	w.refused(t, "a provider that fails", id, err, "sso_unavailable", answer.Code.Reveal())
	// One that has never heard of the provider needs it for less, or for more.
	fresh := w.connect(t, w.Config)
	id, err = fresh.Complete(t.Context(), a, answer)
	w.refused(t, "a provider that fails from the start", id, err, "sso_unavailable", answer.Code.Reveal())
	if _, err := fresh.Begin(t.Context(), a); err != nil {
		w.refused(t, "beginning with a provider that fails", sso.Identity{}, err, "sso_unavailable")
	}
}

func anOutageEnds(t *testing.T, w World, p sso.Provider) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _ = p.Begin(ctx, w.attempt("a"))
	a := w.attempt("b")
	if got, err := p.Complete(t.Context(), a, w.signIn(t, p, a)); err != nil || got != w.Person {
		t.Errorf("after somebody went away: %v, %v", got, err)
	}
}

func aProviderThatHangsIsAnOutage(t *testing.T, w World, p sso.Provider) {
	a := w.attempt("a")
	answer := w.signIn(t, p, a)
	w.Hang()
	start := time.Now()
	id, err := w.impatient().connect(t, w.Config).Complete(t.Context(), a, answer)
	w.refused(t, "a provider that hangs", id, err, "sso_unavailable", answer.Code.Reveal())
	if took := time.Since(start); took > patience {
		t.Errorf("it took %v: somebody waits in front of the screen", took)
	}
}

func aCanceledContextIsAnOutage(t *testing.T, w World, p sso.Provider) {
	a := w.attempt("a")
	answer := w.signIn(t, p, a)
	w.Hang()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, p := range map[string]sso.Provider{"known": p, "fresh": w.connect(t, w.Config)} {
		id, err := p.Complete(ctx, a, answer)
		w.refused(t, "a canceled context, "+name, id, err, "sso_unavailable", answer.Code.Reveal())
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v does not say that the context was canceled", name, err)
		}
	}
}

func manyAtOnce(t *testing.T, w World, p sso.Provider) {
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			a := w.attempt(fmt.Sprint(i))
			address, err := p.Begin(t.Context(), a)
			if err != nil {
				t.Error(err)
				return
			}
			q := query(t, w.Visit(t, address))
			answer := sso.Answer{Code: secret.New(q.Get("code")), Issuer: q.Get("iss")}
			if got, err := p.Complete(t.Context(), a, answer); err != nil || got != w.Person {
				t.Errorf("%d: %v, %v", i, got, err)
			}
		})
	}
	all.Wait()
}

func connectSpeaksToNobody(t *testing.T, w World, _ sso.Provider) {
	w.Hang()
	start := time.Now()
	w.connect(t, w.Config)
	if took := time.Since(start); took > time.Second {
		t.Errorf("Connect took %v", took)
	}
}

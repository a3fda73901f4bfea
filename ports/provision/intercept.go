package provision

import (
	"context"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// Around is called before a call, by the method's name; what it returns is the
// context of the call, and what is called with its outcome.
type Around = func(ctx context.Context, call string) (context.Context, func(error))

// Intercept puts around about every call of p, but for Await, which only waits.
// What p is besides, an [Insider] or something that can be pinged, the result is
// too, and nothing else.
func Intercept(p Provisioner, around Around) Provisioner {
	in := intercepted{p, around}
	insider, inside := p.(Insider)
	ping, pings := p.(pinger)
	through := interceptedInsider{insider, around}
	switch {
	case inside && pings:
		return struct {
			intercepted
			interceptedInsider
			pinger
		}{in, through, ping}
	case inside:
		return struct {
			intercepted
			interceptedInsider
		}{in, through}
	case pings:
		return struct {
			intercepted
			pinger
		}{in, ping}
	}
	return in
}

// pinger takes part in readiness.
type pinger interface {
	Ping(ctx context.Context) error
}

type intercepted struct {
	Provisioner
	around Around
}

func (i intercepted) Apply(ctx context.Context, want Want) error {
	ctx, done := i.around(ctx, "Apply")
	err := i.Provisioner.Apply(ctx, want)
	done(err)
	return err
}

func (i intercepted) Observe(ctx context.Context, cluster id.Cluster) (Observed, error) {
	ctx, done := i.around(ctx, "Observe")
	seen, err := i.Provisioner.Observe(ctx, cluster)
	done(err)
	return seen, err
}

func (i intercepted) Destroy(ctx context.Context, cluster id.Cluster) error {
	ctx, done := i.around(ctx, "Destroy")
	err := i.Provisioner.Destroy(ctx, cluster)
	done(err)
	return err
}

func (i intercepted) Kubeconfig(ctx context.Context, cluster id.Cluster) (secret.Text, error) {
	ctx, done := i.around(ctx, "Kubeconfig")
	text, err := i.Provisioner.Kubeconfig(ctx, cluster)
	done(err)
	return text, err
}

type interceptedInsider struct {
	inner  Insider
	around Around
}

func (i interceptedInsider) Inside(ctx context.Context, cluster id.Cluster) (secret.Text, error) {
	ctx, done := i.around(ctx, "Inside")
	text, err := i.inner.Inside(ctx, cluster)
	done(err)
	return text, err
}

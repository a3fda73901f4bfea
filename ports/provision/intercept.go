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
// The result is all that a Provisioner may be besides, whether or not p is: for
// what p is not, it does what callers of a plain Provisioner do.
func Intercept(p Provisioner, around Around) Provisioner { return intercepted{p, around} }

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

// Inside implements [Insider], by the published way if there is no other.
func (i intercepted) Inside(ctx context.Context, cluster id.Cluster) (secret.Text, error) {
	in, ok := i.Provisioner.(Insider)
	if !ok {
		return i.Kubeconfig(ctx, cluster)
	}
	ctx, done := i.around(ctx, "Inside")
	text, err := in.Inside(ctx, cluster)
	done(err)
	return text, err
}

// Usage implements [Meter], if only to say that nothing is measured.
func (i intercepted) Usage(ctx context.Context) (map[id.Cluster]Usage, error) {
	meter, ok := i.Provisioner.(Meter)
	if !ok {
		return nil, Unmeasured(NoMeter)
	}
	ctx, done := i.around(ctx, "Usage")
	usage, err := meter.Usage(ctx)
	done(err)
	return usage, err
}

// Ping takes part in readiness; who cannot be pinged is ready.
func (i intercepted) Ping(ctx context.Context) error {
	p, ok := i.Provisioner.(interface {
		Ping(ctx context.Context) error
	})
	if !ok {
		return nil
	}
	return p.Ping(ctx)
}

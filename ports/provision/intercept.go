package provision

import (
	"context"
	"errors"

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

// during tells of a call; one that panics has failed.
func (i intercepted) during(ctx context.Context, call string, do func(ctx context.Context) error) (err error) {
	ctx, done := i.around(ctx, call)
	err = errPanicked
	defer func() { done(err) }()
	err = do(ctx)
	return err
}

var errPanicked = errors.New("the provisioner has panicked")

func (i intercepted) Apply(ctx context.Context, want Want) error {
	return i.during(ctx, "Apply", func(ctx context.Context) error { return i.Provisioner.Apply(ctx, want) })
}

func (i intercepted) Observe(ctx context.Context, cluster id.Cluster) (seen Observed, err error) {
	err = i.during(ctx, "Observe", func(ctx context.Context) error {
		seen, err = i.Provisioner.Observe(ctx, cluster)
		return err
	})
	return seen, err
}

func (i intercepted) Destroy(ctx context.Context, cluster id.Cluster) error {
	return i.during(ctx, "Destroy", func(ctx context.Context) error { return i.Provisioner.Destroy(ctx, cluster) })
}

func (i intercepted) Kubeconfig(ctx context.Context, cluster id.Cluster) (text secret.Text, err error) {
	err = i.during(ctx, "Kubeconfig", func(ctx context.Context) error {
		text, err = i.Provisioner.Kubeconfig(ctx, cluster)
		return err
	})
	return text, err
}

// Inside implements [Insider], by the published way if there is no other.
func (i intercepted) Inside(ctx context.Context, cluster id.Cluster) (text secret.Text, err error) {
	in, ok := i.Provisioner.(Insider)
	if !ok {
		return i.Kubeconfig(ctx, cluster)
	}
	err = i.during(ctx, "Inside", func(ctx context.Context) error {
		text, err = in.Inside(ctx, cluster)
		return err
	})
	return text, err
}

// Usage implements [Meter], if only to say that nothing is measured.
func (i intercepted) Usage(ctx context.Context) (usage map[id.Cluster]Usage, err error) {
	meter, ok := i.Provisioner.(Meter)
	if !ok {
		return nil, Unmeasured(NoMeter)
	}
	err = i.during(ctx, "Usage", func(ctx context.Context) error {
		usage, err = meter.Usage(ctx)
		return err
	})
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

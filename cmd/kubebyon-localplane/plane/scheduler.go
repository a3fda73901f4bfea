package plane

import (
	"context"
	"fmt"

	"k8s.io/kubernetes/cmd/kube-scheduler/app"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// scheduler prepares kube-scheduler, to be run once the API server is ready.
func scheduler(k *credentials) (func(context.Context) error, error) {
	opts := options.NewOptions()
	err := parse(*opts.Flags, []string{
		"--kubeconfig=" + k.scheduler,
		"--leader-elect=false",
		"--secure-port=0",
		"--profiling=false",
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		config, s, err := app.Setup(ctx, opts)
		if err != nil {
			return fmt.Errorf("set up: %w", err)
		}
		return app.Run(ctx, config, s)
	}, nil
}

package plane

import (
	"context"
	"fmt"

	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	controlleroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
)

// controllerManagerFlags switch its own port off: nobody scrapes it, and serving one costs
// certificates and more watches.
func controllerManagerFlags(c Config, k *credentials) []string {
	which := c.Parts.Controllers
	if which == "" {
		which = "*,bootstrapsigner,tokencleaner"
	}
	return []string{
		"--kubeconfig=" + k.controllerManager,
		"--controllers=" + which,
		"--leader-elect=false",
		"--secure-port=0",
		"--profiling=false",
		"--cluster-name=" + c.Name,
		"--cluster-signing-cert-file=" + k.authority.CertFile(),
		"--cluster-signing-key-file=" + k.authority.KeyFile(),
		"--root-ca-file=" + k.authority.CertFile(),
		"--service-account-private-key-file=" + k.signingKey,
		"--use-service-account-credentials=false",
		"--allocate-node-cidrs=true",
		"--cluster-cidr=" + c.PodCIDR,
		"--service-cluster-ip-range=" + c.ServiceCIDR,
		// The default of 20 a second is for a busy cluster far away. Here it makes the start wait
		// for some sixty lists and watches.
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
	}
}

// controllerManager prepares kube-controller-manager, to be run once the API server is ready.
func controllerManager(c Config, k *credentials) (func(context.Context) error, error) {
	opts, err := controlleroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return nil, fmt.Errorf("make options: %w", err)
	}
	known, off, aliases := controllers.KnownControllers(), controllers.ControllersDisabledByDefault(), controllers.ControllerAliases()
	if err := parse(opts.Flags(known, off, aliases), controllerManagerFlags(c, k)); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		config, err := opts.Config(ctx, known, off, aliases)
		if err != nil {
			return fmt.Errorf("complete options: %w", err)
		}
		return controllers.Run(ctx, config.Complete())
	}, nil
}

package plane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

// listen takes the port first of all: a taken one is the likeliest reason not to start, and what
// connects too early waits instead of being refused.
func listen(ctx context.Context, c Config) (net.Listener, error) {
	if c.Listener != nil {
		return c.Listener, nil
	}
	address := net.JoinHostPort(c.BindAddress, fmt.Sprint(c.Port))
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, refusal.New("The port %d on %s is taken by another process.", c.Port, c.BindAddress).Because(err)
	case err != nil:
		return nil, refusal.New("The address %s cannot be listened on: %v.", address, err).Because(err)
	}
	return l, nil
}

// apiServerFlags go through the component's own flags: they are its stable interface, its option
// structs are not.
func apiServerFlags(c Config, k *credentials, storeURL string) []string {
	flags := []string{
		"--etcd-servers=" + storeURL,
		"--bind-address=" + c.BindAddress,
		fmt.Sprintf("--secure-port=%d", c.Port),
		"--external-hostname=" + c.Host,
		"--service-cluster-ip-range=" + c.ServiceCIDR,
		"--allow-privileged=true",
		"--profiling=false",

		"--client-ca-file=" + k.authority.CertFile(),
		"--tls-cert-file=" + k.server.CertFile,
		"--tls-private-key-file=" + k.server.KeyFile,
		"--tls-min-version=VersionTLS12",
		"--kubelet-client-certificate=" + k.kubelet.CertFile,
		"--kubelet-client-key=" + k.kubelet.KeyFile,
		"--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",

		"--requestheader-client-ca-file=" + k.frontProxy.CertFile(),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + k.proxy.CertFile,
		"--proxy-client-key-file=" + k.proxy.KeyFile,

		"--service-account-issuer=https://kubernetes.default.svc." + dnsDomain,
		"--service-account-key-file=" + k.signingKey,
		"--service-account-signing-key-file=" + k.signingKey,

		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--enable-bootstrap-token-auth=true",
		// Joining reads cluster-info without credentials.
		"--anonymous-auth=true",
	}
	flags = append(flags, advertiseFlags(c)...)
	return append(flags, c.Version.flags()...)
}

// advertiseFlags leave the endpoints of the kubernetes Service empty on loopback: the API does
// not take a loopback address there, and no pod could reach it.
func advertiseFlags(c Config) []string {
	if ip := net.ParseIP(c.BindAddress); ip.IsLoopback() {
		return []string{"--advertise-address=" + c.BindAddress, "--endpoint-reconciler-type=none"}
	}
	if ip := net.ParseIP(c.Host); ip != nil && !ip.IsLoopback() {
		return []string{"--advertise-address=" + c.Host}
	}
	return nil
}

// apiServer prepares kube-apiserver. Its options also set the feature gates and the emulated
// version that the other components in this process share.
func apiServer(ctx context.Context, c Config, k *credentials, storeURL string, l net.Listener) (func(context.Context) error, error) {
	opts := options.NewServerRunOptions()
	if err := parse(opts.Flags(), apiServerFlags(c, k, storeURL)); err != nil {
		return nil, err
	}
	opts.SecureServing.Listener = l
	if err := opts.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, fmt.Errorf("set the emulated version: %w", err)
	}
	// The API server would warn itself of its own deprecated calls.
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	completed, err := opts.Complete(ctx)
	if err != nil {
		return nil, fmt.Errorf("complete options: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return nil, fmt.Errorf("validate options: %w", utilerrors.NewAggregate(errs))
	}
	return func(ctx context.Context) error { return serve(ctx, completed) }, nil
}

// serve is what the command does, with a faster start.
func serve(ctx context.Context, opts options.CompletedOptions) error {
	config, err := app.NewConfig(opts)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	if err := writeFirstObjectsAtOnce(config); err != nil {
		return fmt.Errorf("replace start-up hooks: %w", err)
	}
	completed, err := config.Complete()
	if err != nil {
		return fmt.Errorf("complete configuration: %w", err)
	}
	chain, err := app.CreateServerChain(completed)
	if err != nil {
		return fmt.Errorf("chain servers: %w", err)
	}
	prepared, err := chain.PrepareRun()
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	return prepared.Run(ctx)
}

// parse gives a component its flags as its command would.
func parse(sets cliflag.NamedFlagSets, args []string) error {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, set := range sets.FlagSets {
		all.AddFlagSet(set)
	}
	if err := all.Parse(args); err != nil {
		return fmt.Errorf("parse flags: %w", err)
	}
	return nil
}

// awaitReady asks until the API server says it is ready. It says so only after its start-up
// hooks, which also write the RBAC rules that the controllers live by.
func awaitReady(ctx context.Context, client kubernetes.Interface) error {
	return every(ctx, 20*time.Millisecond, func() bool {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		status := 0
		client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(attempt).StatusCode(&status)
		return status == http.StatusOK
	})
}

// every repeats a question until it is answered with yes.
func every(ctx context.Context, pause time.Duration, yes func() bool) error {
	for !yes() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
	return nil
}

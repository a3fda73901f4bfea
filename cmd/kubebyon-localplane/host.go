package main

import (
	"context"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/hostplane"
)

func hostCommand() *cobra.Command {
	var (
		process processFlags
		config  hostplane.Config
		behave  []string
	)
	cmd := &cobra.Command{
		Use:   "host --dir DIR",
		Short: "Run a host cluster in a box, which runs the control planes that charts install on it",
		Long: "Run a host cluster in a box: a real API server and controllers, and in the place of nodes this process.\n" +
			"What is installed with the vCluster chart is run as a real control plane, published as its Service asks.\n\n" +
			"The kubeconfig is DIR/admin.kubeconfig; the line of progress that says ready names it too.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			for _, text := range behave {
				rule, err := hostplane.ParseRule(text)
				if err != nil {
					return err
				}
				config.Rules = append(config.Rules, rule)
			}
			return runHost(process, config)
		},
	}
	process.logName = "host.log"
	flags := cmd.Flags()
	flags.StringVar(&process.dir, "dir", "", "directory that holds everything the host is, its tenants included")
	flags.IntVar(&config.Port, "port", 0, "port of the API server (default: a free one, kept)")
	flags.IntVar(&config.IngressPort, "ingress-port", 0, "port for the hosts of Ingresses (default: a free one, kept)")
	flags.StringVar(&config.BindAddress, "bind-address", "127.0.0.1", "address of the API server, node ports and Ingresses; own: a loopback address that no other host has")
	flags.StringVar(&config.Host, "host", "", "name or address that the kubeconfig and the Node have (default: the bind address)")
	flags.StringArrayVar(&behave, "behave", nil, "PATTERN=WORD: releases with such names are slow=DURATION, crash, never, image-pull-error, no-licence, no-secret or bad-secret (repeatable)")
	flags.BoolVar(&config.LightTenants, "light-tenants", false, "run tenants without controllers and scheduler")
	flags.BoolVar(&config.NoMetrics, "no-metrics", false, "do not serve metrics.k8s.io")
	flags.IntVar(&config.MaxStarting, "max-starting", runtime.NumCPU(), "how many tenants start at the same time")
	flags.DurationVar(&config.SecretDelay, "secret-delay", time.Second, "from a tenant's readiness to its kubeconfig's Secret")
	flags.BoolVar(&config.NoFsync, "unsafe-no-fsync", false, "do not wait for the disk; a power cut loses data")
	process.addFlags(flags)
	_ = cmd.MarkFlagRequired("dir")
	return cmd
}

func runHost(flags processFlags, config hostplane.Config) error {
	return flags.run(func(ctx context.Context, p *process) error {
		config.Dir, config.Log, config.Progress, config.Now = p.dir, p.log, p.progress, time.Now
		config.Dying = p.die
		return hostplane.Run(ctx, config)
	})
}

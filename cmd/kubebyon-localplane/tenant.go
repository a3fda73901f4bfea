package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/plane"
)

func tenantCommand() *cobra.Command {
	var (
		process processFlags
		config  plane.Config
		version string
	)
	cmd := &cobra.Command{
		Use:   "tenant --dir DIR --port PORT",
		Short: "Run a control plane: etcd, kube-apiserver, kube-controller-manager and kube-scheduler",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return runTenant(process, config, version)
		},
	}
	process.logName = "plane.log"
	flags := cmd.Flags()
	flags.StringVar(&process.dir, "dir", "", "directory that holds everything the tenant is")
	flags.IntVar(&config.Port, "port", 0, "port of the API server")
	flags.StringVar(&config.Name, "name", "kubernetes", "name of the cluster, in kubeconfigs")
	flags.StringVar(&config.BindAddress, "bind-address", "127.0.0.1", "address the API server listens on")
	flags.StringVar(&config.Host, "host", "127.0.0.1", "name or address under which clients and nodes reach the API server")
	flags.StringArrayVar(&config.SANs, "san", nil, "a further name or address in the API server's certificate (repeatable)")
	flags.StringVar(&version, "kubernetes-version", "", "one of what the versions command lists (default: the newest)")
	flags.StringVar(&config.PodCIDR, "pod-cidr", "10.244.0.0/16", "network that nodes take their pods' addresses from")
	flags.StringVar(&config.ServiceCIDR, "service-cidr", "10.96.0.0/16", "network of Services")
	flags.BoolVar(&config.NoFsync, "unsafe-no-fsync", false, "do not wait for the disk; a power cut loses data")
	process.addFlags(flags)
	_ = cmd.MarkFlagRequired("dir")
	_ = cmd.MarkFlagRequired("port")
	return cmd
}

func runTenant(flags processFlags, config plane.Config, version string) error {
	return flags.run(func(ctx context.Context, p *process) (err error) {
		if config.Version, err = plane.FindVersion(version); err != nil {
			return err
		}
		if err := config.Check(); err != nil {
			return err
		}
		config.Dir, config.Log, config.Progress, config.Now = p.dir, p.log, p.progress, time.Now
		config.Dying = p.die
		return plane.Run(ctx, config)
	})
}

package main

import (
	"context"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/plane"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

// noListener is the flag's default: the tenant listens for itself.
const noListener = -1

func tenantCommand() *cobra.Command {
	var (
		process  processFlags
		config   plane.Config
		version  string
		listener int
		light    bool
	)
	cmd := &cobra.Command{
		Use:   "tenant --dir DIR --port PORT",
		Short: "Run a control plane: etcd, kube-apiserver, kube-controller-manager and kube-scheduler",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if light {
				config.Parts.NoControllers, config.Parts.NoScheduler = true, true
			}
			return runTenant(process, config, version, listener)
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
	flags.StringVar(&config.Public, "endpoint", "", "host:port that clients and nodes are told, where something in front publishes it (default: host and port)")
	flags.IntVar(&listener, "listener-fd", noListener, "an inherited listening socket for the API server, instead of --port and --bind-address")
	flags.BoolVar(&light, "light", false, "run etcd and kube-apiserver only: no controllers, nothing that joins gets a certificate")
	process.addFlags(flags)
	_ = cmd.MarkFlagRequired("dir")
	cmd.MarkFlagsOneRequired("port", "listener-fd")
	cmd.MarkFlagsMutuallyExclusive("port", "listener-fd")
	cmd.MarkFlagsMutuallyExclusive("bind-address", "listener-fd")
	return cmd
}

func runTenant(flags processFlags, config plane.Config, version string, listener int) error {
	return flags.run(func(ctx context.Context, p *process) (err error) {
		if listener != noListener {
			if err := inherit(&config, listener); err != nil {
				return err
			}
		}
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

// inherit takes over a socket that the parent listens on. The parent keeps its port while there
// is no tenant, and no other process can have it in between.
func inherit(config *plane.Config, fd int) error {
	syscall.CloseOnExec(fd)
	file := os.NewFile(uintptr(fd), "listener")
	if file == nil {
		return refusal.New("The listener %d is not a file descriptor.", fd)
	}
	defer file.Close() //nolint:errcheck // the listener has a copy
	l, err := net.FileListener(file)
	if err != nil {
		return refusal.New("The file descriptor %d is not a listening socket.", fd).Because(err)
	}
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return refusal.New("The file descriptor %d does not listen for TCP.", fd)
	}
	config.Listener, config.BindAddress, config.Port = l, address.IP.String(), address.Port
	return nil
}

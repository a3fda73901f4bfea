package main

import (
	"context"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/hollow"
)

func nodeCommand() *cobra.Command {
	var (
		process processFlags
		config  hollow.Config
	)
	cmd := &cobra.Command{
		Use:   "node --config JOINCONFIG.yaml --dir DIR",
		Short: "Join a control plane as a hollow node: the real kubelet over a runtime that runs nothing",
		Long: "Join a control plane as a hollow node: the real kubelet over a runtime that runs nothing.\n\n" +
			"Once joined, --dir alone starts the node again. Without --lifeline-fd it outlives the shell that started it.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return runNode(process, config)
		},
	}
	process.logName = "node.log"
	flags := cmd.Flags()
	flags.StringVar(&config.File, "config", "", "kubeadm's JoinConfiguration, with a bootstrap token")
	flags.StringVar(&process.dir, "dir", "", "directory that holds everything the node is")
	flags.StringVar(&config.Name, "name", "", "name of the node (default: the configuration's, else the host's)")
	flags.DurationVar(&config.Patience, "patience", 30*time.Second, "how long to wait for a control plane that does not answer")
	process.addFlags(flags)
	_ = cmd.MarkFlagRequired("dir")
	return cmd
}

func runNode(flags processFlags, config hollow.Config) error {
	if flags.lifeline == noLifeline {
		// Closing the terminal that the join ran in does not take the node along.
		signal.Ignore(syscall.SIGHUP)
	}
	return flags.run(func(ctx context.Context, p *process) error {
		config.Dir, config.Progress, config.Now = p.dir, p.progress, time.Now
		return hollow.Run(ctx, config)
	})
}

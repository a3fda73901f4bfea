// Package process is what KubeBYON's programs have in common as processes: how
// they are called, how they begin to listen, and how a signal ends them.
package process

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/cmd/settings"
)

// Build says which program this is.
type Build struct{ Name, Version, Commit string }

// API is what the API says of it; backend is what runs the control planes.
func (b Build) API(backend string) httpapi.Version {
	return httpapi.Version{Version: b.Version, Commit: b.Commit, GoVersion: runtime.Version(), Backend: backend}
}

// Name tells this process from all others, and people where it runs.
func Name() string {
	host, err := os.Hostname()
	if err != nil {
		host = "process"
	}
	return host + "-" + strings.ToLower(rand.Text()[:8])
}

// Root is the command of a program, without its subcommands.
func (b Build) Root(short string) *cobra.Command {
	cmd := &cobra.Command{Use: b.Name, Short: short, SilenceUsage: true, SilenceErrors: true}
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return settings.WithoutValue(err) })
	return cmd
}

// VersionCommand prints it.
func (b Build) VersionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: settings.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s (commit %s, %s)\n", b.Name, b.Version, b.Commit, runtime.Version())
			return err
		},
	}
}

// Main runs a program and returns its exit code. The first signal ends the
// command's context; a second one ends the process, as if nobody listened.
func Main(root *cobra.Command) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	err := root.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", root.Name(), err)
		return 1
	}
	return 0
}

// Kubebyon is the server: people get Kubernetes control planes from it and
// bring their own machines as nodes.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Set by the linker; see the Makefile.
var (
	version = "dev"
	commit  = "unknown"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "kubebyon:", err)
		os.Exit(1)
	}
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "kubebyon",
		Short:         "Kubernetes control planes for people who bring their own nodes",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return withoutValue(err) })
	cmd.AddCommand(devCommand(), adminCommand(), migrateCommand(), openapiCommand(), versionCommand())
	return cmd
}

// withoutValue says of a mistake on the command line what it is, and nothing of
// what was written in the wrong place: it may be a password, and errors end up
// in logs.
func withoutValue(err error) error {
	if bad, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		why := bad.Unwrap()
		if bad.GetFlag().Value.Type() == "bool" { // its own error repeats the value
			why = errors.New("must be true or false")
		}
		return fmt.Errorf("--%s: %w", bad.GetFlag().Name, why)
	}
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && unknown.GetSpecifiedShortnames() != "" {
		return fmt.Errorf("unknown shorthand flag: -%s", unknown.GetSpecifiedName())
	}
	if _, ok := errors.AsType[*pflag.InvalidSyntaxError](err); ok {
		return errors.New("there is a flag without a name")
	}
	return err
}

// noArguments is cobra's, but does not repeat them.
func noArguments(cmd *cobra.Command, arguments []string) error {
	if len(arguments) > 0 {
		return fmt.Errorf("%q takes no arguments but flags; see %s --help", cmd.CommandPath(), cmd.CommandPath())
	}
	return nil
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "kubebyon %s (commit %s, %s)\n", version, commit, runtime.Version())
			return err
		},
	}
}

// Command kubebyon-localplane runs a Kubernetes control plane, a hollow node that joins one, or a
// host cluster in a box, as a single local process that needs neither root nor a container
// runtime.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	componentversion "k8s.io/component-base/version"
)

func main() {
	root := &cobra.Command{
		Use:               "kubebyon-localplane",
		Short:             "A Kubernetes control plane, a hollow node, or a host cluster in a box, as one local process",
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.AddCommand(tenantCommand(), hostCommand(), nodeCommand(), versionsCommand(), versionCommand())
	if err := root.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "kubebyon-localplane:", err)
		os.Exit(1)
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of Kubernetes in this binary", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), componentversion.Get().GitVersion)
			return err
		},
	}
}

// Kubebyon is the server: people get Kubernetes control planes from it and
// bring their own machines as nodes.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/kubebyon/kubebyon/cmd/process"
)

// Set by the linker; see the Makefile.
var (
	version = "dev"
	commit  = "unknown"
)

func main() { os.Exit(process.Main(root())) }

func build() process.Build { return process.Build{Name: "kubebyon", Version: version, Commit: commit} }

func root() *cobra.Command {
	cmd := build().Root("Kubernetes control planes for people who bring their own nodes")
	cmd.AddCommand(serveCommand(), devCommand(), adminCommand(), migrateCommand(), openapiCommand(), build().VersionCommand())
	return cmd
}

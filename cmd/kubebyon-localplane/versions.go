package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/plane"
)

func versionsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "versions", Short: "List the Kubernetes versions a tenant may run, as JSON", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(plane.Versions())
		},
	}
}

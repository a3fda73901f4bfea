package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/cmd/settings"
)

func openapiCommand() *cobra.Command {
	var api, format, release, output string
	cmd := &cobra.Command{
		Use: "openapi", Short: "Print an API's OpenAPI document", Args: settings.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			doc, err := app.Document(api, release, format)
			if err != nil {
				return err
			}
			if output == "" {
				_, err = cmd.OutOrStdout().Write(doc)
				return err
			}
			if err := os.WriteFile(output, doc, 0o644); err != nil { //nolint:gosec // a public document, to be read by all
				return fmt.Errorf("write the document: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().Var(settings.OneOf(&api, "console", "console", "kite"), "api", "console, or the system whose clients it is for: kite")
	cmd.Flags().Var(settings.OneOf(&format, "yaml", "yaml", "json"), "format", "yaml or json")
	cmd.Flags().Var(settings.OneOf(&release, "3.1", "3.1", "3.0"), "openapi", "3.1, or 3.0 for generators that need it")
	cmd.Flags().StringVar(&output, "output", "", "the file to write; empty: standard output")
	return cmd
}

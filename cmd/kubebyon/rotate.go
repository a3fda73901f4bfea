package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/kubebyon/kubebyon/app/offline"
	"github.com/kubebyon/kubebyon/cmd/settings"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

var errTwoNewKeys = errors.New("--new-key-file and --new-secret-key: give one of them")

func adminRotateKey() *cobra.Command {
	var d databaseFlags
	var key, newKey, newFile string
	cmd := &cobra.Command{
		Use: "rotate-key", Short: "Replace the data key or the master key of secrets at rest", Args: settings.NoArguments,
		Long: `Replace a key of secrets at rest, also while servers run.

Without a new key, make a data key that seals from now on. Servers learn of it by
themselves. What older data keys sealed goes on to open: what is kept for long is
sealed anew at once, and a data key is removed by the first rotation that comes 30
days after the one that replaced it.

With --new-key-file or --new-secret-key, replace the master key, which the data
keys are wrapped by: KUBEBYON_SECRET_KEY, or the key file of the data folder, into
which the new one is put. Running servers go on, and need the new one when they
start again. To be rid of a master key that was told to somebody: replace it,
start all servers with the new one, then make a data key.

It may be run again after a crash.`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if newKey != "" && newFile != "" {
				return errTwoNewKeys
			}
			url, err := d.url()
			if err != nil {
				return err
			}
			k, err := offline.OpenKeys(cmd.Context(), url, secret.New(key), d.log.Logger(os.Stderr))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, k.Close()) }()
			var done string
			if newKey == "" && newFile == "" {
				done, err = k.NewDataKey(cmd.Context())
			} else {
				done, err = k.NewMasterKey(cmd.Context(), secret.New(newKey), newFile)
			}
			if err == nil {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), done)
			}
			return err
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&key, "secret-key", "", "master key in use; empty: the key file beside an SQLite database (secret)")
	fs.StringVar(&newKey, "new-secret-key", "", "new master key, 32 bytes in base64 or hex (secret)")
	fs.StringVar(&newFile, "new-key-file", "", "file that holds the new master key and that nobody else may read")
	d.register(fs)
	return settings.WithEnvironment(cmd)
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kubebyon/kubebyon/app/dev"
	"github.com/kubebyon/kubebyon/app/offline"
	"github.com/kubebyon/kubebyon/cmd/process"
	"github.com/kubebyon/kubebyon/cmd/settings"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
)

// databaseFlags say which installation a command is about.
type databaseFlags struct {
	log      settings.Log
	dataDir  string
	database string
}

func (d *databaseFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&d.dataDir, "data-dir", "", "data folder of kubebyon dev; empty: the database URL, else ./data")
	fs.StringVar(&d.database, "database-url", "", "postgres://… or sqlite:PATH (secret)")
	d.log.Register(fs)
}

func (d *databaseFlags) url() (string, error) {
	switch {
	case d.dataDir != "":
		return existing(d.dataDir)
	case d.database != "":
		return d.database, nil
	}
	return existing("./data")
}

// existing refuses to make a new installation by a mistyped path.
func existing(dir string) (string, error) {
	url := dev.DatabaseURL(dir)
	if _, err := os.Stat(strings.TrimPrefix(url, "sqlite:")); err != nil {
		return "", fmt.Errorf("there is no database in %s; name the data folder with --data-dir, or the database with --database-url", dir)
	}
	return url, nil
}

// accounts runs do on the accounts of the installation that d names.
func (d *databaseFlags) accounts(cmd *cobra.Command, do func(*offline.Accounts) error) error {
	url, err := d.url()
	if err != nil {
		return err
	}
	a, err := offline.OpenAccounts(cmd.Context(), url, d.log.Logger(os.Stderr))
	if err != nil {
		return err
	}
	return errors.Join(do(a), a.Close())
}

func adminCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "admin", Short: "Administer accounts and keys, also while a server runs", Args: settings.NoArguments}
	cmd.AddCommand(adminCreate(), adminReset(), adminList(), adminRotateKey())
	return cmd
}

func adminCreate() *cobra.Command {
	var d databaseFlags
	var email, name, role string
	var fromStdin bool
	cmd := &cobra.Command{
		Use: "create", Short: "Make an account", Args: settings.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return d.accounts(cmd, func(people *offline.Accounts) error {
				password, made, err := choosePassword(cmd.InOrStdin(), people, fromStdin)
				if err != nil {
					return err
				}
				u, err := people.Create(cmd.Context(), email, name, actor.Role(role), password)
				if err != nil {
					return err
				}
				return report(cmd.OutOrStdout(), "Made "+u.Email+" with the role "+u.Role+".", password, made)
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&email, "email", "", "address to sign in with")
	fs.StringVar(&name, "name", "", "name to show; empty: from the address")
	fs.Var(settings.OneOf(&role, "admin", "admin", "operator", "user"), "role", "admin, operator or user")
	fs.BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input; else one is made and printed once")
	d.register(fs)
	return settings.Required(settings.WithEnvironment(cmd), "email")
}

func adminReset() *cobra.Command {
	var d databaseFlags
	var email string
	var fromStdin bool
	cmd := &cobra.Command{
		Use: "reset", Short: "Give an account a new password and end its sessions", Args: settings.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return d.accounts(cmd, func(people *offline.Accounts) error {
				password, made, err := choosePassword(cmd.InOrStdin(), people, fromStdin)
				if err != nil {
					return err
				}
				u, err := people.ResetPassword(cmd.Context(), email, password)
				if err != nil {
					return err
				}
				return report(cmd.OutOrStdout(), "Reset the password of "+u.Email+". All its sessions have ended.", password, made)
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&email, "email", "", "address of the account")
	fs.BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input; else one is made and printed once")
	d.register(fs)
	return settings.Required(settings.WithEnvironment(cmd), "email")
}

const maxPasswordLine = 4096

func choosePassword(in io.Reader, people *offline.Accounts, fromStdin bool) (p secret.Text, made bool, err error) {
	if !fromStdin {
		p, err = people.NewPassword()
		return p, true, err
	}
	line, err := bufio.NewReader(io.LimitReader(in, maxPasswordLine)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return p, false, fmt.Errorf("read the password: %w", err)
	}
	return secret.New(strings.TrimRight(line, "\r\n")), false, nil
}

func report(out io.Writer, done string, password secret.Text, made bool) error {
	if !made {
		_, err := fmt.Fprintln(out, done)
		return err
	}
	_, err := fmt.Fprintf(out, "%s\nPassword, shown this once: %s\n", done, password.Reveal())
	return err
}

func adminList() *cobra.Command {
	var d databaseFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List the accounts", Args: settings.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return d.accounts(cmd, func(people *offline.Accounts) error {
				return listAccounts(cmd, people)
			})
		},
	}
	d.register(cmd.Flags())
	return settings.WithEnvironment(cmd)
}

func listAccounts(cmd *cobra.Command, people *offline.Accounts) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "EMAIL\tROLE\tSTATUS\tLAST SIGN-IN\tID")
	err := people.Each(cmd.Context(), func(u store.User) error {
		last := "never"
		if u.LastLoginAt != nil {
			last = u.LastLoginAt.Format(time.RFC3339)
		}
		_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", u.Email, u.Role, u.Status, last, u.ID)
		return err
	})
	return errors.Join(err, w.Flush())
}

func migrateCommand() *cobra.Command {
	var d databaseFlags
	var life settings.Life
	cmd := &cobra.Command{
		Use: "migrate", Short: "Bring the database to this program's schema; a server does so itself when it starts", Args: settings.NoArguments,
		Long: `Bring the database to this program's schema, as a server does itself when it
starts. A PostgreSQL that is away is waited for; the log says so.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			url, err := d.url()
			if err != nil {
				return err
			}
			v, err := migrate(cmd.Context(), url, d.log.Logger(os.Stderr), life.StartTimeout)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "The database has schema %d.\n", v)
			return err
		},
	}
	d.register(cmd.Flags())
	life.Register(cmd.Flags())
	return settings.WithEnvironment(cmd)
}

// migrate waits for a server that is away. A file that cannot be opened or
// written to is somebody's mistake, and waits for them.
func migrate(ctx context.Context, url string, log *slog.Logger, limit time.Duration) (version int64, err error) {
	if strings.HasPrefix(url, "sqlite:") {
		return offline.Migrate(ctx, url, log)
	}
	err = process.Await(ctx, log, limit, func(ctx context.Context) error {
		version, err = offline.Migrate(ctx, url, log)
		return err
	})
	return version, err
}

// Package settings is how KubeBYON's programs are told what to do: flags, each
// of which the environment may set too, with checks whose errors name the flag
// or the variable and never repeat a secret.
package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Every flag of this program may also be set by an environment variable: the
// flag --http-addr by KUBEBYON_HTTP_ADDR. A flag that was given wins. A flag
// whose usage ends in secretNote may also be given as the name of a file, in
// the variable with _FILE behind its name.
const (
	envPrefix  = "KUBEBYON_"
	secretNote = " (secret)"
)

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnvironment sets the flags that were not given from the environment. Its
// errors name the variable and never a secret's value.
func fromEnvironment(cmd *cobra.Command) error {
	var errs []error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "help" {
			return
		}
		if err := setFromEnvironment(f); err != nil {
			errs = append(errs, err)
		}
	})
	return errors.Join(errs...)
}

func setFromEnvironment(f *pflag.Flag) error {
	name := envName(f.Name)
	value := os.Getenv(name) // an empty variable is as good as none
	isSecret := strings.HasSuffix(f.Usage, secretNote)
	if file := os.Getenv(name + "_FILE"); file != "" && isSecret {
		if value != "" {
			return fmt.Errorf("%s and %s_FILE are both set, and nobody can tell which is meant: set one of them", name, name)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("%s_FILE: the file that it names cannot be read: %w", name, withoutPath(err))
		}
		value = strings.TrimRight(string(text), "\r\n")
	}
	if value == "" {
		return nil
	}
	if err := f.Value.Set(value); err != nil {
		if isSecret {
			return fmt.Errorf("%s: is not valid", name)
		}
		if f.Value.Type() == "bool" { // its own error repeats the value
			return fmt.Errorf("%s: must be true or false", name)
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	f.Changed = true
	return nil
}

// withoutPath leaves the reason of a failed read: for a path somebody may have
// given the secret itself.
func withoutPath(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Err
	}
	return err
}

// WithEnvironment lets the environment set the flags of cmd that were not given,
// and shows in the help which variable sets which.
func WithEnvironment(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			f.Usage = "[" + envName(f.Name) + "] " + f.Usage
		}
	})
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return fromEnvironment(cmd) }
	return cmd
}

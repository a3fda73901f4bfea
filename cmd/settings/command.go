package settings

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// WithoutValue says of a mistake on the command line what it is, and nothing of
// what was written in the wrong place: it may be a password, and errors end up
// in logs.
func WithoutValue(err error) error {
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

// NoArguments is cobra's, but does not repeat them.
func NoArguments(cmd *cobra.Command, arguments []string) error {
	if len(arguments) > 0 {
		return fmt.Errorf("%q takes no arguments but flags; see %s --help", cmd.CommandPath(), cmd.CommandPath())
	}
	return nil
}

// Required is cobra's, but a value from the environment counts. It follows
// WithEnvironment.
func Required(cmd *cobra.Command, flag string) *cobra.Command {
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if err := before(cmd, args); err != nil {
			return err
		}
		if !cmd.Flags().Changed(flag) {
			return fmt.Errorf("--%s is required", flag)
		}
		return nil
	}
	return cmd
}

package main

import "github.com/spf13/pflag"

// addFlags adds what every long-running command takes.
func (f *processFlags) addFlags(flags *pflag.FlagSet) {
	flags.IntVar(&f.lifeline, "lifeline-fd", noLifeline, "an inherited file descriptor; the process ends when it reads end of file")
	flags.IntVar(&f.logLevel, "log-level", 0, "verbosity of the log file, 0 to 5")
}

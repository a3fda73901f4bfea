package settings

import (
	"errors"
	"strconv"
	"time"

	"github.com/spf13/pflag"
)

// Life says how a process starts and stops.
type Life struct{ StartTimeout, ShutdownDelay time.Duration }

// Register adds the flag of every process.
func (l *Life) Register(fs *pflag.FlagSet) {
	seconds(fs, &l.StartTimeout, "start-timeout-seconds", "how long to wait at start for a database that is away; 0: for ever")
}

// RegisterServer adds the flags of one to which load balancers send requests.
func (l *Life) RegisterServer(fs *pflag.FlagSet) {
	l.Register(fs)
	seconds(fs, &l.ShutdownDelay, "shutdown-delay-seconds", "how long requests are still taken when readiness has gone, so that load balancers notice")
}

// seconds registers a flag that is a time, or none.
func seconds(fs *pflag.FlagSet, value *time.Duration, name, usage string) {
	fs.Var(&checked{text: "0", named: "number", set: func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 1_000_000_000 {
			return errors.New("must be a whole number of at least 0")
		}
		*value = time.Duration(n) * time.Second
		return nil
	}}, name, usage)
}

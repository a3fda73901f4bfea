package app

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// Config is what every deployment sets, whatever its backends. The zero value
// logs nothing and has the defaults of a small installation.
type Config struct {
	Log *slog.Logger

	// HTTP is how the API behaves at the edge. Its Begin is called about
	// Observe.Request, and its Ready beside what the platform itself looks for; its
	// Log and Random are the platform's.
	HTTP httpapi.Config

	// Name tells this process from all others that share the database; a process
	// that starts again under its old name has at once what it held before.
	// Empty: a random one.
	Name string

	// FirstAdmin is made at the first start. Without an address it is
	// admin@kubebyon.local.
	FirstAdmin FirstAdmin

	// LeaveJobs leaves the jobs to other processes, which get them from the same
	// broker; all else is done here too.
	LeaveJobs bool

	StartTimeout       time.Duration // for Start; default 2 min, negative: as long as it takes
	WorkerConcurrency  int           // jobs at once; default 4
	JobLease           time.Duration // default 60 s
	JobMaxAttempts     int           // default 8
	JobDeadline        time.Duration // for one attempt; default 5 min
	MaxWatchedClusters int           // by this process; default 2000
	MaxClustersPerUser int           // for those who are no admins; default 50

	// Observe is told what the platform does, for metrics and traces.
	Observe Observe

	// Now and Random are this process's clock and its source of unpredictable
	// bytes; nil: the system's. What is stored is dated by the store's clock, which
	// all processes have in common.
	Now    func() time.Time
	Random func(b []byte) error
}

// FirstAdmin is the account that the first start makes.
type FirstAdmin struct {
	Email    string
	Password secret.Text
	// HandOver is told the address and the password that was made up, this once,
	// just before the account is made; an error stops the start. It is not
	// called when Password was given or there is an administrator. Nil, and no
	// Password: no account is made.
	HandOver func(email string, password secret.Text) error
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.HTTP.Now == nil {
		c.HTTP.Now = c.Now // the system's, if it is nil too: finer, to time answers with
	}
	if c.Now == nil {
		c.Now = systemClock
	}
	if c.Random == nil {
		c.Random = systemRandom
	}
	if c.FirstAdmin.Email == "" {
		c.FirstAdmin.Email = "admin@kubebyon.local"
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = 2 * time.Minute
	}
	positive(&c.WorkerConcurrency, 4)
	positive(&c.JobLease, time.Minute)
	positive(&c.JobMaxAttempts, 8)
	positive(&c.JobDeadline, 5*time.Minute)
	positive(&c.MaxWatchedClusters, 2000)
	positive(&c.MaxClustersPerUser, 50)
	return c
}

// Edge is HTTP with Observe.Request within its Begin: for whoever answers before
// the platform does, or in its place.
func (c Config) Edge() httpapi.Config {
	edge := c.HTTP
	edge.Begin = c.HTTP.Begin.Around(c.Observe.Request)
	return edge
}

func positive[T int | time.Duration](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}

// systemClock reads UTC in milliseconds, the precision that is stored: a time
// compares equal before and after the store has had it.
func systemClock() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

func systemRandom(b []byte) error {
	if _, err := rand.Read(b); err != nil {
		return fmt.Errorf("read random bytes: %w", err)
	}
	return nil
}

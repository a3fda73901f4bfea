package settings

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/kubebyon/kubebyon/app"
)

// Jobs says how work on clusters is done.
type Jobs struct{ concurrency, lease, attempts, deadline, perUser int }

// Register adds the flags.
func (j *Jobs) Register(fs *pflag.FlagSet) {
	Count(fs, &j.concurrency, "worker-concurrency", 4, "how many clusters are worked on at once")
	Count(fs, &j.lease, "job-lease-seconds", 60, "after how long without news a job is taken from its worker")
	Count(fs, &j.attempts, "job-max-attempts", 8, "how often a job is tried after passing errors")
	Count(fs, &j.deadline, "job-deadline-seconds", 300, "how long one try may take; a control plane that is not ready by then is in error")
}

// RegisterQuota adds the flags of who may ask for jobs.
func (j *Jobs) RegisterQuota(fs *pflag.FlagSet) {
	Count(fs, &j.perUser, "max-clusters-per-user", 50, "how many clusters a user may have; admins have no limit")
}

// Deadline is how long one try may take.
func (j *Jobs) Deadline() time.Duration { return time.Duration(j.deadline) * time.Second }

// Apply sets them.
func (j *Jobs) Apply(c *app.Config) {
	c.WorkerConcurrency, c.JobMaxAttempts, c.MaxClustersPerUser = j.concurrency, j.attempts, j.perUser
	c.JobLease, c.JobDeadline = time.Duration(j.lease)*time.Second, j.Deadline()
}

package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/app/standard"
	"github.com/kubebyon/kubebyon/cmd/process"
	"github.com/kubebyon/kubebyon/cmd/settings"
)

// serveOptions are the flags of kubebyon serve.
type serveOptions struct {
	serverOptions
	backends settings.Backends
	life     settings.Life
}

func serveCommand() *cobra.Command {
	o := new(serveOptions)
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a server: PostgreSQL, RabbitMQ, control planes on a host Kubernetes",
		Long: `Run a server. Its state is in PostgreSQL; its control planes are vClusters that
Helm installs on a host Kubernetes. With RabbitMQ, jobs go to kubebyon-worker, of
which there may be any number; without, the server runs them itself. Any number
of servers may share one database, with one secret key.

The server listens at once. While the database is away it answers /healthz with
200, /readyz with 503 and all else with 503 and Retry-After; it comes up by
itself. A broker or a host Kubernetes that is away later stops nothing: /readyz
says "degraded", and jobs wait.

Each flag may be set by the environment variable in brackets, and a secret also
by a file that the variable with _FILE behind its name names.`,
		Args: settings.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	fs := cmd.Flags()
	o.register(fs, ":8080", "none is made, kubebyon admin create does so")
	o.backends.Register(fs)
	o.life.RegisterServer(fs)
	return settings.WithEnvironment(cmd)
}

func (o *serveOptions) run(ctx context.Context) (err error) {
	log := process.Logger(&o.log)
	name := process.Name()
	where := o.backends.Config(name, log)
	where.JobDeadline = o.jobs.Deadline()
	where.Host.LookOnly = o.backends.HasBroker() // what workers do needs rights that a server then does without
	if err := where.Check(); err != nil {
		return err
	}
	modules, err := standard.Modules(where)
	if err != nil {
		return err
	}
	watched, listener, err := o.open(ctx, log)
	if err != nil {
		return err
	}
	defer watched.Stop()
	conf := o.config(log, name, "vcluster", watched)
	conf.LeaveJobs, conf.StartTimeout = o.backends.HasBroker(), -1
	return process.Service{
		Log: log, HTTP: conf.Edge(), Limits: o.http.Limits(), Listener: listener,
		Build:        func() (*app.App, error) { return app.New(conf, modules) },
		Serve:        func(a *app.App) http.Handler { return a.Handler },
		Started:      func(a *app.App) { tell(ctx, log, a, "http://"+listener.Addr().String()) },
		StartTimeout: o.life.StartTimeout, ShutdownDelay: o.life.ShutdownDelay,
	}.Run(ctx)
}

// tell says that the server runs, and what to do when nobody can sign in.
func tell(ctx context.Context, log *slog.Logger, a *app.App, url string) {
	log.Info("KubeBYON is running", "url", url)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	there, err := a.Identity.HasAdmin(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		log.Warn("administrators not looked for", "err", err)
	}
	if err == nil && !there {
		log.Warn("nobody can sign in yet: make an administrator with kubebyon admin create --email ADDRESS, or set KUBEBYON_ADMIN_PASSWORD and start again")
	}
}

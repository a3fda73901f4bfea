// Kubebyon-worker runs the jobs that servers put into RabbitMQ, beside any
// number of others.
package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/app/standard"
	"github.com/kubebyon/kubebyon/cmd/process"
	"github.com/kubebyon/kubebyon/cmd/settings"
)

// Set by the linker; see the Makefile.
var (
	version = "dev"
	commit  = "unknown"
)

func main() { os.Exit(process.Main(root())) }

func build() process.Build {
	return process.Build{Name: "kubebyon-worker", Version: version, Commit: commit}
}

// options are the flags.
type options struct {
	log         settings.Log
	jobs        settings.Jobs
	backends    settings.Backends
	life        settings.Life
	healthAddr  string
	metricsAddr string
}

func root() *cobra.Command {
	o := new(options)
	cmd := build().Root("Run the jobs that KubeBYON's servers put into RabbitMQ")
	cmd.Long = `Run the jobs that servers put into RabbitMQ, and take a share of the watching of
control planes. Any number of workers may run beside any number of servers; they
are told the same database, broker, host Kubernetes and secret key. When a worker
dies, others go on with what it worked on.

A worker waits for a database or a broker that is away. When it is told to stop,
it gives its jobs back at once.

Each flag may be set by the environment variable in brackets, and a secret also
by a file that the variable with _FILE behind its name names.`
	cmd.Args = settings.NoArguments
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) }
	fs := cmd.Flags()
	o.backends.Register(fs)
	o.jobs.Register(fs)
	settings.Address(fs, &o.healthAddr, "health-addr", "", "where /healthz, /readyz and /version are answered; empty: nowhere")
	settings.Address(fs, &o.metricsAddr, "metrics-addr", "", "where Prometheus metrics are served; empty: nowhere")
	o.life.Register(fs)
	o.log.Register(fs)
	cmd = settings.WithEnvironment(cmd)
	cmd.AddCommand(build().VersionCommand())
	return cmd
}

var errNoBroker = errors.New("KUBEBYON_AMQP_URL is required: a worker takes its jobs from RabbitMQ; without one, kubebyon serve runs them itself")

func (o *options) run(ctx context.Context) (err error) {
	if !o.backends.HasBroker() {
		return errNoBroker
	}
	log := process.Logger(&o.log)
	name := process.Name()
	where := o.backends.Config(name, log)
	where.JobDeadline = o.jobs.Deadline()
	if err := where.Check(); err != nil {
		return err
	}
	modules, err := standard.Modules(where)
	if err != nil {
		return err
	}
	watched, err := process.Observe(ctx, log, o.metricsAddr, build(), httpapi.Limits{})
	if err != nil {
		return err
	}
	defer watched.Stop()
	var listener net.Listener
	if o.healthAddr != "" {
		if listener, err = process.Listen(ctx, o.healthAddr, "health-addr"); err != nil {
			return err
		}
	}
	conf := app.Config{Log: log, Name: name, StartTimeout: -1, HTTP: httpapi.Config{Version: build().API("vcluster")}}
	o.jobs.Apply(&conf)
	watched.Apply(&conf)
	return process.Service{
		Log: log, HTTP: conf.Edge(), Listener: listener,
		Build:        func() (*app.App, error) { return app.New(conf, modules) },
		Serve:        func(a *app.App) http.Handler { return process.Probes(conf, a) },
		Started:      func(*app.App) { log.Info("KubeBYON's worker is running", "name", name) },
		StartTimeout: o.life.StartTimeout,
	}.Run(ctx)
}

package main

import (
	"context"
	"log/slog"
	"net"

	"github.com/spf13/pflag"

	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/cmd/process"
	"github.com/kubebyon/kubebyon/cmd/settings"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// serverOptions are the flags of both kinds of server.
type serverOptions struct {
	log        settings.Log
	http       settings.HTTP
	jobs       settings.Jobs
	adminEmail string
	adminPass  string
}

// register adds the flags; noPassword is what becomes of the first administrator
// when there is none.
func (o *serverOptions) register(fs *pflag.FlagSet, addr, noPassword string) {
	o.http.Register(fs, addr)
	fs.StringVar(&o.adminEmail, "admin-email", "", "address of the first administrator; empty: admin@kubebyon.local")
	fs.StringVar(&o.adminPass, "admin-password", "", "password of the first administrator; empty: "+noPassword+" (secret)")
	o.jobs.Register(fs)
	o.jobs.RegisterQuota(fs)
	o.log.Register(fs)
}

// open begins to serve metrics and to send traces, which the caller stops, and
// takes the address of the API.
func (o *serverOptions) open(ctx context.Context, log *slog.Logger) (*process.Telemetry, net.Listener, error) {
	watched, err := process.Observe(ctx, log, o.http.MetricsAddr, build(), o.http.Limits())
	if err != nil {
		return nil, nil, err
	}
	listener, err := process.Listen(ctx, o.http.Addr, "http-addr")
	if err != nil {
		watched.Stop()
		return nil, nil, err
	}
	return watched, listener, nil
}

// config is that of a platform whose control planes backend runs.
func (o *serverOptions) config(log *slog.Logger, name, backend string, watched *process.Telemetry) app.Config {
	c := app.Config{
		Log: log, Name: name, HTTP: o.http.Config(build().API(backend)),
		FirstAdmin: app.FirstAdmin{Email: o.adminEmail, Password: secret.New(o.adminPass)},
	}
	o.jobs.Apply(&c)
	watched.Apply(&c)
	return c
}

package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/app/dev"
	"github.com/kubebyon/kubebyon/cmd/process"
	"github.com/kubebyon/kubebyon/cmd/settings"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// devOptions are the flags of kubebyon dev.
type devOptions struct {
	serverOptions
	dataDir    string
	database   string
	secretKey  string
	localplane string
	planeBind  string
	planeHost  string
}

func devCommand() *cobra.Command {
	o := new(devOptions)
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine, with nothing installed",
		Long: `Run the whole platform on this machine: SQLite, messages inside the process,
and real Kubernetes control planes as child processes. All state is in the data
folder and survives a restart.`,
		Args: settings.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	fs := cmd.Flags()
	fs.StringVar(&o.dataDir, "data-dir", "./data", "where all state is kept")
	fs.StringVar(&o.database, "database-url", "", "postgres://… or sqlite:PATH; empty: SQLite in the data folder (secret)")
	fs.StringVar(&o.secretKey, "secret-key", "", "32 bytes in base64 or hex; empty: a key file in the data folder (secret)")
	fs.StringVar(&o.localplane, "localplane", defaultLocalplane(), "the kubebyon-localplane program")
	fs.StringVar(&o.planeBind, "plane-bind-address", "127.0.0.1", "the address that control planes listen on; 0.0.0.0 lets other machines join")
	fs.StringVar(&o.planeHost, "plane-host", "127.0.0.1", "the name or address under which clients and machines find the control planes")
	o.register(fs, "127.0.0.1:8080", "one is made and shown once")
	return settings.WithEnvironment(cmd)
}

// defaultLocalplane is beside this program, where make build leaves it.
func defaultLocalplane() string {
	self, err := os.Executable()
	if err != nil {
		return "kubebyon-localplane"
	}
	return filepath.Join(filepath.Dir(self), "kubebyon-localplane")
}

func (o *devOptions) run(ctx context.Context, out io.Writer) (err error) {
	log := process.Logger(&o.log)
	release, err := dev.Prepare(o.dataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	watched, listener, err := o.open(ctx, log)
	if err != nil {
		return err
	}
	defer watched.Stop()
	hello := &greeting{out: out, url: "http://" + listener.Addr().String(), dataDir: o.dataDir, email: o.adminEmail}
	a, err := o.build(log, hello, watched)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer func() { err = errors.Join(err, process.Stop(ctx, a)) }()
	if err := a.Start(ctx); err != nil {
		return errors.Join(err, listener.Close())
	}
	return process.Serve(ctx, log, a, o.http.Limits(), listener, hello.print)
}

func (o *devOptions) build(log *slog.Logger, hello *greeting, watched *process.Telemetry) (*app.App, error) {
	modules, err := dev.Modules(dev.Config{
		DataDir: o.dataDir, DatabaseURL: o.database, SecretKey: secret.New(o.secretKey),
		Localplane: o.localplane, PlaneBind: o.planeBind, PlaneHost: o.planeHost, Log: log, Now: time.Now,
	})
	if err != nil {
		return nil, err
	}
	conf := o.config(log, "dev", "dev", watched)
	conf.FirstAdmin.HandOver = hello.keepPassword
	return app.New(conf, modules)
}

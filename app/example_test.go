package app_test

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/app/dev"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// yard runs control planes on machines of our own.
type yard struct{}

func (yard) Apply(context.Context, provision.Want) error { return nil }

func (yard) Observe(_ context.Context, c id.Cluster) (provision.Observed, error) {
	return provision.Observed{Phase: provision.Ready, Endpoint: "https://" + c.String() + ".yard.example:6443", Port: 6443}, nil
}

func (y yard) Await(ctx context.Context, c id.Cluster, seen provision.Observed) (provision.Observed, error) {
	if now, err := y.Observe(ctx, c); err != nil || now != seen {
		return now, err
	}
	<-ctx.Done()
	return seen, ctx.Err()
}

func (yard) Destroy(context.Context, id.Cluster) error { return nil }

func (yard) Kubeconfig(context.Context, id.Cluster) (secret.Text, error) {
	return secret.New("apiVersion: v1\nkind: Config\n"), nil
}

func (yard) Versions() []provision.Version { return []provision.Version{{Name: "v1.36.3"}} }

// A platform inside another program, on that program's machines.
func Example_embed() {
	backends, err := dev.Modules(dev.Config{DataDir: "./data", Log: slog.Default(), Now: time.Now})
	if err != nil {
		log.Fatal(err)
	}
	p, err := app.New(app.Config{Log: slog.Default()},
		backends, // SQLite, messages inside the process,
		app.Replace[provision.Provisioner](yard{}), // but our machines
		app.Replace[provision.Catalog](yard{}),
	)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if err := p.Start(ctx); err != nil {
		log.Fatal(err)
	}
	defer func() { _ = p.Stop(ctx) }()
	log.Print(http.ListenAndServe("127.0.0.1:8080", p.Handler))
}

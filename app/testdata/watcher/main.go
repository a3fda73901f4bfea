// The watcher is a whole platform process whose control planes are somebody
// else's: app/fleet_test.go runs it to measure what a process occupies that
// follows many tenants. It links what kubebyon serve links.
//
// It prints its URL and runs until its standard input ends, so that it does not
// outlive whoever started it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"go.uber.org/fx"
	_ "helm.sh/helm/v3/pkg/action" // for its weight

	"github.com/kubebyon/kubebyon/adapters/argonpass"
	"github.com/kubebyon/kubebyon/adapters/bunstore"
	"github.com/kubebyon/kubebyon/adapters/gobus"
	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/kubetenant"
	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/app/outside"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/passwords"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/seal"
)

func main() {
	database := flag.String("database", "", "the database URL")
	name := flag.String("name", "", "of this process")
	planes := flag.String("planes", "", "a file with the kubeconfig of each cluster, in JSON")
	flag.Parse()
	if err := run(context.Background(), *database, *name, *planes); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, database, name, planes string) error {
	text, err := os.ReadFile(planes)
	if err != nil {
		return err
	}
	there := fleet{}
	if err := json.Unmarshal(text, &there); err != nil {
		return err
	}
	hasher, err := argonpass.New(1)
	if err != nil {
		return err
	}
	others, err := outside.Modules(outside.Config{})
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	a, err := app.New(
		app.Config{Name: name, Log: log, HTTP: httpapi.Config{AuthLimit: httpapi.Limit{Window: time.Second, Burst: 100, MaxEntries: 100}}},
		fx.Supply(bunstore.Config{URL: database}), bunstore.Module, gobus.Module, kubetenant.Module(kubetenant.Config{}),
		app.Use[provision.Provisioner](there), app.Use[provision.Catalog](there),
		app.Use[seal.Sealer](keyseal.New([32]byte{1})), app.Use[passwords.Hasher](hasher), others,
	)
	if err != nil {
		return err
	}
	if err := a.Start(ctx); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := httpapi.NewServer(a.Handler, log, httpapi.Limits{})
	go func() { _ = srv.Serve(l) }()
	fmt.Println("http://" + l.Addr().String())
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = srv.Close()
	return a.Stop(ctx)
}

// fleet is control planes that are all up, with their kubeconfigs.
type fleet map[string]string

func (fleet) Apply(context.Context, provision.Want) error { return nil }

func (f fleet) Observe(_ context.Context, c id.Cluster) (provision.Observed, error) {
	if f[c.String()] == "" {
		return provision.Observed{Phase: provision.Absent}, nil
	}
	return provision.Observed{Phase: provision.Ready, Endpoint: "https://127.0.0.1:6443", Port: 6443, Incarnation: "1"}, nil
}

func (f fleet) Await(ctx context.Context, _ id.Cluster, seen provision.Observed) (provision.Observed, error) {
	<-ctx.Done()
	return seen, ctx.Err()
}

func (fleet) Destroy(context.Context, id.Cluster) error { return nil }

func (f fleet) Kubeconfig(_ context.Context, c id.Cluster) (secret.Text, error) {
	if f[c.String()] == "" {
		return secret.Text{}, fault.NotFound.New("cluster_not_found", "There is no such control plane.")
	}
	return secret.New(f[c.String()]), nil
}

func (fleet) Versions() []provision.Version { return []provision.Version{{Name: "v1.36.3"}} }

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/kubebyon/kubebyon/app/dev"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// greeting is what a person reads when the server has started: where it is, who
// may enter, and what to try.
type greeting struct {
	out      io.Writer
	url      string
	dataDir  string
	email    string
	password secret.Text // of the first start only
}

// keepPassword writes the first administrator's password where only the owner
// of the data folder can read it.
func (g *greeting) keepPassword(email string, password secret.Text) error {
	g.email, g.password = email, password
	f, err := os.OpenFile(dev.PasswordFile(g.dataDir), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("keep the first administrator's password: %w", err)
	}
	if _, err := fmt.Fprintln(f, password.Reveal()); err != nil {
		return fmt.Errorf("keep the first administrator's password: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("keep the first administrator's password: %w", err)
	}
	return f.Close()
}

const firstSteps = `
KubeBYON is running at %[1]s (the API and how to use it: %[1]s/docs)

`

const firstStart = `  administrator   %s
  password        %s
                  shown this once; it is also in %s

`

const nextCommands = `Try, in another terminal:

  1. sign in
     umask 077; printf '{"email":"%%s","password":"%%s"}' '%[2]s' "$(cat %[3]s)" |
       curl -sf -c cookies.txt -H 'Content-Type: application/json' %[1]s/api/auth/login -d @-

  2. create a cluster
     curl -sf -b cookies.txt -H 'Content-Type: application/json' %[1]s/api/console/clusters -d '{"name":"demo"}'

  3. get its kubeconfig, some seconds later; ID is the "id" that command 2 answered
     printf '{"password":"%%s"}' "$(cat %[3]s)" |
       curl -sf -b cookies.txt -H 'Content-Type: application/json' '%[1]s/api/console/clusters/ID/kubeconfig?download=1' -d @- \
       > demo.kubeconfig && kubectl --kubeconfig demo.kubeconfig get namespaces

`

func (g *greeting) print() {
	_, _ = fmt.Fprintf(g.out, firstSteps, g.url)
	file := dev.PasswordFile(g.dataDir)
	if !g.password.IsZero() {
		_, _ = fmt.Fprintf(g.out, firstStart, g.email, g.password.Reveal(), file)
	}
	if g.email == "" {
		g.email = "admin@kubebyon.local"
	}
	if abs, err := filepath.Abs(file); err == nil {
		file = abs
	}
	if _, err := os.Stat(file); err == nil {
		_, _ = fmt.Fprintf(g.out, nextCommands, g.url, g.email, file)
	}
}

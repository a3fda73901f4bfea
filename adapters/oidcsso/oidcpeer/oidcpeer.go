// Package oidcpeer runs an OpenID provider for tests, in a process of its own:
// zitadel/oidc's, with a login page. The process is the test binary, started
// once more, so TestMain begins with [Main].
package oidcpeer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
)

// Config is what the provider knows.
type Config struct {
	Clients []Client
	People  []storage.User // ID, Username, Password, FirstName, LastName, Email, EmailVerified
}

// Client may send browsers to the provider.
type Client struct {
	ID, Secret   string
	RedirectURLs []string
}

// Peer is a running provider. It ends with its test.
type Peer struct {
	Issuer string
	cmd    *exec.Cmd
}

// environment holds the Config of a process that is to be a provider.
const environment = "KUBEBYON_TEST_OIDC_PEER"

// Start returns when the provider listens.
func Start(t testing.TB, c Config) *Peer {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0])
	cmd.Env = append(os.Environ(), environment+"="+string(text))
	cmd.Stderr = os.Stderr
	life, err := cmd.StdinPipe() // it ends when this does, so also with a test that is killed
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &Peer{cmd: cmd}
	t.Cleanup(func() {
		p.Kill()
		_ = life.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the OpenID provider did not start; does TestMain call oidcpeer.Main? %v", err)
	}
	p.Issuer = strings.TrimSpace(line)
	return p
}

// Kill ends the provider at once.
func (p *Peer) Kill() { _ = p.cmd.Process.Kill() }

// Freeze lets the provider take connections and do nothing with them.
func (p *Peer) Freeze() { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }

// Main is the provider in a process that Start started, and does not return
// there. In every other it does nothing.
func Main() {
	text, isPeer := os.LookupEnv(environment)
	if !isPeer {
		return
	}
	if err := serve(text, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "OpenID provider:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(text string, life io.Reader, out io.Writer) error {
	var c Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // for as long as the process
	if err != nil {
		return err
	}
	clients := map[string]*storage.Client{}
	for _, k := range c.Clients {
		clients[k.ID] = storage.WebClient(k.ID, k.Secret, k.RedirectURLs...)
	}
	issuer := "http://" + l.Addr().String()
	handler := exampleop.SetupServer(issuer, storage.NewStorageWithClients(people(c.People), clients), slog.New(slog.DiscardHandler), false)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, life)
		_ = server.Close()
	}()
	if _, err := fmt.Fprintln(out, issuer); err != nil {
		return err
	}
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// people implements storage.UserStore.
type people []storage.User

func (p people) GetUserByID(id string) *storage.User {
	return p.find(func(u storage.User) bool { return u.ID == id })
}

func (p people) GetUserByUsername(name string) *storage.User {
	return p.find(func(u storage.User) bool { return u.Username == name })
}

func (p people) find(is func(storage.User) bool) *storage.User {
	for i := range p {
		if is(p[i]) {
			return &p[i]
		}
	}
	return nil
}

func (people) ExampleClientID() string { return storage.ServiceUserID }

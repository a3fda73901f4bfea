// Package acceptance_test holds the programs to what is promised of them
// together: kubebyon serve, kubebyon-worker, PostgreSQL, RabbitMQ and a host
// Kubernetes, each a process of its own that can be killed or cut off.
package acceptance_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// programs are this module's as TestMain has built them, with the race detector
// when the tests have it: a race ends a program with exit code 66.
var programs struct{ server, worker string } //nolint:gochecknoglobals // set once, by TestMain

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "kubebyon-acceptance-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	programs.server, programs.worker = build(dir, "kubebyon"), build(dir, "kubebyon-worker")
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

func build(dir, name string) string {
	at := filepath.Join(dir, name)
	args := []string{"build", "-o", at}
	if raceEnabled {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(context.Background(), "go", append(args, "../"+name)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		panic(err)
	}
	return at
}

// missing ends a test that lacks something: in CI with a failure.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// localplane is the program that make test has built.
func localplane(t testing.TB) string {
	t.Helper()
	path := os.Getenv("KUBEBYON_LOCALPLANE")
	if path == "" {
		path = filepath.Join("..", "..", "bin", "kubebyon-localplane")
	}
	path, err := filepath.Abs(path)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		missing(t, "kubebyon-localplane is not built: run make build")
	}
	return path
}

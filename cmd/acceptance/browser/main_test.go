// Package browser_test holds the program to what browsers make of it: which pages
// may sign in, read and write, with whose cookie. A real Chromium asks a real
// kubebyon, over http and https, from pages of the same origin, of the same
// site, of another site, listed and not.
package browser_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// shared is what all tests use together.
var shared struct { //nolint:gochecknoglobals // set once, by TestMain
	missing  string // what is not here, so that nothing else is
	chromium chromium
	net      *internet
	closed   *server // lists a console of the same site and one of another
	open     *server // lists "*" and the console of the same site
}

func TestMain(m *testing.M) {
	code := run(m)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "kubebyon-browser-")
	must(err)
	defer os.RemoveAll(dir)
	browser, plane := findChromium(), findLocalplane()
	switch {
	case browser == "":
		shared.missing = "there is no Chromium here: install it (apt-get install chromium)"
	case plane == "":
		shared.missing = "kubebyon-localplane is not built: run make build"
	}
	if shared.missing != "" {
		return m.Run()
	}
	shared.net = newInternet()
	shared.chromium.start(browser, dir, shared.net.key) // it comes up while the program is built
	program := build(dir)
	shared.closed = startServer(dir, program, plane, "closed",
		"KUBEBYON_AUTH_RATE_LIMIT_BURST=1000",
		"KUBEBYON_CORS_ALLOWED_ORIGINS="+join(secure("console.kubebyon.test"), plain("console.kubebyon.test"), secure("console.other.test"), plain("console.other.test")))
	shared.open = startServer(dir, program, plane, "open",
		"KUBEBYON_PUBLIC_BASE_URL="+secure("public.kubebyon.test"),
		"KUBEBYON_CORS_ALLOWED_ORIGINS="+join("*", secure("console.kubebyon.test")))
	for _, s := range []*server{shared.closed, shared.open} {
		defer s.stop()
		s.awaitReady()
	}
	shared.net.serve(shared.closed.addr, shared.open.addr)
	defer shared.net.close() // before the servers, which wait for those who ask
	defer shared.chromium.stop()
	return m.Run()
}

// require ends a test that lacks what all need: in CI with a failure.
func require(t *testing.T) {
	t.Helper()
	if shared.missing == "" {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal(shared.missing)
	}
	t.Skip(shared.missing)
}

// findLocalplane is where make build left the program that a kubebyon dev needs
// to start. No control plane is ever asked for.
func findLocalplane() string {
	path := os.Getenv("KUBEBYON_LOCALPLANE")
	if path == "" {
		path = filepath.Join("..", "..", "..", "bin", "kubebyon-localplane")
	}
	path, err := filepath.Abs(path)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return ""
	}
	return path
}

// build makes the program, with the race detector when the tests have it: a race
// ends it with exit code 66.
func build(dir string) string {
	at := filepath.Join(dir, "kubebyon")
	args := []string{"build", "-o", at}
	if raceEnabled {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(context.Background(), "go", append(args, "../../kubebyon")...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		panic(err)
	}
	return at
}

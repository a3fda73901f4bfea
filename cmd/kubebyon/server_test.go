package main_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/oidcsso/oidcpeer"
)

// requireProgram finds a program that make test has built.
func requireProgram(t testing.TB, env, name string) string {
	t.Helper()
	path := os.Getenv(env)
	if path == "" {
		path = filepath.Join("..", "..", "bin", name)
	}
	path, err := filepath.Abs(path)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not built: run make test", name)
		}
		t.Skipf("%s is not built: run make build", name)
	}
	return path
}

func place(t testing.TB, program, at string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, at); err != nil {
		t.Fatal(err)
	}
}

// server is a kubebyon dev that runs as a process of its own.
type server struct {
	addr, url string
	cmd       *exec.Cmd
	log       *tailBuffer
	exited    chan error
	done      bool
}

// program and workerProgram are this program and the worker as TestMain has built it, with the race detector when
// the tests have it: a race ends it with exit code 66.
var program, workerProgram string //nolint:gochecknoglobals // set once, by TestMain

func TestMain(m *testing.M) {
	oidcpeer.Main() // where this is the provider of another test
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "kubebyon-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	program, workerProgram = filepath.Join(dir, "kubebyon"), filepath.Join(dir, "kubebyon-worker")
	args := []string{"build", "-o", dir}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.CommandContext(context.Background(), "go", append(args, ".", "../kubebyon-worker")...)
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// startServer runs this program as its user does, until the test ends.
func startServer(t testing.TB, dataDir, plane string, flags ...string) *server {
	t.Helper()
	return startServerAt(t, freeAddress(t), dataDir, plane, flags...)
}

func startServerAt(t testing.TB, addr, dataDir, plane string, flags ...string) *server {
	t.Helper()
	s := launch(t, addr, dataDir, plane, flags...)
	s.log.awaitRunning(t, 30*time.Second)
	return s
}

// launch starts the program and does not wait for it.
func launch(t testing.TB, addr, dataDir, plane string, flags ...string) *server {
	t.Helper()
	s := &server{addr: addr, url: "http://" + addr, log: new(tailBuffer), exited: make(chan error, 1)}
	args := append([]string{"dev", "--data-dir", dataDir, "--http-addr", addr, "--localplane", plane, "--log-level", "debug"}, flags...)
	s.cmd = exec.CommandContext(context.Background(), program, args...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.exited <- s.cmd.Wait() }()
	t.Cleanup(func() { s.stop(t) })
	return s
}

// stop ends the server as its user does, unless it has ended already.
func (s *server) stop(t testing.TB) {
	t.Helper()
	if s.done {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	s.ended(t)
}

// ended waits for a server that has been told to stop.
func (s *server) ended(t testing.TB) {
	t.Helper()
	s.done = true
	select {
	case err := <-s.exited:
		if err != nil {
			t.Errorf("the server ended with %v:\n%s", err, s.log.tail())
		}
	case <-time.After(60 * time.Second):
		_ = s.cmd.Process.Kill()
		t.Errorf("the server did not stop in time:\n%s", s.log.tail())
	}
}

// kill ends the server as a power cut does.
func (s *server) kill(t testing.TB) {
	t.Helper()
	s.done = true
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.exited
}

// end waits for a server that is expected to give up, and returns what it said.
func (s *server) end(t testing.TB, within time.Duration) string {
	t.Helper()
	s.done = true
	select {
	case err := <-s.exited:
		if err == nil {
			t.Errorf("the server ended without an error:\n%s", s.log.tail())
		}
	case <-time.After(within):
		_ = s.cmd.Process.Kill()
		t.Errorf("the server did not give up within %v", within)
	}
	return s.log.tail()
}

// freeAddress is out of the range from which the system gives ports to clients:
// before anybody listens on it, and while nobody does, nobody else gets it.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000))
		if _, given := givenAddresses.LoadOrStore(addr, true); given {
			continue
		}
		if l, err := listen(t.Context(), addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

// givenAddresses are those that freeAddress gave to tests of this process.
var givenAddresses sync.Map //nolint:gochecknoglobals // tests run side by side

// tailBuffer keeps the end of what a program printed.
type tailBuffer struct {
	mu   sync.Mutex
	text []byte
	cond chan struct{}
}

const tailSize = 1 << 20

func (b *tailBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	if len(b.text) > tailSize {
		b.text = b.text[len(b.text)-tailSize:]
	}
	if b.cond != nil {
		close(b.cond)
		b.cond = nil
	}
	return len(p), nil
}

func (b *tailBuffer) tail() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}

// awaitRunning blocks until the server has said that it runs.
func (b *tailBuffer) awaitRunning(t testing.TB, within time.Duration) {
	t.Helper()
	const text = "KubeBYON is running at"
	late := time.After(within)
	for {
		b.mu.Lock()
		if bytes.Contains(b.text, []byte(text)) {
			b.mu.Unlock()
			return
		}
		if b.cond == nil {
			b.cond = make(chan struct{})
		}
		more := b.cond
		b.mu.Unlock()
		select {
		case <-more:
		case <-late:
			t.Fatalf("%q was not printed within %v:\n%s", text, within, b.tail())
		}
	}
}

// endHollowNodes stops the nodes that the walk left in the background.
func endHollowNodes(home string) {
	for _, p := range processes(home, "kubebyon-localplane node ") {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	}
}

func planesOf(home string) (left []string) {
	for _, p := range processes(home, "kubebyon-localplane tenant ") {
		left = append(left, p.args)
	}
	return left
}

type process struct {
	pid  int
	args string
}

// processes lists the living ones whose arguments hold both texts.
func processes(a, b string) (out []process) {
	dirs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range dirs {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		args := strings.ReplaceAll(string(raw), "\x00", " ")
		if !strings.Contains(args, a) || !strings.Contains(args, b) {
			continue
		}
		pid := 0
		for _, r := range strings.Split(file, "/")[2] {
			pid = pid*10 + int(r-'0')
		}
		out = append(out, process{pid, args})
	}
	return out
}

package main_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The walk of the README, run as it stands there: what it promises to a reader
// is true of the program, or this fails.
func TestREADMEWalk(t *testing.T) {
	t.Parallel()
	plane, kubectl := requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane"), requireProgram(t, "KUBEBYON_KUBECTL", "kubectl")
	home := t.TempDir()
	place(t, plane, filepath.Join(home, "bin", "kubebyon-localplane"))
	s := startServer(t, filepath.Join(home, "data"), plane)
	script := walk(t, s.url)
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(kubectl)+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	t.Cleanup(func() { endHollowNodes(home) })
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the walk ended with %v:\n%s\nthe server's log:\n%s", err, out, s.log.tail())
	}
	for _, want := range []string{"kube-system", "worker-1", "successfully rolled out", `"type":"joined"`, `"type":"ready"`, `"type":"cluster_create_requested"`, `"type":"node_drained"`} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("the walk's output lacks %s:\n%s", want, out)
		}
	}
	if left := planesOf(home); len(left) > 0 {
		t.Errorf("processes are left of a deleted cluster: %v", left)
	}
	if entries, err := filepath.Glob(filepath.Join(home, "data", "planes", "*", "cl_*")); err != nil || len(entries) > 0 {
		t.Errorf("files are left of a deleted cluster: %v %v", entries, err)
	}
}

var walkBlock = regexp.MustCompile("(?ms)^```sh walk\n(.*?)^```$")

// walk is every block of the README that is marked, as one script.
func walk(t *testing.T, url string) string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, m := range walkBlock.FindAllSubmatch(readme, -1) {
		b.WriteString(strings.ReplaceAll(string(m[1]), "http://127.0.0.1:8080", url))
	}
	if b.Len() == 0 {
		t.Fatal("the README has no blocks marked as its walk")
	}
	return b.String()
}

// requireProgram finds a program that make test has built.
func requireProgram(t *testing.T, env, name string) string {
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

func place(t *testing.T, program, at string) {
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
	url string
	cmd *exec.Cmd
	log *tailBuffer
}

var buildOnce = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "kubebyon-race-")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "kubebyon")
	args := []string{"build", "-o", program}
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.CommandContext(context.Background(), "go", append(args, ".")...).CombinedOutput()
	if err != nil {
		return "", &buildError{string(out), err}
	}
	return program, nil
})

type buildError struct {
	output string
	err    error
}

func (b *buildError) Error() string { return b.err.Error() + ": " + b.output }

// startServer runs this program as its user does. Under the race detector the
// program has it too, and a race ends it with exit code 66.
func startServer(t *testing.T, dataDir, plane string, flags ...string) *server {
	t.Helper()
	program, err := buildOnce()
	if err != nil {
		t.Fatalf("build kubebyon: %v", err)
	}
	addr := freeAddress(t)
	s := &server{url: "http://" + addr, log: new(tailBuffer)}
	args := append([]string{"dev", "--data-dir", dataDir, "--http-addr", addr, "--localplane", plane, "--log-level", "debug"}, flags...)
	s.cmd = exec.CommandContext(context.Background(), program, args...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- s.cmd.Wait() }()
	t.Cleanup(func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-exited:
			if err != nil && !strings.Contains(err.Error(), "killed") {
				t.Errorf("the server ended with %v:\n%s", err, s.log.tail())
			}
		case <-time.After(30 * time.Second):
			_ = s.cmd.Process.Kill()
			t.Errorf("the server did not stop in time:\n%s", s.log.tail())
		}
	})
	s.log.await(t, "KubeBYON is running at", 30*time.Second)
	return s
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

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

// await blocks until the program has printed text.
func (b *tailBuffer) await(t *testing.T, text string, within time.Duration) {
	t.Helper()
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
	for _, p := range processes(home, "kubebyon-localplane") {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	}
}

func planesOf(home string) (left []string) {
	for _, p := range processes(home, "tenant") {
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


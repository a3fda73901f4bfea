package acceptance_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program that a test starts, kills and starts again. Its methods
// are for one goroutine.
type process struct {
	name string
	path string
	args []string
	env  []string
	user string // to run as, when the test is root; empty: the test's own
	dir  string

	log    *tail // of all its lives
	cmd    *exec.Cmd
	exited chan error
}

func (p *process) start(t testing.TB) {
	t.Helper()
	if p.log == nil {
		p.log = new(tail)
		t.Cleanup(func() { p.kill(t) })
	}
	p.cmd = exec.CommandContext(context.Background(), p.path, p.args...)
	p.cmd.Env, p.cmd.Dir = p.env, p.dir
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.WaitDelay = 5 * time.Second // what it leaves behind may hold its output open
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: credential(t, p.user)}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	cmd, exited := p.cmd, make(chan error, 1)
	p.exited = exited
	go func() { exited <- cmd.Wait() }()
}

// credential is nil for the test's own user.
func credential(t testing.TB, name string) *syscall.Credential {
	t.Helper()
	if name == "" || os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		missing(t, fmt.Sprintf("there is no user %s to run a server as: install its Debian package", name))
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// kill ends the process and its children as a power cut does. One that has ended
// is left alone.
func (p *process) kill(t testing.TB) {
	t.Helper()
	if p.cmd == nil {
		return
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
	p.cmd = nil
}

// ended says how a process that nobody has killed came to its end.
func (p *process) ended() error {
	if p.cmd == nil {
		return nil
	}
	select {
	case err := <-p.exited:
		p.exited <- err
		return fmt.Errorf("%s ended by itself: %w\n%s", p.name, orNone(err), p.log.lines(5, ""))
	default:
		return nil
	}
}

// stop ends the process as its user does.
func (p *process) stop(t testing.TB, within time.Duration) {
	t.Helper()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-p.exited:
		p.cmd = nil
		if err != nil {
			t.Errorf("%s ended with %v:\n%s", p.name, err, p.log)
		}
	case <-time.After(within):
		t.Errorf("%s did not stop within %v:\n%s", p.name, within, p.log)
		p.kill(t)
	}
}

// tail keeps the end of what a process printed.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 2 << 20

func (b *tail) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	if over := len(b.text) - tailSize; over > 0 {
		b.text = append(b.text[:0], b.text[over:]...)
	}
	return len(p), nil
}

func (b *tail) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}

// lines returns those that hold any of the texts, the last n.
func (b *tail) lines(n int, texts ...string) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out [][]byte
	for line := range bytes.Lines(b.text) {
		for _, text := range texts {
			if bytes.Contains(line, []byte(text)) {
				out = append(out, line)
				break
			}
		}
	}
	return bytes.Join(out[max(0, len(out)-n):], nil)
}

// await repeats a look until it finds nothing wrong.
func await(ctx context.Context, within time.Duration, look func() error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := look()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %v: %w", within, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

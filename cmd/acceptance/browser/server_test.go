package browser_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	adminEmail    = "admin@browser.test"
	adminPassword = "correct horse battery staple"
)

// server is a kubebyon dev.
type server struct {
	addr string
	cmd  *exec.Cmd
	log  *lockedBuffer
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// startServer runs the program with a folder of its own.
func startServer(dir, program, plane, name string, settings ...string) *server {
	l := listen()
	addr := l.Addr().String()
	must(l.Close())
	s := &server{addr: addr, log: new(lockedBuffer)}
	s.cmd = exec.CommandContext(context.Background(), program, "dev", "--http-addr", addr, "--data-dir", filepath.Join(dir, name), "--localplane", plane)
	s.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GORACE=halt_on_error=1",
		"KUBEBYON_ADMIN_EMAIL=" + adminEmail, "KUBEBYON_ADMIN_PASSWORD=" + adminPassword,
		"KUBEBYON_TRUSTED_PROXY_CIDRS=" + trustedProxy + "/32",
	}, settings...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	must(s.cmd.Start())
	return s
}

// awaitReady waits until people can sign in.
func (s *server) awaitReady() {
	for limit := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		r, err := http.Get("http://" + s.addr + "/api/auth/providers")
		if err == nil {
			_ = r.Body.Close()
		}
		if err == nil && r.StatusCode == http.StatusOK {
			return
		}
		if time.Now().After(limit) {
			panic(fmt.Sprintf("the server does not come up: %v\n%s", err, s.log))
		}
	}
}

func (s *server) stop() {
	http.DefaultClient.CloseIdleConnections()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(30*time.Second, func() { _ = s.cmd.Process.Signal(syscall.SIGQUIT) }) // it says where it waits
	defer late.Stop()
	if err := s.cmd.Wait(); err != nil {
		panic(fmt.Sprintf("the server ended with %v\n%s", err, s.log))
	}
}

package planeprovision

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// start returns a Provisioner that tries again quickly and is stopped at the end.
func start(t *testing.T, c Config) *Provisioner {
	t.Helper()
	p := unstarted(t, c)
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, p) })
	return p
}

func unstarted(t *testing.T, c Config) *Provisioner {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	p.pace = pace{first: 10 * time.Millisecond, most: 100 * time.Millisecond, giveUp: 3, steady: time.Minute, share: 10 * time.Second, look: 50 * time.Millisecond, brief: time.Second}
	return p
}

func stop(t *testing.T, p *Provisioner) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func fresh(t *testing.T) *Provisioner {
	t.Helper()
	return start(t, config(filepath.Join(t.TempDir(), "planes")))
}

func order(t *testing.T, p *Provisioner, name, text string) (file string) {
	t.Helper()
	file = orders(p.config.Dir, name)
	write(t, file, text)
	return file
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, p *Provisioner, c id.Cluster, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.config.Dir, dataDir, c.String(), file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func pid(t *testing.T, o provision.Observed) int {
	t.Helper()
	_, text, _ := strings.Cut(o.Incarnation, "-")
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("incarnation %q holds no process: %v", o.Incarnation, err)
	}
	return n
}

func kill(t *testing.T, p *Provisioner, c id.Cluster) {
	t.Helper()
	if err := syscall.Kill(pid(t, p.look(c)), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func apply(t *testing.T, p *Provisioner, w provision.Want) {
	t.Helper()
	if err := p.Apply(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, p *Provisioner, c id.Cluster, phase provision.Phase) provision.Observed {
	t.Helper()
	return until(t, p, c, func(o provision.Observed) bool { return o.Phase == phase })
}

func until(t *testing.T, p *Provisioner, c id.Cluster, is func(provision.Observed) bool) provision.Observed {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	o, err := p.Observe(ctx, c)
	for err == nil && !is(o) {
		last := o
		if o, err = p.Await(ctx, c, o); err != nil {
			t.Fatalf("still %+v: %v", last, err)
		}
	}
	return o
}

// all is every cluster that is not absent.
func (p *Provisioner) all() []id.Cluster {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.planes))
}

func answers(address string) bool {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

func starting(p *Provisioner) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pl := range p.planes {
		if pl.seen.Phase == provision.Pending && pl.seen.Stage != provision.Queued {
			n++
		}
	}
	return n
}

func find(t *testing.T, dir, part string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.Contains(path, part) {
			found = append(found, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	return found
}

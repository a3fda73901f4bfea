package planeprovision

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
)

func TestKillOfTheParentEndsItsChildren(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	killTheParent(t, config(filepath.Join(t.TempDir(), "planes")), self)
}

// killTheParent has another process keep three planes, kills that, and takes
// its planes over. binary is the program that runs them.
func killTheParent(t *testing.T, c Config, binary string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "parent", c.Dir, binary)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	// It ends with this process too, should this one not come to kill it.
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var endpoints []string
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "all ready"; {
		endpoints = append(endpoints, lines.Text())
	}
	if len(endpoints) != 3 {
		t.Errorf("%d planes came up, want 3", len(endpoints))
	}
	for _, e := range endpoints {
		if !answers(e) {
			t.Errorf("%s does not answer while its parent lives", e)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	killed := time.Now()
	for _, e := range endpoints {
		for ; answers(e); time.Sleep(5 * time.Millisecond) {
			if time.Since(killed) > 5*time.Second {
				t.Fatalf("%s still answers after its parent was killed", e)
			}
		}
	}
	t.Logf("all gone %v after the kill", time.Since(killed))
	p := start(t, c)
	known := p.all()
	if len(known) != 3 {
		t.Errorf("%d planes are known to the next process, want 3", len(known))
	}
	for _, c := range known {
		if o := await(t, p, c, provision.Ready); !slices.Contains(endpoints, strings.TrimPrefix(o.Endpoint, "https://")) {
			t.Errorf("%s was not an endpoint before: %s", o.Endpoint, endpoints)
		}
	}
}

// A child of a process that was killed may take a while to see that, and writes
// files until then: nothing of a cluster that the next process removes may come
// back, and one that it keeps must not be an error.
func TestLingeringChildrenOfAKilledProcess(t *testing.T) {
	t.Parallel()
	c := config(filepath.Join(t.TempDir(), "planes"))
	write(t, orders(c.Dir, "all"), "linger")
	cmd := exec.Command(c.Binary, "parent", c.Dir, c.Binary)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "all ready"; {
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	p := start(t, c)
	known := p.all()
	if len(known) != 3 {
		t.Fatalf("%d planes are known to the next process, want 3", len(known))
	}
	var destroyed sync.WaitGroup
	for _, cluster := range known[:2] {
		destroyed.Go(func() {
			if err := p.Destroy(t.Context(), cluster); err != nil {
				t.Error(err)
			}
		})
	}
	destroyed.Wait()
	for o := (provision.Observed{}); o.Phase != provision.Ready; {
		if o, err = p.Await(t.Context(), known[2], o); err != nil {
			t.Fatal(err)
		}
		if o.Phase == provision.Failed {
			t.Errorf("the plane that is kept is shown as %+v", o)
		}
	}
	time.Sleep(500 * time.Millisecond) // longer than anybody lingers
	left, err := filepath.Glob(filepath.Join(c.Dir, "*", "*cl_*"))
	if err != nil || len(left) != 2 {
		t.Errorf("of three clusters, two of them removed, there is %v %v", left, err)
	}
}

func TestStopEndsChildrenAndStartBringsAllBack(t *testing.T) {
	t.Parallel()
	p := fresh(t)
	before := map[id.Cluster]provision.Observed{}
	for i := range byte(10) {
		want := wanted(i)
		apply(t, p, want)
		before[want.ID] = provision.Observed{}
	}
	for c := range before {
		before[c] = await(t, p, c, provision.Ready)
	}
	stop(t, p)
	for c, o := range before {
		if err := syscall.Kill(pid(t, o), 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d outlived Stop: %v", pid(t, o), err)
		}
		if after := p.look(c); after.Phase != provision.Pending {
			t.Errorf("stopped, and %+v", after)
		}
	}
	again := start(t, p.config)
	for c, o := range before {
		after := await(t, again, c, provision.Ready)
		if after.Endpoint != o.Endpoint || after.Incarnation == o.Incarnation {
			t.Errorf("%+v came back as %+v", o, after)
		}
	}
}

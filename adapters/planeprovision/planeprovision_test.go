package planeprovision

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/provision/provisiontest"
)

func TestProvisioner(t *testing.T) {
	t.Parallel()
	provisiontest.Run(t, provisiontest.Harness{
		New: func(t *testing.T) provision.Provisioner {
			return start(t, config(filepath.Join(t.TempDir(), "planes")))
		},
		Want:    provision.Want{KubernetesVersion: "v1.36.3"},
		Arrives: 20 * time.Second,
		Break: func(t *testing.T, p provision.Provisioner, name string) func() {
			file := order(t, p.(*Provisioner), name, "fail The store in it cannot be opened")
			return func() { _ = os.Remove(file) }
		},
		Kill: func(t *testing.T, p provision.Provisioner, c id.Cluster) { kill(t, p.(*Provisioner), c) },
		Restart: func(t *testing.T, p provision.Provisioner) provision.Provisioner {
			stop(t, p.(*Provisioner))
			return start(t, p.(*Provisioner).config)
		},
		OtherHost: "clusters.example.com",
	})
}

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

func TestOnlySoManyStartAtOnce(t *testing.T) {
	t.Parallel()
	c := config(filepath.Join(t.TempDir(), "planes"))
	c.MaxStarting = 2
	p := start(t, c)
	var most atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		for ctx.Err() == nil {
			rung := p.changed.C()
			most.Store(max(most.Load(), int32(starting(p))))
			select {
			case <-rung:
			case <-ctx.Done():
			}
		}
	})
	var all []id.Cluster
	for i := range byte(8) {
		want := wanted(i)
		order(t, p, want.Name, "slow")
		apply(t, p, want)
		all = append(all, want.ID)
	}
	for _, c := range all {
		await(t, p, c, provision.Ready)
	}
	cancel()
	watching.Wait()
	if n := most.Load(); n != 2 {
		t.Errorf("%d were starting at once, want 2", n)
	}
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

func TestHungStartsDoNotHoldOthersBack(t *testing.T) {
	t.Parallel()
	c := config(filepath.Join(t.TempDir(), "planes"))
	c.MaxStarting, c.ReadyTimeout = 1, time.Hour
	p := unstarted(t, c)
	p.pace.share = 100 * time.Millisecond
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, p) })
	hung, good := wanted(1), wanted(2)
	order(t, p, hung.Name, "hang")
	apply(t, p, hung)
	until(t, p, hung.ID, func(o provision.Observed) bool { return o.Stage == provision.WaitingControlPlane })
	apply(t, p, good)
	await(t, p, good.ID, provision.Ready)
}

func TestStagesAreShown(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	order(t, p, want.Name, "slow")
	apply(t, p, want)
	var stages []provision.Stage
	for o := (provision.Observed{}); o.Phase != provision.Ready; {
		var err error
		if o, err = p.Await(t.Context(), want.ID, o); err != nil {
			t.Fatal(err)
		}
		stages = append(stages, o.Stage)
	}
	got := fmt.Sprint(stages)
	if !strings.Contains(got, string(provision.StartingPlane)) || !strings.Contains(got, string(provision.WaitingControlPlane)) {
		t.Errorf("stages %s", got)
	}
}

func TestMissingProgramSaysWhatToDo(t *testing.T) {
	t.Parallel()
	c := config(t.TempDir())
	c.Binary = filepath.Join(t.TempDir(), "kubebyon-localplane")
	p := unstarted(t, c)
	want := "The local control plane program was not found at " + c.Binary + "; run make build."
	if err := p.Start(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v; want %q", err, want)
	}
	if err := p.Apply(t.Context(), wanted(1)); !errors.Is(err, fault.Unavailable) {
		t.Errorf("Apply: %v; want unavailable", err)
	}
	write(t, c.Binary, "#!/bin/sh\nexit 7\n")
	if err := os.Chmod(c.Binary, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err == nil || !strings.Contains(err.Error(), c.Binary) {
		t.Errorf("a program that does not answer: %v; want an error with its name", err)
	}
}

func TestProgramThatGoesAwayIsAFailure(t *testing.T) {
	t.Parallel()
	c := config(filepath.Join(t.TempDir(), "planes"))
	self := c.Binary
	c.Binary = filepath.Join(t.TempDir(), "localplane")
	if err := os.Symlink(self, c.Binary); err != nil {
		t.Fatal(err)
	}
	p, want := start(t, c), wanted(1)
	if err := os.Remove(c.Binary); err != nil {
		t.Fatal(err)
	}
	apply(t, p, want)
	if o := await(t, p, want.ID, provision.Failed); !strings.Contains(o.Reason, "run make build") {
		t.Errorf("reason %q", o.Reason)
	}
	if err := os.Symlink(self, c.Binary); err != nil {
		t.Fatal(err)
	}
	await(t, p, want.ID, provision.Ready) // by itself
}

func TestLateStartFailsAndIsTriedAgain(t *testing.T) {
	t.Parallel()
	c := config(filepath.Join(t.TempDir(), "planes"))
	c.ReadyTimeout = 2 * time.Second
	p, want := start(t, c), wanted(1)
	file := order(t, p, want.Name, "hang")
	apply(t, p, want)
	o := await(t, p, want.ID, provision.Failed)
	if !strings.Contains(o.Reason, "not ready within 2s") || !strings.Contains(o.Reason, "etcd_ready") {
		t.Errorf("reason %q; want the limit and the last stage", o.Reason)
	}
	write(t, file, "")
	apply(t, p, want)
	await(t, p, want.ID, provision.Ready)
}

func TestReasonOfTheChildIsShown(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	order(t, p, want.Name, "fail The store cannot be opened")
	apply(t, p, want)
	if o := await(t, p, want.ID, provision.Failed); o.Reason != "The store cannot be opened." {
		t.Errorf("reason %q", o.Reason)
	}
	if n := strings.Count(read(t, p, want.ID, "starts"), "start"); n < 3 {
		t.Errorf("given up after %d starts, want 3", n)
	}
}

func TestPanicOfTheChildIsShownWithoutSecrets(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	order(t, p, want.Name, "panic no luck with token: hunter2hunter2 and abcdef.0123456789abcdef")
	apply(t, p, want)
	o := await(t, p, want.ID, provision.Failed)
	if !strings.Contains(o.Reason, "exit status 2") || !strings.HasSuffix(o.Reason, "plane.log.") || len(o.Reason) > 1000 {
		t.Errorf("reason %q", o.Reason)
	}
	if strings.Contains(o.Reason, "hunter2") || strings.Contains(o.Reason, "0123456789abcdef") {
		t.Errorf("a secret is shown: %q", o.Reason)
	}
}

func TestCrashLoopFailsAndHeals(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	file := order(t, p, want.Name, "crash")
	apply(t, p, want)
	await(t, p, want.ID, provision.Failed)
	write(t, file, "")
	await(t, p, want.ID, provision.Ready) // by itself, in the end
}

func TestKilledChildIsPendingFirst(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	apply(t, p, want)
	before := await(t, p, want.ID, provision.Ready)
	order(t, p, want.Name, "hang")
	kill(t, p, want.ID)
	o := until(t, p, want.ID, func(o provision.Observed) bool { return o.Incarnation != "" && o.Incarnation != before.Incarnation })
	if o.Phase != provision.Pending || o.Endpoint != "" {
		t.Errorf("%+v; want it pending in another incarnation", o)
	}
}

func TestFloodedOutputDoesNoHarm(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	order(t, p, want.Name, "flood")
	apply(t, p, want)
	await(t, p, want.ID, provision.Ready)
}

func TestTakenPortIsNamedAndNeverChanged(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	apply(t, p, want)
	before := await(t, p, want.ID, provision.Ready)
	stop(t, p)
	other, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", before.Port))
	if err != nil {
		t.Fatal(err)
	}
	again := start(t, p.config)
	o := await(t, again, want.ID, provision.Failed)
	if !strings.Contains(o.Reason, fmt.Sprint("Port ", before.Port)) {
		t.Errorf("reason %q; want it to name port %d", o.Reason, before.Port)
	}
	other.Close()
	if after := await(t, again, want.ID, provision.Ready); after.Endpoint != before.Endpoint {
		t.Errorf("%s became %s", before.Endpoint, after.Endpoint)
	}
}

func TestNoPortIsGivenTwice(t *testing.T) {
	t.Parallel()
	c := config(filepath.Join(t.TempDir(), "planes"))
	c.PortFrom, c.PortTo = 19990, 19992
	p := start(t, c)
	ports := map[int]bool{}
	for i := range byte(3) {
		want := wanted(i)
		apply(t, p, want)
		ports[await(t, p, want.ID, provision.Ready).Port] = true
	}
	if len(ports) != 3 {
		t.Errorf("three planes on ports %v", ports)
	}
	last := wanted(4)
	if err := p.Apply(t.Context(), last); fault.CodeOf(err) != "no_free_port" {
		t.Errorf("a fourth on three ports: %v", err)
	}
	if o := p.look(last.ID); o.Phase != provision.Absent {
		t.Errorf("refused, and %+v", o)
	}
}

func TestLostDataIsNotMadeAgain(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(dir string) error{
		"removed":    os.RemoveAll,
		"emptied":    func(dir string) error { return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)) },
		"replaced":   func(dir string) error { return errors.Join(os.RemoveAll(dir), os.Symlink("/tmp", dir)) },
		"another CA": func(dir string) error { return os.Remove(filepath.Join(dir, "ca")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, want := fresh(t), wanted(1)
			apply(t, p, want)
			await(t, p, want.ID, provision.Ready)
			stop(t, p)
			if err := lose(filepath.Join(p.config.Dir, dataDir, want.ID.String())); err != nil {
				t.Fatal(err)
			}
			again := start(t, p.config)
			for range 2 {
				o := await(t, again, want.ID, provision.Failed)
				if !strings.Contains(o.Reason, "is gone") || !strings.Contains(o.Reason, "delete the cluster") {
					t.Errorf("reason %q", o.Reason)
				}
				apply(t, again, want) // which does not help, on purpose
			}
			await(t, again, want.ID, provision.Failed)
			if err := again.Destroy(t.Context(), want.ID); err != nil {
				t.Errorf("Destroy: %v", err)
			}
			if _, err := os.Stat("/tmp"); err != nil {
				t.Errorf("a link was followed: %v", err)
			}
		})
	}
}

func TestDataLostWhileRunningIsNoticed(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	apply(t, p, want)
	running := await(t, p, want.ID, provision.Ready)
	dir := filepath.Join(p.config.Dir, dataDir, want.ID.String())
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	await(t, p, want.ID, provision.Failed)
	if err := syscall.Kill(pid(t, running), 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the child runs on: %v", err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	await(t, p, want.ID, provision.Ready) // it was put back
}

func TestDestroyLeavesNoFile(t *testing.T) {
	t.Parallel()
	p, want, other := fresh(t), wanted(1), wanted(2)
	apply(t, p, want)
	apply(t, p, other)
	await(t, p, want.ID, provision.Ready)
	if err := p.Destroy(t.Context(), want.ID); err != nil {
		t.Fatal(err)
	}
	if left := find(t, p.config.Dir, want.ID.String()); len(left) != 0 {
		t.Errorf("left: %s", left)
	}
	if left := find(t, p.config.Dir, other.ID.String()); len(left) == 0 {
		t.Error("the other cluster's files are gone too")
	}
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

// TestInterruptedDestroyEnds builds what a crash in the middle of Destroy leaves.
func TestInterruptedDestroyEnds(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	apply(t, p, want)
	await(t, p, want.ID, provision.Ready)
	stop(t, p)
	record := filepath.Join(p.config.Dir, recordsDir, want.ID.String())
	if err := errors.Join(os.Rename(record+live, record+condemned), os.Remove(filepath.Join(p.config.Dir, dataDir, want.ID.String(), "ca"))); err != nil {
		t.Fatal(err)
	}
	again := start(t, p.config)
	await(t, again, want.ID, provision.Absent) // by itself
	if left := find(t, p.config.Dir, want.ID.String()); len(left) != 0 {
		t.Errorf("left: %s", left)
	}
}

// TestInterruptedCreationEnds builds what a crash in the middle of Apply leaves.
func TestInterruptedCreationEnds(t *testing.T) {
	t.Parallel()
	for name, crash := range map[string]func(f *folder, r record) error{
		"before the folder": func(*folder, record) error { return nil },
		"before the marker": func(f *folder, r record) error { return f.root.Mkdir(r.data(), 0o700) },
		"before the record": func(f *folder, r record) error {
			_, err := f.makeData(r)
			return errors.Join(err, f.write(r))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, want := config(filepath.Join(t.TempDir(), "planes")), wanted(1)
			f, err := openFolder(c.Dir)
			if err != nil {
				t.Fatal(err)
			}
			r := record{ID: want.ID, Port: 28000 + int(want.ID.String()[20])}
			r.take(want)
			if err := errors.Join(f.write(r), crash(f, r), f.close()); err != nil {
				t.Fatal(err)
			}
			await(t, start(t, c), want.ID, provision.Ready)
		})
	}
}

func TestDestroyLeavesAloneWhatItDidNotMake(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	apply(t, p, want)
	await(t, p, want.ID, provision.Ready)
	stop(t, p)
	dir := filepath.Join(p.config.Dir, dataDir, want.ID.String())
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "thesis.txt"), "years of work")
	again := start(t, p.config)
	if err := again.Destroy(t.Context(), want.ID); fault.CodeOf(err) != "data_not_ours" {
		t.Errorf("Destroy: %v; want it refused", err)
	}
	if o := again.look(want.ID); o.Phase != provision.Removing || !strings.Contains(o.Reason, dir) {
		t.Errorf("%+v; want it to say what blocks", o)
	}
	if text := read(t, again, want.ID, "thesis.txt"); text != "years of work" {
		t.Errorf("the file holds %q", text)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := again.Destroy(t.Context(), want.ID); err != nil {
		t.Errorf("Destroy, once it is moved away: %v", err)
	}
}

func TestSymbolicLinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	outside := t.TempDir()
	write(t, filepath.Join(outside, "precious"), "x")
	apply(t, p, want)
	await(t, p, want.ID, provision.Ready)
	dir := filepath.Join(p.config.Dir, dataDir, want.ID.String())
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := p.Destroy(t.Context(), want.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(outside, "precious")); err != nil {
		t.Errorf("what a link leads to was removed: %v", err)
	}
}

func TestFolderInTheWayIsNotTaken(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	if err := os.Mkdir(filepath.Join(p.config.Dir, dataDir, want.ID.String()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := p.Apply(t.Context(), want); fault.CodeOf(err) != "data_in_the_way" {
		t.Errorf("Apply: %v", err)
	}
	if err := p.Destroy(t.Context(), want.ID); err != nil {
		t.Errorf("Destroy: %v", err)
	}
	if _, err := os.Stat(filepath.Join(p.config.Dir, dataDir, want.ID.String())); err != nil {
		t.Errorf("the folder was removed: %v", err)
	}
}

func TestUnreadableRecordIsAFailure(t *testing.T) {
	t.Parallel()
	p, want, good := fresh(t), wanted(1), wanted(2)
	apply(t, p, want)
	apply(t, p, good)
	await(t, p, want.ID, provision.Ready)
	stop(t, p)
	write(t, filepath.Join(p.config.Dir, recordsDir, want.ID.String()+live), "{")
	write(t, filepath.Join(p.config.Dir, recordsDir, unfinished+"X"), "half")
	write(t, filepath.Join(p.config.Dir, recordsDir, "README"), "not a record")
	again := start(t, p.config)
	await(t, again, good.ID, provision.Ready)
	if o := await(t, again, want.ID, provision.Failed); !strings.Contains(o.Reason, "cannot be read") {
		t.Errorf("reason %q", o.Reason)
	}
	if err := again.Destroy(t.Context(), want.ID); err != nil {
		t.Errorf("Destroy: %v", err)
	}
	if _, err := os.Stat(filepath.Join(p.config.Dir, recordsDir, unfinished+"X")); err == nil {
		t.Error("what a crash left unfinished is still there")
	}
}

func TestOneProcessAtATime(t *testing.T) {
	t.Parallel()
	p := fresh(t)
	second := unstarted(t, p.config)
	if err := second.Start(t.Context()); fault.CodeOf(err) != "planes_in_use" {
		t.Errorf("a second process on the folder: %v", err)
	}
}

func TestDeafChildIsKilled(t *testing.T) {
	t.Parallel()
	c := config(filepath.Join(t.TempDir(), "planes"))
	c.StopGrace = time.Hour
	p, want, condemned := start(t, c), wanted(1), wanted(2)
	for _, w := range []provision.Want{want, condemned} {
		order(t, p, w.Name, "deaf")
		apply(t, p, w)
		await(t, p, w.ID, provision.Ready)
	}
	if err := p.Destroy(t.Context(), condemned.ID); err != nil {
		t.Errorf("Destroy: %v", err)
	}
	o := p.look(want.ID)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Stop took %v", took)
	}
	if err := syscall.Kill(pid(t, o), 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the child outlived Stop: %v", err)
	}
}

func TestChildGetsWhatItNeedsAndNoMore(t *testing.T) {
	t.Setenv("KUBEBYON_SECRET_KEY", "hunter2")
	t.Setenv("PGPASSWORD", "hunter2-of-the-database")
	p, one, two := fresh(t), wanted(1), wanted(2)
	two.Host, two.FormerHosts = "new.example.com", []string{"old.example.com", "127.0.0.1", "new.example.com"}
	apply(t, p, one)
	apply(t, p, two)
	for _, w := range []provision.Want{one, two} {
		await(t, p, w.ID, provision.Ready)
		if n, others := read(t, p, w.ID, "pipes"), inherited(t); n != strconv.Itoa(3+others) {
			t.Errorf("%s pipes, want 3 and %d of whoever started the test: its output, its errors and its own lifeline", n, others)
		}
		if strings.Contains(read(t, p, w.ID, "environment"), "hunter2") {
			t.Error("the environment holds this process's secrets")
		}
	}
	args := read(t, p, two.ID, "arguments")
	want := "--lifeline-fd 3 --name " + two.Name + " --host new.example.com --kubernetes-version v1.36.3 --san old.example.com --san 127.0.0.1 --unsafe-no-fsync"
	if !strings.HasSuffix(args, want) {
		t.Errorf("started with %q, want it to end in %q", args, want)
	}
}

// inherited counts the pipes that whoever started this process left open to it
// and to its children.
func inherited(t *testing.T) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		fd, _ := strconv.Atoi(e.Name())
		to, _ := os.Readlink("/proc/self/fd/" + e.Name())
		flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
		if fd > 3 && errno == 0 && flags&syscall.FD_CLOEXEC == 0 && strings.HasPrefix(to, "pipe:") {
			n++
		}
	}
	return n
}

func TestOnlyAnotherShapeRestarts(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	apply(t, p, want)
	before := await(t, p, want.ID, provision.Ready)
	want.CPURequestMilli, want.Public, want.PublicMode = 500, true, provision.LoadBalancer
	apply(t, p, want)
	if after := p.look(want.ID); after != before {
		t.Errorf("a change that matters nothing here turned %+v into %+v", before, after)
	}
	want.KubernetesVersion = "v1.35.0"
	apply(t, p, want)
	if o := p.look(want.ID); o.Phase != provision.Pending {
		t.Errorf("right after another version is wanted: %+v", o)
	}
	if after := await(t, p, want.ID, provision.Ready); after.Incarnation == before.Incarnation || after.Port != before.Port {
		t.Errorf("%+v became %+v; want another process on the same port", before, after)
	}
	if !strings.Contains(read(t, p, want.ID, "arguments"), "v1.35.0") {
		t.Error("it runs the former version")
	}
	stop(t, p)
	again := start(t, p.config)
	await(t, again, want.ID, provision.Ready)
	if !strings.Contains(read(t, again, want.ID, "arguments"), "v1.35.0") {
		t.Error("a restart forgot the version")
	}
}

func TestDestroyGoesOnWithoutItsCaller(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	order(t, p, want.Name, "deaf")
	apply(t, p, want)
	await(t, p, want.ID, provision.Ready)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.Destroy(ctx, want.ID); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Destroy: %v; want the context's error", err)
	}
	if err := p.Apply(t.Context(), want); !errors.Is(err, fault.Unavailable) {
		t.Errorf("Apply while it is removed: %v; want unavailable", err)
	}
	await(t, p, want.ID, provision.Absent)
}

func TestStoppedTakesNothing(t *testing.T) {
	t.Parallel()
	p, want := fresh(t), wanted(1)
	apply(t, p, want)
	stop(t, p)
	stop(t, p)
	for what, err := range map[string]error{
		"Apply": p.Apply(t.Context(), want), "Destroy": p.Destroy(t.Context(), want.ID), "Ping": p.Ping(t.Context()),
	} {
		if !errors.Is(err, fault.Unavailable) {
			t.Errorf("%s: %v; want unavailable", what, err)
		}
	}
	if err := p.Start(t.Context()); err == nil {
		t.Error("started twice")
	}
}

func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	p := fresh(t)
	var all sync.WaitGroup
	for i := range byte(4) {
		want := wanted(i)
		for j := range 4 {
			all.Go(func() {
				for range 3 {
					w := want
					w.Host = []string{"", "a.example.com"}[j%2]
					_ = p.Apply(t.Context(), w)
					_, _ = p.Kubeconfig(t.Context(), w.ID)
					_ = p.Destroy(t.Context(), w.ID)
				}
			})
		}
	}
	all.Wait()
	left := p.all()
	for _, c := range left {
		if err := p.Destroy(t.Context(), c); err != nil {
			t.Error(err)
		}
	}
	if found := find(t, p.config.Dir, "cl_"); len(found) != 0 {
		t.Errorf("%d planes and then %s left", len(left), found)
	}
}

func TestScrubKeepsSecretsOut(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("QUJD", 30)
	for in, secret := range map[string]string{
		"x -----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----\ny": "abc",
		"-----BEGIN EC PRIVATE KEY-----\nabc":                                    "abc",
		"join with abcdef.0123456789abcdef now":                                  "0123456789abcdef",
		`{"password": "hunter2hunter2"}`:                                         "hunter2",
		"Authorization: Bearer eyJhbGciOiJSUzI1":                                 "eyJhbGciOiJSUzI1",
		"data " + long:                                                           long,
		"x " + strings.Repeat("Q", 50) + "/" + strings.Repeat("R", 20):           strings.Repeat("R", 20),
		"x " + strings.Repeat("Q", 20) + "/" + strings.Repeat("R", 23) + "=":     strings.Repeat("R", 20),
		"abc\nEnd=\n-----END EC PRIVATE KEY-----\ny":                             "End",
		"dial postgres://app:pa55/w0rd@10.0.0.9:5432/x":                          "pa55/w0rd",
	} {
		if got := scrub(in); strings.Contains(got, secret) {
			t.Errorf("%q is left in %q", secret, got)
		}
	}
	const plain = "See /var/lib/kubebyon/data/planes/data/cl_06gztsazyqf7k8evke06ssc7c8/plane.log, port 16443 is taken."
	if got := scrub(plain); got != plain {
		t.Errorf("nothing secret, and it became %q", got)
	}
}

// A key whose beginning has been dropped does not look like one any more.
func TestATailShowsNoHalfOfAKey(t *testing.T) {
	t.Parallel()
	const begin, line, end = "-----BEGIN RSA PRIVATE KEY-----\n", "MHcCAQEEIJ0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQR", "lastpartofthekey=\n-----END RSA PRIVATE KEY-----\n"
	key := begin + line + "\n" + line + "\n" + end
	tried := 0
	for cut := range len(key) {
		last := &tail{}
		noise := strings.Repeat("as ever ", tailSize)[:tailSize-len(key)+cut]
		for _, b := range []string{key, noise} {
			_, _ = last.Write([]byte(b))
		}
		got := last.text()
		tried++
		for _, part := range []string{line[:12], line[26:38], line[52:], "lastpart"} {
			if strings.Contains(got, part) {
				t.Errorf("with %d bytes cut off, %q is left in %q", cut, part, got[:100])
			}
		}
		if !strings.Contains(got, "as ever as") {
			t.Errorf("with %d bytes cut off, nothing is left", cut)
		}
	}
	t.Logf("tried %d cuts", tried)
}

func TestLinesAreBounded(t *testing.T) {
	t.Parallel()
	var got []string
	l := &lines{each: func(b []byte) { got = append(got, string(b)) }}
	for _, piece := range []string{"a", "b\nc\n\n", strings.Repeat("x", 10<<10), strings.Repeat("x", 10<<10), "\nd", "\ne"} {
		if n, err := l.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
	}
	if s := strings.Join(got, " "); s != "ab c d" || string(l.last()) != "d" {
		t.Errorf("lines %q, last %q", s, l.last())
	}
}

func TestTailIsBounded(t *testing.T) {
	t.Parallel()
	last := &tail{}
	for i := range 3000 {
		fmt.Fprintf(last, "line %d\n", i)
	}
	fmt.Fprint(last, strings.Repeat("z ", 4000)+"\nthe end\n\n")
	if len(last.text()) > tailSize || last.lastLine() != "the end" {
		t.Errorf("%d bytes, ending in %q", len(last.text()), last.lastLine())
	}
}

func TestBadConfigIsRefused(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*Config){
		"no folder":    func(c *Config) { c.Dir = "" },
		"no program":   func(c *Config) { c.Binary = "" },
		"no log":       func(c *Config) { c.Log = nil },
		"no clock":     func(c *Config) { c.Now = nil },
		"no range":     func(c *Config) { c.PortFrom = 30000 },
		"high ports":   func(c *Config) { c.PortTo = 70000 },
		"host as flag": func(c *Config) { c.Host = "--dir" },
	} {
		c := config("x")
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

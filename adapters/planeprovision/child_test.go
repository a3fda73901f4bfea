package planeprovision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
)

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

// TestWhatAnAttemptFailedForIsSaidBeforeTheNext: long before all have failed.
func TestWhatAnAttemptFailedForIsSaidBeforeTheNext(t *testing.T) {
	t.Parallel()
	p, want := unstarted(t, config(filepath.Join(t.TempDir(), "planes"))), wanted(1)
	p.pace.first, p.pace.most = time.Hour, time.Hour
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, p) })
	file := order(t, p, want.Name, "fail The store in it cannot be opened")
	apply(t, p, want)
	o := until(t, p, want.ID, func(o provision.Observed) bool { return o.Waiting != "" })
	if o.Phase != provision.Pending || o.Waiting != "The store in it cannot be opened." {
		t.Errorf("got %+v", o)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	want.Host = "clusters.example.com"
	apply(t, p, want) // another is wanted, and nothing said of that yet
	if o := await(t, p, want.ID, provision.Ready); o.Waiting != "" {
		t.Errorf("got %+v", o)
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

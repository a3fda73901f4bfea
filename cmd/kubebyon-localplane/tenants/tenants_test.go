package tenants

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A program in the place of a plane: ready at once, or ending at once or never getting ready where
// its directory has a file of that name.
const program = `#!/bin/sh
while [ $# -gt 0 ]; do case $1 in --dir) dir=$2;; esac; shift; done
if [ -e "$dir/broken" ]; then echo '{"stage":"failed","reason":"The disk is full."}'; exit 1; fi
if [ -e "$dir/stuck" ]; then trap 'exit 0' TERM; while read -r _ <&3; do :; done; exit 0; fi
echo '{"stage":"ready"}'
echo started >>"$dir/starts"
trap 'exit 0' TERM
while read -r _ <&3; do :; done
`

type world struct {
	*Tenants
	dir  string
	news chan Name
}

func newWorld(t *testing.T) world { return impatient(t, 0) }

func impatient(t *testing.T, patience time.Duration) world {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, []byte(program), 0o700); err != nil {
		t.Fatal(err)
	}
	w := world{dir: filepath.Join(dir, "tenants"), news: make(chan Name, 100)}
	w.Tenants = New(Config{
		Program: path, Dir: w.dir, MaxStarting: 1, Patience: patience, Now: time.Now,
		Pause:   func(int) time.Duration { return 10 * time.Millisecond },
		Changed: func(n Name) { w.news <- n },
	})
	return w
}

func (w world) await(t *testing.T, n Name, is func(State) bool) State {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		if s := w.State(n); is(s) {
			return s
		}
		select {
		case <-w.news:
		case <-late:
			t.Fatalf("still %+v", w.State(n))
		}
	}
}

func in(p Phase) func(State) bool { return func(s State) bool { return s.Phase == p } }

func held(t *testing.T, w world) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(w.Wait)
	t.Cleanup(cancel)
	return ctx
}

func TestAPlaneRunsForAsLongAsSomebodyHoldsIt(t *testing.T) {
	t.Parallel()
	w, name := newWorld(t), Name{"ns", "acme"}
	ctx := held(t, w)
	for _, holder := range []string{"a", "b"} {
		if err := w.Hold(ctx, name, holder, Want{Name: "acme"}); err != nil {
			t.Fatal(err)
		}
	}
	running := w.await(t, name, in(Ready))
	if running.PID == 0 || running.Address == "" || len(w.Running()) != 1 {
		t.Errorf("running: %+v", running)
	}
	if !w.LetGo(name, "a") {
		t.Error("the plane runs for a's sake although b holds it")
	}
	if got := w.State(name); got.PID != running.PID {
		t.Errorf("the plane did not outlive its first holder: %+v", got)
	}
	if err := w.Forget(name); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(w.Dir(name)); err != nil {
		t.Errorf("the data of a running plane is gone: %v", err)
	}
	w.LetGo(name, "b")
	w.await(t, name, func(s State) bool { return s.Phase == Stopped && w.LetGo(name, "b") })
	if err := w.Forget(name); err != nil {
		t.Fatal(err)
	}
	if left, err := w.OnDisk(); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestAnotherWantIsAnotherProcessAtTheSameAddress(t *testing.T) {
	t.Parallel()
	w, name := newWorld(t), Name{"ns", "acme"}
	ctx := held(t, w)
	if err := w.Hold(ctx, name, "a", Want{Name: "acme"}); err != nil {
		t.Fatal(err)
	}
	first := w.await(t, name, in(Ready))
	if err := w.Hold(ctx, name, "a", Want{Name: "acme", SANs: []string{"new.example.org"}}); err != nil {
		t.Fatal(err)
	}
	second := w.await(t, name, func(s State) bool { return s.Phase == Ready && s.PID != first.PID })
	if second.Address != first.Address || second.Restarts != 0 {
		t.Errorf("first %+v, then %+v", first, second)
	}
}

func TestAPlaneThatEndsIsStartedAgainAndSaysWhy(t *testing.T) {
	t.Parallel()
	w, name := newWorld(t), Name{"ns", "acme"}
	ctx := held(t, w)
	broken := filepath.Join(w.Dir(name), "broken")
	if err := os.MkdirAll(w.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.Hold(ctx, name, "a", Want{}); err != nil {
		t.Fatal(err)
	}
	failed := w.await(t, name, func(s State) bool { return s.Phase == Failed && s.Restarts >= 2 })
	if failed.Reason != "The disk is full." {
		t.Errorf("failed: %+v", failed)
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	if got := w.await(t, name, in(Ready)); got.Restarts < 2 {
		t.Errorf("forgot its restarts: %+v", got)
	}
}

func TestAPlaneThatWaitsIsLetGoAtOnce(t *testing.T) {
	t.Parallel()
	w, name := newWorld(t), Name{"ns", "acme"}
	ctx := held(t, w)
	if err := w.Hold(ctx, name, "a", Want{Delay: time.Hour}); err != nil {
		t.Fatal(err)
	}
	w.await(t, name, in(Starting))
	w.LetGo(name, "a")
	w.await(t, name, in(Stopped))
	if _, err := os.Stat(filepath.Join(w.Dir(name), "starts")); err == nil {
		t.Error("it was started")
	}
}

// TestAPlaneThatNeverGetsReadyIsEnded: others wait for its place.
func TestAPlaneThatNeverGetsReadyIsEnded(t *testing.T) {
	t.Parallel()
	w, name := impatient(t, 300*time.Millisecond), Name{"ns", "acme"}
	ctx := held(t, w)
	stuck := filepath.Join(w.Dir(name), "stuck")
	if err := os.MkdirAll(w.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stuck, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.Hold(ctx, name, "a", Want{}); err != nil {
		t.Fatal(err)
	}
	failed := w.await(t, name, func(s State) bool { return s.Phase == Failed && s.Restarts >= 2 })
	if !strings.Contains(failed.Reason, "not ready within 300ms") || failed.PID != 0 {
		t.Errorf("failed: %+v", failed)
	}
	w.LetGo(name, "a")
	w.await(t, name, in(Stopped))
}

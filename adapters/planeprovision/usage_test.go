package planeprovision

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/kubebyon/kubebyon/ports/provision"
)

// stat is a line of /proc/PID/stat: times in hundredths of a second, memory in pages.
func stat(pid, parent int, name string, user, system, endedUser, endedSystem, began, pages int) string {
	return fmt.Sprintf("%d (%s) S %d 1 1 0 -1 4194560 100 0 0 0 %d %d %d %d 20 0 9 0 %d 1000000 %d 18446744073709551615 1 1\n",
		pid, name, parent, user, system, endedUser, endedSystem, began, pages)
}

func proc(uptime string, stats map[int]string) fstest.MapFS {
	files := fstest.MapFS{"uptime": {Data: []byte(uptime + " 1.00\n")}, "self/stat": {Data: []byte("none")}, "meminfo": {Data: []byte("none")}}
	for pid, s := range stats {
		files[fmt.Sprintf("%d/stat", pid)] = &fstest.MapFile{Data: []byte(s)}
	}
	return files
}

func TestWhatAChildHasStartedCounts(t *testing.T) {
	t.Parallel()
	m, err := readMachine(proc("100.00", map[int]string{
		1:  stat(1, 0, "init", 9000, 9000, 9000, 9000, 0, 90000),
		20: stat(20, 1, "kubebyon-localp", 100, 50, 7, 3, 5000, 512),
		21: stat(21, 20, "a (b) c) S 1", 10, 10, 0, 0, 5500, 256),
		22: stat(22, 21, "grandchild", 1, 2, 3, 4, 5600, 256),
		30: stat(30, 1, "stranger", 9000, 9000, 9000, 9000, 0, 90000),
		40: "40 (cut off) S 20 1",
		41: "41 (no numbers) S 20 a b c d e f g h i j k l m n o p q r s t u v w x",
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := process{parent: 1, began: 50 * time.Second, cpu: 1900 * time.Millisecond, memory: 1024 * int64(os.Getpagesize())}
	if got := m.tree(20); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := m.tree(99); got != (process{}) {
		t.Errorf("a process that is not there uses %+v", got)
	}
	for _, broken := range []fstest.MapFS{{}, proc("long", nil)} {
		if _, err := readMachine(broken); err == nil {
			t.Error("a machine that does not tell how long it is up is measured")
		}
	}
}

func TestProcessorsAreMeasuredBetweenReadings(t *testing.T) {
	t.Parallel()
	var m meter
	i := wanted(0).ID
	began := 10 * time.Second
	for n, step := range []struct {
		began, cpu, uptime time.Duration
		want               int64 // -1: not measured
	}{
		{began, 0, began, -1},                                            // just born
		{began, 2 * time.Second, 14 * time.Second, 500},                  // since it began
		{began, 2*time.Second + 30*time.Second, 74 * time.Second, 500},   // a minute later
		{began, 33 * time.Second, 74*time.Second + 100*1e6, 500},         // too soon to be told from noise
		{began, 33 * time.Second, 84 * time.Second, 100},                 // since the last reading that was one
		{began, 20 * time.Second, 94 * time.Second, 0},                   // what has ended took its time with it
		{95 * time.Second, 1 * time.Second, 96 * time.Second, 1000},      // another one
		{95 * time.Second, 121 * time.Second, 156 * time.Second, 2000},   // on two processors
		{95 * time.Second, 121 * time.Second, 1156 * time.Second, 0},     // idle
		{2000 * time.Second, 1 * time.Second, 1999 * time.Second, -1},    // a clock that makes no sense
		{1500 * time.Second, time.Second / 2, 1501 * time.Second, 500},   // and another one
		{1500 * time.Second, time.Second / 2, 1501*time.Second + 1, 500}, // asked again at once
	} {
		u, ok := m.measure(i, process{began: step.began, cpu: step.cpu, memory: 3 << 20}, step.uptime)
		if want := step.want; ok != (want >= 0) || ok && u != (provision.Usage{CPUMilli: want, MemoryMiB: 3}) {
			t.Errorf("step %d: got %+v, %v; want %d", n, u, ok, want)
		}
	}
	if _, ok := m.measure(i, process{}, time.Hour); ok {
		t.Error("a process that is not there is measured")
	}
	m.forget(nil)
	if len(m.last) > 0 {
		t.Error("what has gone is remembered")
	}
}

// TestRealProcessesAreMeasured has a child that does nothing and a grandchild
// that is busy.
func TestRealProcessesAreMeasured(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sh", "-c", "(while :; do :; done) & wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
	var m meter
	i := wanted(0).ID
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		now, err := readMachine(os.DirFS("/proc"))
		if err != nil {
			t.Fatal(err)
		}
		tree, alone := now.tree(cmd.Process.Pid), now.processes[cmd.Process.Pid]
		u, ok := m.measure(i, tree, now.uptime)
		if ok && tree.cpu > alone.cpu && u.CPUMilli > 0 {
			return
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("a busy process uses %+v, %v; the machine is up for %v", u, tree, now.uptime)
		}
	}
}

func TestAPlaneBetweenAttemptsHasNothingReady(t *testing.T) {
	t.Parallel()
	p := start(t, config(t.TempDir()+"/planes"))
	want := wanted(0)
	order(t, p, want.Name, "fail on purpose")
	if err := p.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	var u provision.Usage
	for start := time.Now(); time.Since(start) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
		all, err := p.Usage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if u = all[want.ID]; u == (provision.Usage{PodsTotal: 1}) {
			return
		}
	}
	t.Errorf("it uses %+v", u)
}

func TestNothingIsMeasuredOfWhatIsNotKept(t *testing.T) {
	t.Parallel()
	p, err := New(config(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if all, err := p.Usage(t.Context()); err == nil {
		t.Errorf("got %v before the start", all)
	}
}

func FuzzStat(f *testing.F) {
	f.Add([]byte(stat(20, 1, "kubebyon-localp", 100, 50, 7, 3, 5000, 512)))
	f.Add([]byte("20 (x) S"))
	f.Add([]byte(nil))
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = parseStat(text) })
}

package planeprovision

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// Usage implements provision.Meter with what Linux counts for the children and
// whatever they have started. What they use of the processors is since they were
// asked about the last time, and the first time since they began.
func (p *Provisioner) Usage(ctx context.Context) (map[id.Cluster]provision.Usage, error) {
	if runtime.GOOS != "linux" {
		return nil, provision.Unmeasured("Local control planes are measured on Linux only.")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.meter.mu.Lock()
	defer p.meter.mu.Unlock()
	out, running, err := p.inhabitants()
	if err != nil {
		return nil, err
	}
	now, err := readMachine(os.DirFS("/proc"))
	if err != nil {
		return nil, provision.Unmeasured("Local control planes are not measured, since /proc cannot be read.").Because(err)
	}
	p.meter.forget(running)
	for i, c := range running {
		u, ok := p.meter.measure(i, now.tree(c.pid()), now.uptime)
		if !ok || c.hasEnded() { // the number may be another process' by now
			delete(out, i)
			continue
		}
		u.PodsReady, u.PodsTotal = out[i].PodsReady, out[i].PodsTotal
		out[i] = u
	}
	return out, nil
}

// inhabitants returns every plane, as if it used nothing, and the children that
// run at the moment.
func (p *Provisioner) inhabitants() (all map[id.Cluster]provision.Usage, running map[id.Cluster]*child, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all, running = map[id.Cluster]provision.Usage{}, map[id.Cluster]*child{}
	for i, pl := range p.planes {
		u := provision.Usage{PodsTotal: 1}
		if pl.child != nil {
			running[i] = pl.child
			if pl.seen.Phase == provision.Ready {
				u.PodsReady = 1
			}
		}
		all[i] = u
	}
	return all, running, p.alive()
}

// inhabit says which child there is for the plane; nil: none.
func (pl *plane) inhabit(c *child) {
	pl.p.mu.Lock()
	defer pl.p.mu.Unlock()
	pl.child = c
}

func (c *child) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// meter remembers what planes had used when they were asked about.
type meter struct {
	mu   sync.Mutex
	last map[id.Cluster]reading
}

// reading is what a child had used by a moment of the machine's life.
type reading struct {
	began  time.Duration // when the child did: another one begins anew
	at     time.Duration
	cpu    time.Duration
	perMil int64 // that was told then
}

// briefest is how far apart two readings are that a rate is made from: the
// kernel counts in hundredths of a second.
const briefest = time.Second

func (m *meter) forget(running map[id.Cluster]*child) {
	maps.DeleteFunc(m.last, func(i id.Cluster, _ reading) bool { return running[i] == nil })
}

// measure reports false for what has not run long enough to be measured.
func (m *meter) measure(i id.Cluster, p process, uptime time.Duration) (u provision.Usage, ok bool) {
	was, known := m.last[i]
	if !known || was.began != p.began {
		was = reading{began: p.began, at: p.began}
	}
	now := reading{began: p.began, at: uptime, cpu: p.cpu}
	switch {
	case p.cpu == 0 && p.memory == 0, uptime <= p.began:
		return u, false // not there, or just born
	case uptime-was.at < briefest && was.at != was.began:
		now = was
	default:
		now.perMil = max(0, int64(p.cpu-was.cpu)) * 1000 / int64(uptime-was.at)
	}
	if m.last == nil {
		m.last = map[id.Cluster]reading{}
	}
	m.last[i] = now
	return provision.Usage{CPUMilli: now.perMil, MemoryMiB: (p.memory + 1<<19) >> 20}, true
}

// machine is what /proc tells at a moment.
type machine struct {
	uptime    time.Duration
	processes map[int]process
	children  map[int][]int
}

// process is one, or a tree of them.
type process struct {
	parent int
	began  time.Duration // since the machine did
	cpu    time.Duration // with what children used that have ended
	memory int64         // bytes that are in memory; what several share counts for each
}

func readMachine(proc fs.FS) (machine, error) {
	m := machine{processes: map[int]process{}, children: map[int][]int{}}
	entries, err := fs.ReadDir(proc, ".")
	if err != nil {
		return m, fmt.Errorf("list processes: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := fs.ReadFile(proc, e.Name()+"/stat")
		if err != nil {
			continue // it has ended meanwhile
		}
		if p, ok := parseStat(stat); ok {
			m.processes[pid] = p
			m.children[p.parent] = append(m.children[p.parent], pid)
		}
	}
	// Last, so that no process began after it.
	text, err := fs.ReadFile(proc, "uptime")
	if err != nil {
		return m, fmt.Errorf("read how long the machine has been up: %w", err)
	}
	first, _, _ := strings.Cut(string(text), " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return m, fmt.Errorf("read how long the machine has been up: %w", err)
	}
	m.uptime = time.Duration(seconds * float64(time.Second))
	return m, nil
}

// tick is the kernel's unit towards programs, on every processor that Go has.
const tick = 10 * time.Millisecond

// parseStat reads /proc/PID/stat; see proc_pid_stat(5). The name of the program
// may hold anything.
func parseStat(stat []byte) (p process, ok bool) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const state, parent, utime, cstime, starttime, rss = 3, 4, 14, 17, 22, 24
	if len(fields) <= rss-state {
		return p, false
	}
	ok = true
	number := func(field int) int64 {
		n, err := strconv.ParseInt(string(fields[field-state]), 10, 64)
		ok = ok && err == nil
		return n
	}
	p.parent, p.began, p.memory = int(number(parent)), time.Duration(number(starttime))*tick, number(rss)*int64(os.Getpagesize())
	for f := utime; f <= cstime; f++ { // utime, stime, cutime, cstime
		p.cpu += time.Duration(number(f)) * tick
	}
	return p, ok
}

// tree adds up a process and all that descend from it.
func (m machine) tree(pid int) process {
	sum := m.processes[pid]
	for _, c := range m.children[pid] {
		of := m.tree(c)
		sum.cpu += of.cpu
		sum.memory += of.memory
	}
	return sum
}

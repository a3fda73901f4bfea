package hostplane

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

// Linux counts processor time in these on every architecture Go runs on.
const ticksPerSecond = 100

const (
	// shortest is the time over which a rate is worth telling.
	shortest = time.Second
	// window is after how long a rate begins anew.
	window = 15 * time.Second
)

// usage is what a process used: processor time for each second of a window, and memory.
type usage struct {
	cpu    float64 // processors
	memory int64   // bytes
	at     time.Time
	window time.Duration
}

func (u usage) usage() map[string]string {
	return map[string]string{
		"cpu":    fmt.Sprintf("%dn", int64(u.cpu*1e9)),
		"memory": fmt.Sprintf("%dKi", u.memory/1024),
	}
}

// meter reads what processes use when somebody asks. Each rate is over the time since an earlier
// question, so that the first one of a process has no answer yet.
type meter struct {
	now  func() time.Time
	self int

	mu   sync.Mutex
	seen map[int]*readings
}

// readings of a process: the rate is between the older of them and the moment.
type readings struct {
	older, newer reading
}

type reading struct {
	ticks int64
	at    time.Time
}

func newMeter(now func() time.Time) *meter {
	return &meter{now: now, self: os.Getpid(), seen: map[int]*readings{}}
}

func (m *meter) of(pid int) (usage, bool) {
	if pid == 0 {
		return usage{}, false
	}
	ticks, memory, err := readProcess(pid)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		delete(m.seen, pid)
		return usage{}, false
	}
	now := reading{ticks: ticks, at: m.now()}
	r := m.seen[pid]
	if r == nil || ticks < r.older.ticks { // another process has the number
		m.seen[pid] = &readings{older: now, newer: now}
		return usage{}, false
	}
	if now.at.Sub(r.newer.at) >= window {
		r.older, r.newer = r.newer, now
	}
	over := now.at.Sub(r.older.at)
	if over < shortest {
		return usage{}, false
	}
	return usage{cpu: float64(ticks-r.older.ticks) / ticksPerSecond / over.Seconds(), memory: memory, at: now.at, window: over}, true
}

// readProcess gives a process's processor time in ticks, and its resident memory.
func readProcess(pid int) (ticks, memory int64, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The program's name, in parentheses, may hold spaces: count from its end.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const user, system, resident = 14 - 3, 15 - 3, 24 - 3
	if len(fields) <= resident {
		return 0, 0, fmt.Errorf("the statistics of process %d are short", pid)
	}
	for _, i := range []int{user, system} {
		n, err := strconv.ParseInt(string(fields[i]), 10, 64)
		if err != nil {
			return 0, 0, err
		}
		ticks += n
	}
	pages, err := strconv.ParseInt(string(fields[resident]), 10, 64)
	return ticks, pages * int64(os.Getpagesize()), err
}

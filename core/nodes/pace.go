package nodes

import (
	"fmt"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/rate"
)

// What a cluster may cost the store, whatever goes on in it. The numbers let a
// full cluster come, go and come back without waiting; beyond that, its owner
// waits, and nobody else does.
const (
	batchSize = 100 // nodes in one transaction: no other waits long for it

	writesAtOnce, writesPerSecond = 50, 5
	rowsAtOnce, rowsPerSecond     = 4 * maxNodes, 200
	eventsAtOnce, eventsPerSecond = 2 * maxNodes, 0.25
	ownAtOnce, ownPerSecond       = 20, 1.0 / 120 // events of one node
	lossesPerRow                  = 5             // nodes marked as lost that cost as much as one written
)

// Pace is what a cluster has left of what it may cost. It outlives the trackers
// of the cluster, so that ending a watch buys nothing. It serves one goroutine
// at a time.
type Pace struct {
	writes, rows, events *rate.Bucket
	own                  map[string]*quota
	unsaid               int // events left out of nodes that have no quota any more
}

// quota is what one node has left, and what was left out of its history.
type quota struct {
	events *rate.Bucket
	unsaid int
	joined bool   // it joined and nothing says so
	before string // its status when something was last said
}

// NewPace lets a cluster that has cost nothing yet do all at once.
func NewPace() *Pace {
	return &Pace{
		writes: rate.New(writesAtOnce, writesPerSecond), rows: rate.New(rowsAtOnce, rowsPerSecond),
		events: rate.New(eventsAtOnce, eventsPerSecond), own: map[string]*quota{},
	}
}

// batch returns how many of n nodes may be written now, or how long to wait.
func (p *Pace) batch(now time.Time, n int) (most int, wait time.Duration) {
	n = min(n, batchSize)
	if wait := max(p.writes.Wait(now, 1), p.rows.Wait(now, float64(min(n, rowsPerSecond/writesPerSecond)))); wait > 0 {
		return 0, wait
	}
	most = min(n, int(p.rows.Level(now)))
	p.writes.Spend(now, 1)
	p.rows.Spend(now, float64(most))
	return most, 0
}

// speak says whether one more thing may be said of a node, and how many others
// should be told of with it. What it declines it counts.
func (p *Pace) speak(name, before string, joined bool, now time.Time) said {
	q := p.own[name]
	if p.events.Level(now) < 1 && q == nil {
		p.unsaid++
		return said{undo: func() { p.unsaid-- }}
	}
	if q == nil {
		p.trim(now)
		q = &quota{events: rate.New(ownAtOnce, ownPerSecond)}
		p.own[name] = q
	}
	s := said{joined: q.joined, before: q.before}
	own, all := q.unsaid, 0
	s.undo = func() { q.unsaid, q.joined, q.before, p.unsaid = own, s.joined, s.before, p.unsaid+all }
	if p.events.Level(now) < 1 || !q.events.Take(now, 1) {
		if q.unsaid == 0 {
			q.before = before
		}
		q.unsaid++
		q.joined = q.joined || joined
		return s
	}
	p.events.Spend(now, 1)
	all = p.unsaid
	q.unsaid, q.joined, p.unsaid = 0, false, 0
	s.ok, s.unsaid = true, own+all
	return s
}

// said is what may be said of a node, and of what was not.
type said struct {
	ok     bool
	unsaid int
	joined bool   // it had joined and nothing said so
	before string // its status when something was last said
	// undo has the pace count as if it had not been asked: what was to be said has
	// not been written. What was spent stays spent.
	undo func()
}

// speaker asks the pace once for each node, however often a transaction is
// tried.
type speaker struct {
	pace *Pace
	said map[string]said
}

func newSpeaker(p *Pace) speaker { return speaker{p, map[string]said{}} }

func (s speaker) once(name string, ask func() said) said {
	was, asked := s.said[name]
	if !asked {
		was = ask()
		s.said[name] = was
	}
	return was
}

// unsay is for a transaction that did not commit.
func (s speaker) unsay() {
	for _, was := range s.said {
		if was.undo != nil {
			was.undo()
		}
	}
	clear(s.said)
}

// sumUp is speak for what was left out alone; what it declines is no news.
func (p *Pace) sumUp(name string, now time.Time) (s said) {
	q := p.own[name]
	if q == nil || q.unsaid == 0 || p.events.Level(now) < 1 || q.events.Level(now) < 1 {
		return s
	}
	return p.speak(name, "", false, now)
}

// due are nodes of which there is something left to say that may be said now.
func (p *Pace) due(now time.Time) (names []string) {
	if p.events.Level(now) < 1 {
		return nil
	}
	for name, q := range p.own {
		if q.unsaid > 0 && q.events.Level(now) >= 1 && len(names) < batchSize {
			names = append(names, name)
		}
	}
	return names
}

// owes reports whether something is left to say.
func (p *Pace) owes() bool {
	for _, q := range p.own {
		if q.unsaid > 0 {
			return true
		}
	}
	return false
}

// forget keeps the number of a gone node's unsaid events, and no more. What it
// has used stays used: a node of the same name is no new start.
func (p *Pace) forget(name string) {
	if q := p.own[name]; q != nil {
		p.unsaid += q.unsaid
		q.unsaid, q.joined = 0, false
	}
}

// trim drops quotas that are as good as new. What is left is bounded: each has
// had an event of the cluster's.
func (p *Pace) trim(now time.Time) {
	if len(p.own) < 2*maxNodes {
		return
	}
	for name, q := range p.own {
		if q.unsaid == 0 && q.events.Full(now) {
			delete(p.own, name)
		}
	}
}

// more tells of what was left out.
func more(unsaid int) string {
	switch unsaid {
	case 0:
		return ""
	case 1:
		return " 1 more change was not written down by itself."
	}
	return fmt.Sprintf(" %d more changes were not written down one by one.", unsaid)
}

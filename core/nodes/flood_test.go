package nodes_test

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/nodes"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// meter counts what a store is asked to write.
type meter struct {
	store.Store
	txs, rows, most int
}

type meterTx struct {
	store.Tx
	m *meter
}

type meterNodes struct {
	store.Nodes
	m *meter
}

func (m *meter) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	m.txs++
	return m.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return do(ctx, meterTx{tx, m}) })
}

func (t meterTx) Nodes() store.Nodes { return meterNodes{t.Tx.Nodes(), t.m} }

func (n meterNodes) Put(ctx context.Context, all ...store.Node) error {
	n.m.rows += len(all)
	n.m.most = max(n.m.most, len(all))
	return n.Nodes.Put(ctx, all...)
}

// metered has the world's tracker write through a meter.
func (w *world) metered(t *testing.T) *meter {
	t.Helper()
	m := &meter{Store: w.store}
	d := w.deps()
	d.Store = m
	tracker, err := nodes.Track(t.Context(), d, w.cluster)
	if err != nil {
		t.Fatal(err)
	}
	w.tracker = tracker
	return m
}

func (w *world) write(t *testing.T) {
	t.Helper()
	if _, err := w.tracker.Write(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (w *world) counts(t *testing.T) (history, audit []string) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		for before := ""; ; {
			all, err := tx.NodeEvents().List(ctx, store.Everyone(), store.NodeEventFilter{}, page.Query{Before: before, Limit: 500})
			if err != nil {
				return err
			}
			for _, e := range all.Items {
				history = append(history, e.Message)
			}
			if before = all.Next; before == "" {
				break
			}
		}
		for before := ""; ; {
			all, err := tx.Audit().List(ctx, store.AuditFilter{}, page.Query{Before: before, Limit: 500})
			if err != nil {
				return err
			}
			for _, e := range all.Items {
				audit = append(audit, e.Message)
			}
			if before = all.Next; before == "" {
				return nil
			}
		}
	})
	return history, audit
}

var unsaidRE = regexp.MustCompile(` (\d+) more changes? w`)

// unsaid sums what messages say was left out.
func unsaid(messages []string) (sum int) {
	for _, m := range messages {
		if found := unsaidRE.FindStringSubmatch(m); found != nil {
			n, _ := strconv.Atoi(found[1])
			sum += n
		}
	}
	return sum
}

func TestAFlappingNodeCostsLittleAndEndsUpAsItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.metered(t)
	const seconds, perSecond = 30, 1000
	for i := range seconds * perSecond {
		w.tracker.Saw(machine("w1", []tenant.Condition{tenant.True, tenant.False, tenant.Unknown}[i%3]))
		w.write(t)
		w.Move(time.Second / perSecond)
	}
	w.tracker.Saw(machine("w1", tenant.False))
	w.Move(10 * time.Minute)
	w.write(t)
	history, audit := w.counts(t)
	t.Logf("%d changes in %d s: %d transactions, %d rows, %d events, %d in the audit; left out and told: %d",
		seconds*perSecond, seconds, m.txs, m.rows, len(history), len(audit), unsaid(history))
	if m.txs > 50+5*seconds+2 || len(history) > 25 || len(audit) > 25 {
		t.Errorf("%d transactions, %d events, %d in the audit", m.txs, len(history), len(audit))
	}
	if n := w.node(t, "w1"); n.Status != "not_ready" {
		t.Errorf("it is %s in the end", n.Status)
	}
	if !strings.HasPrefix(history[0], "Node condition Ready changed to False.") && !strings.HasPrefix(history[0], "Node condition Ready is False.") || unsaid(history[:1]) == 0 {
		t.Errorf("the history ends with %q", history[0])
	}
	// Every written change of status is told or counted: one for each row, and the first for two.
	if got, want := len(history)+unsaid(history), m.rows+1; got != want && got != want+1 {
		t.Errorf("%d changes are told of, %d were written", got, want)
	}
}

func TestWhatAFlappingNodeLeftUnsaidIsToldWhenItIsQuiet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 50 {
		w.saw(t, machine("w1", []tenant.Condition{tenant.True, tenant.False}[i%2]))
	}
	before, _ := w.counts(t)
	for range 5 {
		w.Move(2 * time.Minute)
		w.write(t)
	}
	after, _ := w.counts(t)
	if len(after) != len(before)+1 || unsaid(after[:1]) == 0 || !strings.HasPrefix(after[0], "Node condition Ready is False.") {
		t.Errorf("%d events, then %d, the last %q", len(before), len(after), after[0])
	}
	t.Logf("50 changes: %d events, then: %s", len(before), after[0])
}

func TestAMachineWhoseJoinWasLeftUnsaidIsInTheAuditLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 15 { // two events each
		w.saw(t, machine("w1", tenant.True))
		if err := w.gone(t, "w1"); err != nil {
			t.Fatal(err)
		}
	}
	w.saw(t, machine("w1", tenant.True))
	_, before := w.counts(t)
	w.Move(5 * time.Minute)
	w.write(t)
	_, after := w.counts(t)
	if len(after) != len(before)+1 || !strings.HasPrefix(after[0], "The machine w1 joined") || unsaid(after[:1]) == 0 {
		t.Errorf("%d entries, then %d, the last %q", len(before), len(after), after[0])
	}
}

// The next news of the machine must not hide that it joined.
func TestAJoinLeftUnsaidIsToldWithTheNextNews(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 15 {
		w.saw(t, machine("w1", tenant.True))
		if err := w.gone(t, "w1"); err != nil {
			t.Fatal(err)
		}
	}
	w.saw(t, machine("w1", tenant.True))
	_, before := w.counts(t)
	w.Move(5 * time.Minute)
	w.saw(t, machine("w1", tenant.False))
	_, after := w.counts(t)
	if len(after) != len(before)+1 || !strings.HasPrefix(after[0], "The machine w1 joined") || unsaid(after[:1]) == 0 {
		t.Errorf("%d entries, then %d, the last %q", len(before), len(after), after[0])
	}
}

func TestNodesMadeAndDeletedInALoopFillNothing(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]func(i int) string{
		"one name": func(int) string { return "w1" }, "many names": func(i int) string { return fmt.Sprint("w", i) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			m := w.metered(t)
			const seconds, perSecond = 300, 20 // slow enough for many to be written
			for i := range seconds * perSecond {
				w.tracker.Saw(machine(of(i), tenant.True))
				w.write(t)
				w.Move(time.Second / perSecond / 2)
				w.tracker.Gone(of(i))
				w.write(t)
				w.Move(time.Second / perSecond / 2)
			}
			w.Move(time.Minute)
			w.write(t)
			history, audit := w.counts(t)
			t.Logf("%d made and deleted in %d s: %d transactions, %d rows, %d events, %d in the audit", seconds*perSecond, seconds, m.txs, m.rows, len(history), len(audit))
			if len(w.all(t)) != 0 || m.txs > 50+5*seconds+50 {
				t.Errorf("%d nodes are left; %d transactions", len(w.all(t)), m.txs)
			}
			if limit := 100; name == "one name" && len(history) > limit {
				t.Errorf("%d events", len(history))
			}
		})
	}
}

func TestACrowdIsWrittenInFewTransactionsNoneOfThemLong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.metered(t)
	const crowd = 2000
	for i := range crowd {
		w.tracker.Saw(machine(fmt.Sprint("w", i), tenant.True))
	}
	w.tracker.Synced()
	w.write(t)
	t.Logf("%d nodes: %d transactions, at most %d rows", m.rows, m.txs, m.most)
	if m.rows != crowd || m.txs > crowd/100 || m.most > 100 {
		t.Errorf("%d rows in %d transactions of up to %d", m.rows, m.txs, m.most)
	}
	txs := m.txs
	for range 3 {
		for i := range crowd {
			w.tracker.Saw(machine(fmt.Sprint("w", i), tenant.True))
		}
		w.write(t)
	}
	if m.txs != txs {
		t.Errorf("the same again took %d transactions", m.txs-txs)
	}
}

// TestAQuietNodeIsNotStarvedByFlappingOnes: what has waited longest is written
// first, however much changes meanwhile.
func TestAQuietNodeIsNotStarvedByFlappingOnes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.metered(t)
	const crowd = 300
	flap := func(i int) {
		for n := range crowd {
			w.tracker.Saw(machine(fmt.Sprint("w", n), []tenant.Condition{tenant.True, tenant.False}[i%2]))
		}
		w.write(t)
		w.Move(100 * time.Millisecond)
	}
	for i := range 100 { // spends what the cluster has at once
		flap(i)
	}
	w.tracker.Saw(machine("zz-quiet", tenant.True))
	took := 0
	for i := 0; ; i++ {
		flap(i)
		took++
		if history, _ := w.counts(t); strings.Contains(strings.Join(history[:min(len(history), 50)], " "), "zz-quiet") || w.has(t, "zz-quiet") {
			break
		}
		if took > 200 {
			t.Fatalf("not written after %d rounds", took)
		}
	}
	t.Logf("written after %v", time.Duration(took)*100*time.Millisecond)
	if took > 30 { // its turn comes after three hundred, at 200 a second
		t.Errorf("it took %d rounds", took)
	}
}

func (w *world) has(t *testing.T, name string) bool {
	t.Helper()
	for _, n := range w.all(t) {
		if n.Name == name {
			return true
		}
	}
	return false
}

func TestLosingAClusterOverAndOverCostsLittle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const crowd, rounds = 100, 40
	for i := range crowd {
		w.tracker.Saw(machine(fmt.Sprint("w", i), tenant.True))
	}
	w.write(t)
	for range rounds {
		if err := w.lost(t); err != nil {
			t.Fatal(err)
		}
		w.Move(time.Second)
		for i := range crowd {
			w.tracker.Saw(machine(fmt.Sprint("w", i), tenant.True))
		}
		w.write(t)
		w.Move(time.Second)
	}
	history, _ := w.counts(t)
	t.Logf("%d nodes lost %d times: %d events, %d left out", crowd, rounds, len(history), unsaid(history))
	if len(history) > 22*crowd {
		t.Errorf("%d events", len(history))
	}
	for _, n := range w.all(t) {
		if n.Status != "ready" {
			t.Fatalf("%s is %s", n.Name, n.Status)
		}
	}
}

func TestADeletionThatWaitsIsNotSeenAsANodeThatStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	w.tracker.Saw(machine("w1", tenant.False)) // waits
	w.tracker.Gone("w1")
	w.tracker.Saw(machine("w2", tenant.True))
	w.tracker.Gone("w2") // came and went
	w.write(t)
	if all := w.all(t); len(all) != 0 {
		t.Errorf("left: %+v", all)
	}
	if h := w.history(t); last(h) != "deleted: ready>" || len(h) != 3 {
		t.Errorf("history %v", h)
	}
}

package app_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/argonpass"
	"github.com/kubebyon/kubebyon/adapters/bunstore"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
)

// A fleet is many tenants in this process, and processes of their own that
// follow them: what those occupy is theirs alone.
type fleet struct {
	t        testing.TB
	program  string
	database string
	planes   string // the file that tells the processes of the tenants
	tenants  *tenants
	store    *bunstore.Store
}

// crew is one process.
type crew struct {
	f    *fleet
	name string
	url  string
	cmd  *exec.Cmd
	in   io.Closer
	http *http.Client
}

const (
	fleetSize  = 200
	fleetNodes = 20
	// mostMB is the target for a process that follows them.
	mostMB = 300
)

func newFleet(t testing.TB) *fleet {
	t.Helper()
	f := &fleet{t: t, program: buildWatcher(t), database: emptySchema(t, nil), tenants: serveTenants(t, fleetSize, fleetNodes)}
	var err error
	if f.store, err = bunstore.Open(t.Context(), bunstore.Config{URL: f.database, MaxConns: 2}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.store.Close() })
	if err := f.store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	kubeconfigs := map[string]string{}
	if err := f.store.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error { return f.fill(ctx, tx, kubeconfigs) }); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(kubeconfigs)
	f.planes = filepath.Join(t.TempDir(), "planes.json")
	if err = errors.Join(err, os.WriteFile(f.planes, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	return f
}

// buildWatcher builds what is measured as programs are built that people run:
// the race detector would be most of what it occupies.
func buildWatcher(t testing.TB) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "watcher")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", out, "./testdata/watcher")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

func (f *fleet) fill(ctx context.Context, tx store.Tx, kubeconfigs map[string]string) error {
	now := time.Now().UTC().Truncate(time.Millisecond)
	hasher, err := argonpass.New(1)
	if err != nil {
		return err
	}
	hash, err := hasher.Hash(ctx, secret.New(sitePassword))
	if err != nil {
		return err
	}
	admin := store.User{
		ID: id.New[id.UserKind](now, [10]byte{1}), Email: "admin@kubebyon.local", Name: "Admin", Role: "admin", Status: "active",
		PasswordHash: hash, CreatedAt: now, UpdatedAt: now,
	}
	if err := tx.Users().Insert(ctx, admin); err != nil {
		return err
	}
	for i := range f.tenants.all {
		name := fmt.Sprintf("fleet-%03d", i)
		c := store.Cluster{
			ID: id.New[id.ClusterKind](now, [10]byte{byte(i), byte(i >> 8)}), OwnerUserID: admin.ID, Origin: "hosted", Name: name, VclusterName: name, Namespace: name,
			KubernetesVersion: "v1.36.3", Status: "ready", ConnectionStatus: "unreachable", KubeconfigAvailableAt: &now, CreatedAt: now, UpdatedAt: now,
			Generation: 1, ObservedGeneration: 1, APIEndpoint: "https://" + f.tenants.all[i].addr,
		}
		if err := tx.Clusters().Insert(ctx, &c); err != nil {
			return err
		}
		kubeconfigs[c.ID.String()] = f.tenants.kubeconfig(i)
	}
	return nil
}

// start runs a process until the test ends or kills it.
func (f *fleet) start(name string) *crew {
	f.t.Helper()
	c := &crew{f: f, name: name, cmd: exec.CommandContext(context.WithoutCancel(f.t.Context()), f.program, "-database", f.database, "-name", name, "-planes", f.planes)}
	c.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GOGC=") || strings.HasPrefix(v, "GOMEMLIMIT=") })
	var said bytes.Buffer
	c.cmd.Stderr = &said
	in, err := c.cmd.StdinPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	c.in = in
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		_ = c.in.Close()
		_ = c.cmd.Wait()
		if f.t.Failed() {
			f.t.Logf("%s: %.4000s", name, said.String())
		}
	})
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		f.t.Fatalf("the process %s has not started", name)
	}
	c.url = lines.Text()
	jar, err := cookiejar.New(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	c.http = &http.Client{Jar: jar, Timeout: time.Minute, Transport: &http.Transport{}}
	f.t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// kill is kill -9.
func (c *crew) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

func (c *crew) call(method, path string, body, into any) {
	c.f.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		c.f.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(c.f.t.Context(), method, c.url+path, bytes.NewReader(text))
	if err != nil {
		c.f.t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	a, err := c.http.Do(r)
	if err != nil {
		c.f.t.Fatal(err)
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		c.f.t.Fatalf("%s %s: %s", method, path, a.Status)
	}
	if err := json.NewDecoder(a.Body).Decode(into); err != nil {
		c.f.t.Fatal(err)
	}
}

func (c *crew) signIn() {
	c.f.t.Helper()
	c.call("POST", "/api/auth/login", object{"email": "admin@kubebyon.local", "password": sitePassword}, new(object))
}

// nodes are the ids of one cluster's nodes by their names.
func (c *crew) nodes(search string) map[string]string {
	c.f.t.Helper()
	var page struct {
		Nodes []struct{ ID, Name string } `json:"nodes"`
	}
	c.call("GET", "/api/console/nodes?limit=100&search="+search, nil, &page)
	out := map[string]string{}
	for _, n := range page.Nodes {
		out[n.Name] = n.ID
	}
	return out
}

// occupied is what a process has in memory now, and had at most, in MB of
// 1000 000 bytes.
func (c *crew) occupied() (now, peak float64) {
	c.f.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		c.f.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kb, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "VmRSS:":
			now = kb * 1024 / 1e6
		case "VmHWM:":
			peak = kb * 1024 / 1e6
		}
	}
	return now, peak
}

// leases say how many clusters each process has the lease of.
func (f *fleet) leases() map[string]int {
	f.t.Helper()
	out := map[string]int{}
	err := f.store.View(f.t.Context(), func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Leases().Living(ctx, "watch/", time.Now())
		for _, l := range all {
			out[l.Holder]++
		}
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

// known is how many nodes of the fleet the store has as ready.
func (f *fleet) known() (n int) {
	f.t.Helper()
	err := f.store.View(f.t.Context(), func(ctx context.Context, tx store.Tx) error {
		totals, err := tx.Nodes().Totals(ctx, store.Everyone())
		n = totals.ByStatus["ready"]
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

// TestTwoHundredTenantsFitIntoOneProcess holds a process to its memory, with two
// hundred API servers at addresses of their own and twenty nodes each, after the
// lists, which cost most.
func TestTwoHundredTenantsFitIntoOneProcess(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds and runs a program")
	}
	f := newFleet(t)
	c := f.start("one")
	took := eventually(t, 2*time.Minute, "all are watched", func() bool {
		return f.tenants.watched() == fleetSize && f.known() == fleetSize*fleetNodes
	})
	for i := range fleetSize { // and each has news
		f.tenants.cordon(i, 0, true)
	}
	now, peak := c.occupied()
	t.Logf("%d tenants with %d nodes each are followed after %v; the process has %.0f MB, and had %.0f at most", fleetSize, fleetNodes, took, now, peak)
	if peak > mostMB {
		t.Errorf("the process has had %.0f MB; the target is under %d", peak, mostMB)
	}
}

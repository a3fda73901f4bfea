package helmprovision

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// leaseHost is the part of a host cluster that keeps one lease, as it is on the
// wire: with versions, and with preconditions of removals.
type leaseHost struct {
	mu      sync.Mutex
	version int
	lease   *coordinationv1.Lease
	removed int
}

func (h *leaseHost) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case r.Method == http.MethodPost && h.lease != nil:
		return says(http.StatusConflict, metav1.StatusReasonAlreadyExists)
	case r.Method != http.MethodPost && h.lease == nil:
		return says(http.StatusNotFound, metav1.StatusReasonNotFound)
	case r.Method == http.MethodPost, r.Method == http.MethodPut:
		return h.put(body)
	case r.Method == http.MethodDelete:
		return h.remove(body)
	}
	return answer(http.StatusOK, h.lease)
}

func (h *leaseHost) put(body []byte) (*http.Response, error) {
	next := new(coordinationv1.Lease)
	if err := json.Unmarshal(body, next); err != nil {
		return nil, err
	}
	if h.lease != nil && next.ResourceVersion != h.lease.ResourceVersion {
		return says(http.StatusConflict, metav1.StatusReasonConflict)
	}
	h.version++
	next.ResourceVersion = strconv.Itoa(h.version)
	if h.lease == nil {
		next.UID = types.UID(next.ResourceVersion)
	}
	h.lease = next
	return answer(http.StatusOK, next)
}

func (h *leaseHost) remove(body []byte) (*http.Response, error) {
	var o metav1.DeleteOptions
	if err := json.Unmarshal(body, &o); err != nil {
		return nil, err
	}
	if c := o.Preconditions; c != nil && (c.UID != nil && *c.UID != h.lease.UID || c.ResourceVersion != nil && *c.ResourceVersion != h.lease.ResourceVersion) {
		return says(http.StatusConflict, metav1.StatusReasonConflict)
	}
	h.lease, h.removed = nil, h.removed+1
	return answer(http.StatusOK, &metav1.Status{Status: metav1.StatusSuccess})
}

func (h *leaseHost) holder() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lease == nil {
		return ""
	}
	return holderOf(h.lease)
}

func says(code int, reason metav1.StatusReason) (*http.Response, error) {
	return answer(code, &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason})
}

func answer(code int, what any) (*http.Response, error) {
	text, err := json.Marshal(what)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: code, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(text))}, nil
}

// line leads to a host until it is cut: then nothing is answered.
type line struct {
	to  http.RoundTripper
	cut chan struct{}
}

func (l line) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-l.cut:
		<-r.Context().Done()
		return nil, r.Context().Err()
	default:
		return l.to.RoundTrip(r)
	}
}

// process is one with the lease times of production, that reaches h until it
// is cut off.
func process(t *testing.T, h http.RoundTripper, name string) (p *Provisioner, cut func()) {
	t.Helper()
	p, err := New(bare(t))
	if err != nil {
		t.Fatal(err)
	}
	l := line{h, make(chan struct{})}
	client, err := kubernetes.NewForConfigAndClient(&rest.Config{Host: "https://host.example", QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}, &http.Client{Transport: l, Timeout: p.config.RequestTimeout})
	if err != nil {
		t.Fatal(err)
	}
	p.host, p.self = &host{client: client}, name
	return p, sync.OnceFunc(func() { close(l.cut) })
}

// TestALeaseIsGivenUpBeforeAnotherProcessCanHaveIt: with the times of production,
// whatever moment the line is cut at.
func TestALeaseIsGivenUpBeforeAnotherProcessCanHaveIt(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{0, time.Second, normalLease / 4, 7 * time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			h := new(leaseHost)
			p, cut := process(t, h, "p")
			q, _ := process(t, h, "q")
			g, err := p.reserve(t.Context(), "demo")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := g.while(t.Context())
			defer cancel()
			time.Sleep(after)
			synctest.Wait()
			cut()
			began := time.Now()
			var ended time.Time
			go func() { <-ctx.Done(); ended = time.Now() }()
			next, err := q.reserve(t.Context(), "demo")
			if err != nil {
				t.Fatalf("cut after %v: the successor has waited for %v: %v", after, time.Since(began), err)
			}
			synctest.Wait()
			if took := time.Since(ended); !errors.Is(context.Cause(ctx), errTaken) || took < normalLease/6 {
				t.Errorf("cut after %v: when the successor has the lease, the attempt has ended %v ago, for %v", after, took, context.Cause(ctx))
			}
			if err := g.holds(); fault.CodeOf(err) != "control_plane_busy" || !errors.Is(err, errTaken) {
				t.Errorf("holds: %v", err)
			}
			g.release()
			if h.holder() != "q" || h.removed != 0 {
				t.Errorf("who was late has removed the lease of %q", h.holder())
			}
			next.release()
			if h.holder() != "" {
				t.Errorf("%s still has it", h.holder())
			}
		})
	}
}

// TestALeaseThatChangesHandsEndsTheAttempt at the next renewal, and stays with
// whoever has it.
func TestALeaseThatChangesHandsEndsTheAttempt(t *testing.T) {
	t.Parallel()
	for name, becomes := range map[string]func(h *leaseHost){
		"another's": func(h *leaseHost) {
			other := "q"
			h.version++
			h.lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: leaseName, Namespace: "demo", UID: h.lease.UID, ResourceVersion: strconv.Itoa(h.version)}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &other}}
		},
		"gone": func(h *leaseHost) { h.lease = nil },
	} {
		synctest.Test(t, func(t *testing.T) {
			h := new(leaseHost)
			p, _ := process(t, h, "p")
			g, err := p.reserve(t.Context(), "demo")
			if err != nil {
				t.Fatal(err)
			}
			passed := 0
			beyond := guard{g, line{h, nil}}
			get := func() error {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://host.example/", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				out, err := beyond.RoundTrip(r)
				if err == nil {
					passed++
					_ = out.Body.Close()
				}
				return err
			}
			if err := get(); err != nil {
				t.Errorf("%s: before: %v", name, err)
			}
			h.mu.Lock()
			becomes(h)
			removed, owner := h.removed, ""
			if h.lease != nil {
				owner = holderOf(h.lease)
			}
			h.mu.Unlock()
			time.Sleep(normalLease / 4)
			synctest.Wait()
			if err := get(); fault.CodeOf(err) != "control_plane_busy" || passed != 1 {
				t.Errorf("%s: Helm is let through: %v", name, err)
			}
			if err := g.orTaken(context.Canceled); fault.CodeOf(err) != "control_plane_busy" {
				t.Errorf("%s: the attempt ends with %v", name, err)
			}
			g.release()
			if h.removed != removed || h.holder() != owner {
				t.Errorf("%s: what was %q's is %q's", name, owner, h.holder())
			}
		})
	}
}

// TestAWaitForALeaseIsTold once, with its end: it may take as long as a lease.
func TestAWaitForALeaseIsTold(t *testing.T) {
	t.Parallel()
	for how, end := range map[string]func(g *grip, cut func()){"given back": func(g *grip, _ func()) { g.release() }, "dead": func(_ *grip, cut func()) { cut() }} {
		synctest.Test(t, func(t *testing.T) {
			h, out := new(leaseHost), new(lines)
			p, cut := process(t, h, "p")
			q, _ := process(t, h, "q")
			q.config.Log = slog.New(slog.NewTextHandler(out, nil))
			g, err := p.reserve(t.Context(), "demo")
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(5*time.Second, func() { end(g, cut) })
			next, err := q.reserve(t.Context(), "demo")
			if err != nil {
				t.Fatal(err)
			}
			next.release()
			g.release()
			waits, ends := strings.Count(out.String(), "another process is changing the control plane"), strings.Count(out.String(), "has let go of the control plane")
			if waits != 1 || ends != 1 || !strings.Contains(out.String(), "holder=p") {
				t.Errorf("%s: it is told %d times of the wait and %d times of its end:\n%s", how, waits, ends, out)
			}
		})
	}
}

// TestALeaseThatIsFreeIsNoNews, nor one that is for a moment.
func TestALeaseThatIsFreeIsNoNews(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, out := new(leaseHost), new(lines)
		p, _ := process(t, h, "p")
		q, _ := process(t, h, "q")
		q.config.Log = slog.New(slog.NewTextHandler(out, nil))
		g, err := p.reserve(t.Context(), "demo")
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(telling/2, g.release)
		next, err := q.reserve(t.Context(), "demo")
		if err != nil {
			t.Fatal(err)
		}
		next.release()
		if out.String() != "" {
			t.Errorf("it is told:\n%s", out)
		}
	})
}

// lines are what a log was told.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestWhoeverLivesKeepsItsLease: another process waits for it, and no longer than
// it says.
func TestWhoeverLivesKeepsItsLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := new(leaseHost)
		p, _ := process(t, h, "p")
		q, _ := process(t, h, "q")
		g, err := p.reserve(t.Context(), "demo")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = q.reserve(t.Context(), "demo")
		if fault.CodeOf(err) != "control_plane_busy" || time.Since(began) > 2*normalLease+time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if err := g.holds(); err != nil || h.holder() != "p" {
			t.Errorf("%q has it: %v", h.holder(), err)
		}
		g.release()
		if h.holder() != "" || h.removed != 1 {
			t.Errorf("%q has it after its release", h.holder())
		}
	})
}

// TestOneThatWasFrozenGetsNoFurther: nothing has run meanwhile that could tell.
func TestOneThatWasFrozenGetsNoFurther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := process(t, new(leaseHost), "p")
		g, err := p.reserve(t.Context(), "demo")
		if err != nil {
			t.Fatal(err)
		}
		defer g.release()
		now := p.config.Now
		defer func() { p.config.Now = now }()
		p.config.Now = func() time.Time { return now().Add(normalLease) }
		if err := g.holds(); fault.CodeOf(err) != "control_plane_busy" {
			t.Errorf("it goes on: %v", err)
		}
	})
}

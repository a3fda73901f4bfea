package planeprovision

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
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

package memprovision_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/provision/provisiontest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestProvisioner(t *testing.T) {
	t.Parallel()
	for name, takes := range map[string]time.Duration{"at once": 0, "slowly": 20 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			provisiontest.Run(t, harness(takes))
		})
	}
}

func harness(takes time.Duration) provisiontest.Harness {
	return provisiontest.Harness{
		New: func(*testing.T) provision.Provisioner {
			p := memprovision.New(memprovision.Config{})
			p.PlayAll(memprovision.Script{Takes: takes, Waits: "It takes its time."})
			return p
		},
		Want:    provision.Want{KubernetesVersion: "v1.36.3"},
		Arrives: 5 * time.Second,
		Break: func(_ *testing.T, p provision.Provisioner, name string) func() {
			mem := p.(*memprovision.Provisioner)
			mem.Play(func(w provision.Want) memprovision.Script {
				if w.Name == name {
					return memprovision.Script{Takes: takes, Fails: "It was told to fail."}
				}
				return memprovision.Script{Takes: takes}
			})
			return func() { mem.PlayAll(memprovision.Script{Takes: takes}) }
		},
		Kill:         func(_ *testing.T, p provision.Provisioner, c id.Cluster) { p.(*memprovision.Provisioner).Kill(c) },
		WhyNoRestart: "nothing is kept outside the process",
		OtherHost:    "clusters.example.com",
	}
}

func TestStagesFollowTheClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := memprovision.New(memprovision.Config{Host: "::1"})
		p.PlayAll(memprovision.Script{Takes: time.Minute})
		want := provision.Want{ID: newID(1), Name: "a", KubernetesVersion: "v1.35.0"}
		apply(t, p, want)
		var got []string
		for o := (provision.Observed{Phase: provision.Absent}); o.Phase != provision.Ready; {
			var err error
			if o, err = p.Await(t.Context(), want.ID, o); err != nil {
				t.Fatal(err)
			}
			got = append(got, string(o.Stage)+o.Endpoint)
		}
		if want := []string{"starting_control_plane", "waiting_control_plane", "donehttps://[::1]:20001"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

func TestNeverStaysPending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := memprovision.New(memprovision.Config{})
		p.PlayAll(memprovision.Script{Never: true})
		want := provision.Want{ID: newID(1), Name: "a", KubernetesVersion: "v1.36.3"}
		apply(t, p, want)
		seen, _ := p.Observe(t.Context(), want.ID)
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		if _, err := p.Await(ctx, want.ID, seen); !errors.Is(err, context.DeadlineExceeded) || seen.Phase != provision.Pending {
			t.Errorf("%+v, then %v; want it pending for ever", seen, err)
		}
	})
}

func TestScriptedErrorsDoNothing(t *testing.T) {
	t.Parallel()
	p, boom := memprovision.New(memprovision.Config{}), errors.New("boom")
	want := provision.Want{ID: newID(1), Name: "a", KubernetesVersion: "v1.36.3"}
	p.PlayAll(memprovision.Script{ApplyError: boom, DestroyError: boom})
	if err := p.Apply(t.Context(), want); !errors.Is(err, boom) || len(p.Applied()) != 0 || len(p.Clusters()) != 0 {
		t.Errorf("Apply: %v, with %d clusters", err, len(p.Clusters()))
	}
	p.PlayAll(memprovision.Script{DestroyError: boom})
	apply(t, p, want)
	if err := p.Destroy(t.Context(), want.ID); !errors.Is(err, boom) || len(p.Clusters()) != 1 {
		t.Errorf("Destroy: %v, with %d clusters", err, len(p.Clusters()))
	}
}

func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	p := memprovision.New(memprovision.Config{})
	p.PlayAll(memprovision.Script{Takes: time.Millisecond})
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			want := provision.Want{ID: newID(byte(i % 4)), Name: "a", KubernetesVersion: "v1.36.3", Host: []string{"a", "b"}[i%2]}
			for range 20 {
				_ = p.Apply(t.Context(), want)
				_, _ = p.Observe(t.Context(), want.ID)
				p.Kill(want.ID)
				_, _ = p.Kubeconfig(t.Context(), want.ID)
				_ = p.Destroy(t.Context(), want.ID)
			}
		})
	}
	all.Wait()
	if left := p.Clusters(); len(left) != 0 {
		t.Errorf("%d clusters left", len(left))
	}
}

func TestKubeconfigIsSecret(t *testing.T) {
	t.Parallel()
	p := memprovision.New(memprovision.Config{})
	want := provision.Want{ID: newID(1), Name: "a", KubernetesVersion: "v1.36.3"}
	apply(t, p, want)
	text, err := p.Kubeconfig(t.Context(), want.ID)
	if err != nil || strings.Contains(text.String(), "token") {
		t.Errorf("%v, %v", text, err)
	}
}

func apply(t *testing.T, p *memprovision.Provisioner, w provision.Want) {
	t.Helper()
	if err := p.Apply(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

func newID(n byte) id.Cluster {
	return id.New[id.ClusterKind](time.Unix(1, 0), [10]byte{n})
}

package tenanttest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func connecting(t *testing.T, h Harness) {
	t.Run("BrokenKubeconfigIsRefusedWithoutItsText", func(t *testing.T) {
		t.Parallel()
		w := h.New(t)
		for i, broken := range append([]secret.Text{{}}, h.Broken...) {
			_, err := w.Connector.Connect(t.Context(), w.Cluster, broken)
			if !errors.Is(err, fault.Invalid) {
				t.Errorf("broken kubeconfig %d: %v, want fault.Invalid", i, err)
			} else if strings.Contains(err.Error(), "confidential") {
				t.Errorf("broken kubeconfig %d: the error repeats its text: %v", i, err)
			}
		}
	})
	t.Run("ABrokenKubeconfigSpoilsNothing", func(t *testing.T) {
		t.Parallel()
		w := h.New(t)
		in := w.open(t)
		_, _ = w.Connector.Connect(t.Context(), w.Cluster, secret.Text{})
		if _, err := in.Probe(t.Context()); err != nil {
			t.Errorf("Probe of the tenant opened before: %v", err)
		}
		if _, err := w.open(t).Probe(t.Context()); err != nil {
			t.Errorf("Probe of the tenant opened after: %v", err)
		}
	})
	t.Run("ManyAtOnce", func(t *testing.T) {
		t.Parallel()
		w := h.New(t)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				in, err := w.Connector.Connect(t.Context(), w.Cluster, w.Kubeconfig)
				if err != nil {
					t.Errorf("Connect: %v", err)
					return
				}
				if _, err := in.Probe(t.Context()); err != nil {
					t.Errorf("Probe: %v", err)
				}
			})
		}
		all.Wait()
	})
}

func health() map[string]func(*testing.T, World) {
	return map[string]func(*testing.T, World){
		"ProbeTellsTheVersion": func(t *testing.T, w World) {
			v, err := w.open(t).Probe(t.Context())
			if err != nil || !strings.HasPrefix(v, "v1.") {
				t.Errorf("Probe: %q, %v; want v1.…", v, err)
			}
		},
		"EveryCallFailsWhenRefused": func(t *testing.T, w World) {
			in := w.open(t)
			w.Cut(t, false)
			for name, call := range calls(in) {
				if err := call(t.Context()); !errors.Is(err, fault.Unavailable) {
					t.Errorf("%s: %v, want fault.Unavailable", name, err)
				}
			}
		},
		"SilenceFailsByDeadline": func(t *testing.T, w World) {
			in := w.open(t)
			w.Cut(t, true)
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			began := time.Now()
			if _, err := in.Probe(ctx); !errors.Is(err, fault.Unavailable) {
				t.Errorf("Probe: %v, want fault.Unavailable", err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("Probe took %v, with a deadline of 200ms", took)
			}
		},
		"ReachableAgain": func(t *testing.T, w World) {
			in := w.open(t)
			heal := w.Cut(t, false)
			if _, err := in.Probe(t.Context()); !errors.Is(err, fault.Unavailable) {
				t.Errorf("Probe while cut off: %v, want fault.Unavailable", err)
			}
			heal()
			if _, err := in.Probe(t.Context()); err != nil {
				t.Errorf("Probe after: %v", err)
			}
		},
		"EveryCallObeysItsContext": func(t *testing.T, w World) {
			in := w.open(t)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			for name, call := range calls(in) {
				if err := call(ctx); !errors.Is(err, context.Canceled) {
					t.Errorf("%s with a canceled context: %v", name, err)
				}
			}
		},
	}
}

// calls are all that a tenant can do, each with arguments that are fine.
func calls(in tenant.Tenant) map[string]func(context.Context) error {
	node := unique("node")
	return map[string]func(context.Context) error{
		"Probe":                func(ctx context.Context) error { _, err := in.Probe(ctx); return err },
		"Watch":                func(ctx context.Context) error { return in.Watch(ctx, func(tenant.Change) error { return nil }) },
		"PrepareJoin":          in.PrepareJoin,
		"Endpoint":             func(ctx context.Context) error { _, err := in.Endpoint(ctx); return err },
		"PutBootstrapToken":    func(ctx context.Context) error { return in.PutBootstrapToken(ctx, token()) },
		"DeleteBootstrapToken": func(ctx context.Context) error { return in.DeleteBootstrapToken(ctx, lowerText(6)) },
		"DecideJoin": func(ctx context.Context) error {
			return in.DecideJoin(ctx, tenant.JoinRequest{Name: unique("csr")}, true, "test")
		},
		"Node":             func(ctx context.Context) error { _, err := in.Node(ctx, node); return err },
		"SetUnschedulable": func(ctx context.Context) error { _, err := in.SetUnschedulable(ctx, node, true); return err },
		"Drain": func(ctx context.Context) error {
			_, err := in.Drain(ctx, node, tenant.DrainOptions{Timeout: time.Minute})
			return err
		},
		"DeleteNode": func(ctx context.Context) error { return in.DeleteNode(ctx, node) },
		"List": func(ctx context.Context) error {
			_, err := in.List(ctx, configMaps, tenant.Query{Limit: 1})
			return err
		},
		"Get": func(ctx context.Context) error { _, err := in.Get(ctx, configMaps, "default", node); return err },
		"Create": func(ctx context.Context) error {
			_, err := in.Create(ctx, configMaps, "default", configMap(node, "a", "b"))
			return err
		},
		"Replace": func(ctx context.Context) error {
			_, err := in.Replace(ctx, configMaps, "default", node, configMap(node, "a", "b"))
			return err
		},
		"Patch": func(ctx context.Context) error {
			_, err := in.Patch(ctx, configMaps, "default", node, tenant.Object{"data": nil})
			return err
		},
		"Delete": func(ctx context.Context) error {
			return in.Delete(ctx, configMaps, "default", node, tenant.DeleteOptions{})
		},
		"Logs": func(ctx context.Context) error {
			_, err := in.Logs(ctx, tenant.LogQuery{Namespace: "default", Pod: node})
			return err
		},
		"acting for somebody": func(ctx context.Context) error {
			_, err := in.Get(tenant.ActingFor(ctx, "alice"), configMaps, "default", node)
			return err
		},
	}
}

func token() tenant.BootstrapToken {
	return tenant.BootstrapToken{
		ID: lowerText(6), Secret: secret.New(lowerText(16)), Expires: time.Now().Add(10 * time.Minute), Description: "made by tenanttest",
	}
}

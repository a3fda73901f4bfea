package tokens_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/tokens"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func TestPreparingMakesTheSecretUsableForAQuarterOfAnHourAtMost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mint(t)
	j := w.prepare(t, m)
	got, ok := w.inside.Token(m.Token.BootstrapID)
	if !ok || !got.Expires.Equal(w.Now().Add(15*time.Minute)) || !got.Secret.Equal(j.Bootstrap.Secret) || !strings.Contains(got.Description, m.Token.ID.String()) {
		t.Errorf("in the tenant: %+v, %v", got, ok)
	}
	if j.Cluster.ID != w.cluster || j.Endpoint.Server == "" || !w.token(t, m.Token.ID).SecretInTenant {
		t.Errorf("got %+v", j)
	}
	w.Move(50 * time.Minute)
	w.prepare(t, m)
	if got, _ := w.inside.Token(m.Token.BootstrapID); !got.Expires.Equal(m.Token.ExpiresAt) {
		t.Errorf("near its end the secret lives until %v, the token until %v", got.Expires, m.Token.ExpiresAt)
	}
}

func TestATokenThatCannotBeUsedIsRefusedAndLeavesNoSecret(t *testing.T) {
	t.Parallel()
	type setup func(t *testing.T, w *world, m tokens.Minted) (value string, cluster id.Cluster)
	same := func(w *world, m tokens.Minted) (string, id.Cluster) { return m.Value, w.cluster }
	for name, c := range map[string]struct {
		code string
		kind fault.Kind
		setup
	}{
		"malformed": {"token_unknown", fault.Denied, func(_ *testing.T, w *world, m tokens.Minted) (string, id.Cluster) { return m.Value + "x", w.cluster }},
		"empty":     {"token_unknown", fault.Denied, func(_ *testing.T, w *world, _ tokens.Minted) (string, id.Cluster) { return "", w.cluster }},
		"unknown": {"token_unknown", fault.Denied, func(_ *testing.T, w *world, _ tokens.Minted) (string, id.Cluster) {
			return "kbt_" + strings.Repeat("A", 43), w.cluster
		}},
		"expired": {"token_expired", fault.Denied, func(_ *testing.T, w *world, m tokens.Minted) (string, id.Cluster) {
			w.Move(time.Hour)
			return same(w, m)
		}},
		"revoked": {"token_revoked", fault.Denied, func(t *testing.T, w *world, m tokens.Minted) (string, id.Cluster) {
			if _, err := w.Revoke(w.ctx, m.Token.ID); err != nil {
				t.Fatal(err)
			}
			return same(w, m)
		}},
		"used": {"token_used", fault.Denied, func(t *testing.T, w *world, m tokens.Minted) (string, id.Cluster) {
			w.decide(t, request(m, "w1", "k1"))
			w.joined(t, "w1")
			return same(w, m)
		}},
		"of another cluster": {"cluster_not_found", fault.NotFound, func(t *testing.T, w *world, m tokens.Minted) (string, id.Cluster) {
			return m.Value, w.addCluster(t, "other")
		}},
		"of a cluster out of reach": {"cluster_not_ready", fault.Unavailable, func(t *testing.T, w *world, m tokens.Minted) (string, id.Cluster) {
			w.edit(t, func(c *store.Cluster) { c.ConnectionStatus = "unreachable" })
			return same(w, m)
		}},
		"of a deleted cluster": {"token_unknown", fault.Denied, func(t *testing.T, w *world, m tokens.Minted) (string, id.Cluster) {
			w.edit(t, func(c *store.Cluster) { c.DeletedAt = new(w.Now()) })
			return same(w, m)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			m := w.mint(t)
			value, cluster := c.setup(t, w, m)
			w.refuses(t, "Check", c.code, func() error { return w.Check(t.Context(), value, cluster) })
			w.refuses(t, "Prepare", c.code, func() error {
				j, err := w.Prepare(t.Context(), value, cluster)
				if !errors.Is(err, c.kind) || !j.Bootstrap.Secret.IsZero() {
					t.Errorf("got %v", err)
				}
				if err != nil && value != "" && strings.Contains(err.Error(), value) {
					t.Error("the error repeats the token")
				}
				return err
			})
		})
	}
}

func TestAnUsedTokenIsUsedWhicheverClusterIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mint(t)
	if err := w.Check(t.Context(), m.Value, id.Cluster{}); err != nil {
		t.Errorf("any cluster: %v", err)
	}
	if err := w.Check(t.Context(), m.Value, w.cluster); err != nil {
		t.Errorf("its cluster: %v", err)
	}
}

func TestATenantThatDoesNotAnswerIsNotReadyAndTheSecretIsNotForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mint(t)
	w.inside.SetReachable(false)
	_, err := w.Prepare(t.Context(), m.Value, w.cluster)
	if !errors.Is(err, fault.Unavailable) || fault.CodeOf(err) != "cluster_not_ready" || !w.token(t, m.Token.ID).SecretInTenant {
		t.Errorf("got %v", err)
	}
	w.planes.OnKubeconfig = func(context.Context, id.Cluster) error { return fault.NotFound.New("gone", "Gone.") }
	if _, err := w.Prepare(t.Context(), m.Value, w.cluster); fault.CodeOf(err) != "cluster_not_ready" || errors.Is(err, fault.NotFound) {
		t.Errorf("without a kubeconfig: %v", err)
	}
}

// between runs do around the making of the bootstrap secret.
type between struct {
	tenant.Connector
	before, after func()
}

type betweenTenant struct {
	tenant.Tenant
	b *between
}

func (b *between) Connect(ctx context.Context, c id.Cluster, k secret.Text) (tenant.Tenant, error) {
	in, err := b.Connector.Connect(ctx, c, k)
	return betweenTenant{in, b}, err
}

func (t betweenTenant) PutBootstrapToken(ctx context.Context, b tenant.BootstrapToken) error {
	if before := t.b.before; before != nil {
		t.b.before = nil
		before()
	}
	err := t.Tenant.PutBootstrapToken(ctx, b)
	if after := t.b.after; after != nil {
		t.b.after = nil
		after()
	}
	return err
}

func TestRevokingDuringPrepareLeavesNoSecret(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"before the secret", "after the secret"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			m := w.mint(t)
			revoke := func() {
				if _, err := w.Revoke(w.ctx, m.Token.ID); err != nil {
					t.Error(err)
				}
			}
			b := &between{Connector: w.connector}
			if when == "before the secret" {
				b.before = revoke
			} else {
				b.after = revoke
			}
			s := w.over(t, func(d *tokens.Deps) { d.Door.Connector = b })
			j, err := s.Prepare(t.Context(), m.Value, w.cluster)
			if fault.CodeOf(err) != "token_revoked" || !j.Bootstrap.Secret.IsZero() {
				t.Errorf("got %v", err)
			}
			if left := w.inside.Tokens(); len(left) != 0 || w.token(t, m.Token.ID).SecretInTenant {
				t.Errorf("left in the tenant: %d, noted: %v", len(left), w.token(t, m.Token.ID).SecretInTenant)
			}
		})
	}
}

func TestASecretThatCouldNotBeTakenBackIsRemovedLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mint(t)
	b := &between{Connector: w.connector}
	b.before = func() { _, _ = w.Revoke(w.ctx, m.Token.ID) } // notes that there is no secret
	b.after = func() { w.inside.SetReachable(false) }
	s := w.over(t, func(d *tokens.Deps) { d.Door.Connector = b })
	if _, err := s.Prepare(t.Context(), m.Value, w.cluster); err == nil {
		t.Fatal("a revoked token was prepared")
	}
	w.inside.SetReachable(true)
	if len(w.inside.Tokens()) != 1 {
		t.Fatal("the test does not do what it says")
	}
	if err := w.tidy(t); err != nil || len(w.inside.Tokens()) != 0 {
		t.Errorf("after the outage: %d secrets, %v", len(w.inside.Tokens()), err)
	}
}

func TestAClientThatLeavesDuringPrepareLeavesNoSecretOfARevokedToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mint(t)
	ctx, cancel := context.WithCancel(t.Context())
	b := &between{Connector: w.connector, after: func() {
		_, _ = w.Revoke(w.ctx, m.Token.ID)
		cancel()
	}}
	s := w.over(t, func(d *tokens.Deps) { d.Door.Connector = b })
	if _, err := s.Prepare(ctx, m.Value, w.cluster); err == nil {
		t.Error("prepared")
	}
	if n := len(w.inside.Tokens()); n != 0 {
		t.Errorf("%d secrets left", n)
	}
}

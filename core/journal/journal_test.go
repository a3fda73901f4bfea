package journal_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

func events(t *testing.T, s store.Store) []store.AuditEvent {
	t.Helper()
	var out page.Of[store.AuditEvent]
	err := s.View(t.Context(), func(ctx context.Context, tx store.Tx) (err error) {
		out, err = tx.Audit().List(ctx, store.AuditFilter{}, page.Query{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Items
}

func TestAnEventSaysWhoDidWhatToWhatAndWhen(t *testing.T) {
	t.Parallel()
	s, me := memstore.New(), coretest.NewUser()
	cluster := id.New[id.ClusterKind](coretest.Start, [10]byte{1})
	j := journal.Journal{Now: coretest.NewClock().Now, Random: coretest.Random()}
	err := s.InTx(coretest.As(t.Context(), me, actor.User), func(ctx context.Context, tx store.Tx) error {
		return j.Write(ctx, tx, journal.Event{
			Resource: "node", Action: "cordoned", ResourceID: "node_1", Message: "Cordoned.", ClusterID: cluster, ClusterName: "demo", NodeName: "w1",
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	got := events(t, s)
	want := []store.AuditEvent{{
		ID: id.New[id.AuditKind](coretest.Start, coretest.Random()()), OccurredAt: coretest.Start,
		ActorUserID: me, ActorType: "user", ActorMethod: "session", ResourceType: "node", ResourceID: "node_1",
		Action: "cordoned", Result: "success", Message: "Cordoned.", ClusterID: cluster, ClusterName: "demo", NodeName: "w1", Security: true,
	}}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b id.Audit) bool { return a == b }), cmp.Comparer(func(a, b id.User) bool { return a == b }),
		cmp.Comparer(func(a, b id.Cluster) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

func TestAnEventIsThereExactlyWhenItsChangeIs(t *testing.T) {
	t.Parallel()
	s := memstore.New()
	j := journal.Journal{Now: coretest.NewClock().Now, Random: coretest.Random()}
	no := errors.New("no")
	err := s.InTx(actor.With(t.Context(), actor.Process()), func(ctx context.Context, tx store.Tx) error {
		return errors.Join(j.Write(ctx, tx, journal.Event{Resource: "user", Action: "ban"}), no)
	})
	if !errors.Is(err, no) || len(events(t, s)) != 0 {
		t.Errorf("rolled back with %v, and left %v", err, events(t, s))
	}
}

func TestNobodyWritesAnEvent(t *testing.T) {
	t.Parallel()
	s := memstore.New()
	j := journal.Journal{Now: coretest.NewClock().Now, Random: coretest.Random()}
	err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		return j.Write(ctx, tx, journal.Event{Resource: "user", Action: "ban"})
	})
	if !errors.Is(err, fault.Unauthenticated) || len(events(t, s)) != 0 {
		t.Errorf("got %v", err)
	}
}

// TestSecurityEventsAreThoseOfTheSpecification repeats section 3.10 of it.
func TestSecurityEventsAreThoseOfTheSpecification(t *testing.T) {
	t.Parallel()
	want := map[string][]string{
		"session":               {"login", "logout"},
		"user":                  {"register", "update_profile", "update_avatar", "reset_password", "delete_current_user", "ban", "activate"},
		"token":                 {"create", "revoke", "used"},
		"api_key":               {"create", "delete"},
		"cluster":               {"create_requested", "create_failed", "create_succeeded", "delete_requested", "delete_failed", "delete_succeeded", "kubeconfig_read", "kubectl_exec", "settings_update_requested", "settings_update_failed", "settings_updated"},
		"node":                  {"cordoned", "uncordoned", "drained", "deleted", "joined", "offline"},
		"system_settings":       {"update"},
		"notification_settings": {"update"},
		"":                      {""},
	}
	s := memstore.New()
	j := journal.Journal{Now: coretest.NewClock().Now, Random: coretest.Random()}
	err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		for resource, actions := range want {
			for _, action := range actions {
				if err := j.WriteAs(ctx, tx, actor.Process(), journal.Event{Resource: resource, Action: action, Result: journal.Failure}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events(t, s) {
		if e.Security != (e.ResourceType != "") || e.Result != "failure" {
			t.Errorf("%s/%s: security %v, result %s", e.ResourceType, e.Action, e.Security, e.Result)
		}
	}
}

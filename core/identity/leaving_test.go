package identity_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestWhoLeavesIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	key := w.key(t, u, nil)
	_, token := w.signIn(t)
	before := w.dump()
	for code, given := range map[string]secret.Text{"password_incorrect": secret.New("wrong"), fault.ValidationFailed: {}} {
		if err := w.Leave(w.as(t, u), given); fault.CodeOf(err) != code {
			t.Errorf("want %s: %v", code, err)
		}
	}
	byKey := actor.With(t.Context(), actor.Actor{Type: actor.Person, Method: actor.ByAPIKey, UserID: u.ID, Role: actor.User})
	if err := w.Leave(byKey, secret.New(password)); fault.CodeOf(err) != "session_required" {
		t.Errorf("by key: %v", err)
	}
	if w.dump() != before {
		t.Error("a refusal changed something")
	}
	if err := w.Leave(w.as(t, u), secret.New(password)); err != nil {
		t.Fatal(err)
	}
	for what, try := range map[string]func() error{
		"session": func() error { _, _, err := w.Session(t.Context(), token); return err },
		"key":     func() error { _, _, err := w.APIKey(t.Context(), secret.New(key.Value)); return err },
		"password": func() error {
			_, _, err := w.SignIn(t.Context(), address, secret.New(password), identity.Client{})
			return err
		},
		"who am I":      func() error { _, err := w.Me(w.as(t, u)); return err },
		"a new key":     func() error { _, err := w.CreateAPIKey(w.as(t, u), "late", nil); return err },
		"a new picture": func() error { _, err := w.SetAvatar(w.as(t, u), portrait("late")); return err },
		"a new name":    func() error { _, err := w.Rename(w.as(t, u), "Late"); return err },
		"leaving again": func() error { return w.Leave(w.as(t, u), secret.New(password)) },
	} {
		if err := try(); !errors.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := w.events(t); !strings.Contains(strings.Join(got, ", "), "user/delete_current_user success by user") {
		t.Errorf("recorded %s", got)
	}
	w.account(t) // the address is free
}

func portrait(body string) identity.Picture {
	return identity.Picture{ContentType: "image/png", Body: []byte(body), At: func(u id.User, tag string) string { return "/avatars/" + u.String() + "/" + tag }}
}

func TestWhoHasNoPasswordLeavesWithoutOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	w.edit(t, u.ID, func(u *store.User) { u.PasswordHash = "" })
	if err := w.Leave(w.as(t, u), secret.Text{}); err != nil {
		t.Error(err)
	}
}

func TestTheLastAdministratorStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := w.member(t, "a@example.org", actor.Admin), w.member(t, "b@example.org", actor.Admin)
	w.edit(t, second.ID, func(u *store.User) { u.Status = string(identity.Banned) })
	if err := w.Leave(w.as(t, first), secret.New(password)); fault.CodeOf(err) != "last_admin" {
		t.Errorf("the only one who is not banned: %v", err)
	}
	w.edit(t, second.ID, func(u *store.User) { u.Status = string(identity.Active) })
	leftAtOnce(t, w.Service, first, second)
}

// leftAtOnce has two administrators leave at once: one of them stays.
func leftAtOnce(t *testing.T, s *identity.Service, both ...store.User) {
	t.Helper()
	results := make(chan error, len(both))
	for _, u := range both {
		go func() {
			results <- s.Leave(coretest.As(t.Context(), u.ID, actor.Admin), secret.New(password))
		}()
	}
	one, two := <-results, <-results
	if (one == nil) == (two == nil) || fault.CodeOf(errors.Join(one, two)) != "last_admin" {
		t.Errorf("%v, %v", one, two)
	}
}

func TestWhoHasClustersStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	c := store.Cluster{ID: id.New[id.ClusterKind](w.Now(), [10]byte{1}), OwnerUserID: u.ID, Name: "demo", VclusterName: "demo", Namespace: "demo", Status: "deleting", CreatedAt: w.Now(), UpdatedAt: w.Now()}
	w.tx(t, func(ctx context.Context, tx store.Tx) error { return tx.Clusters().Insert(ctx, &c) })
	if err := w.Leave(w.as(t, u), secret.New(password)); fault.CodeOf(err) != "clusters_exist" {
		t.Errorf("while a cluster is being deleted: %v", err)
	}
	c.Status, c.DeletedAt = "deleted", new(w.Now())
	w.tx(t, func(ctx context.Context, tx store.Tx) error { return tx.Clusters().Update(ctx, &c) })
	if err := w.Leave(w.as(t, u), secret.New(password)); err != nil {
		t.Error(err)
	}
}

func TestAPictureTakesTheOtherOnesPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	var tags []string
	for _, body := range []string{"first", "second", "second"} {
		got, err := w.SetAvatar(w.as(t, u), portrait(body))
		tag := got.AvatarURL[strings.LastIndexByte(got.AvatarURL, '/')+1:]
		if err != nil || len(tag) != 32 {
			t.Fatalf("%q, %v", got.AvatarURL, err)
		}
		if a, err := w.Avatar(t.Context(), u.ID, tag); err != nil || string(a.Body) != body || a.ContentType != "image/png" {
			t.Errorf("%+v, %v", a, err)
		}
		tags = append(tags, tag)
	}
	if tags[0] == tags[1] || tags[1] != tags[2] {
		t.Errorf("tags %q", tags)
	}
	for _, tag := range []string{tags[0], "", "x"} {
		if _, err := w.Avatar(t.Context(), u.ID, tag); !errors.Is(err, fault.NotFound) {
			t.Errorf("by the tag %q: %v", tag, err)
		}
	}
	if got := last(w.events(t)); got != "user/update_avatar success by user" {
		t.Errorf("recorded %s", got)
	}
}

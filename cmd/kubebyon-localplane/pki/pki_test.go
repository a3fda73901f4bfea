package pki

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAuthorityIsKeptForEver(t *testing.T) {
	t.Parallel()
	dir, clock := t.TempDir(), newClock()
	first := authority(t, dir, clock)
	clock.advance(19 * 365 * day)
	second := authority(t, dir, clock)
	if !bytes.Equal(first.PEM(), second.PEM()) || first.Hash() != second.Hash() {
		t.Error("the authority changed")
	}
}

// The process may have been killed between writing the two.
func TestAuthorityWithOnlyAKeyIsFinished(t *testing.T) {
	t.Parallel()
	dir, clock := t.TempDir(), newClock()
	first := authority(t, dir, clock)
	if err := os.Remove(first.CertFile()); err != nil {
		t.Fatal(err)
	}
	if second := authority(t, dir, clock); second.Hash() != first.Hash() {
		t.Error("the key was made anew")
	}
}

func TestAuthorityIsNeverReplaced(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage func(dir string) error
		want   string
	}{
		"KeyGone":     {func(dir string) error { return os.Remove(filepath.Join(dir, "ca.key")) }, "is missing beside its certificate"},
		"KeyDamaged":  {func(dir string) error { return os.WriteFile(filepath.Join(dir, "ca.key"), []byte("x"), 0o600) }, "is damaged"},
		"CertDamaged": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("x"), 0o600) }, "is damaged"},
		"OtherKey": {func(dir string) error {
			_, err := newKey(filepath.Join(dir, "ca.key"))
			return err
		}, "does not belong to the certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, clock := t.TempDir(), newClock()
			authority(t, dir, clock)
			if err := c.damage(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := KeepAuthority(dir, "ca", "test", clock.now); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestLeafIsReissuedOnlyWhenItMust(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(a *Authority, clock *clock) (Pair, error)
		anew   bool
	}{
		"Same": {func(a *Authority, _ *clock) (Pair, error) {
			return a.KeepServer("leaf", "server", []string{"b", "a", "192.0.2.1"})
		}, false},
		"OtherOrder": {func(a *Authority, _ *clock) (Pair, error) {
			return a.KeepServer("leaf", "server", []string{"192.0.2.1", "a", "b", "a"})
		}, false},
		"OneMore": {func(a *Authority, _ *clock) (Pair, error) {
			return a.KeepServer("leaf", "server", []string{"b", "a", "c", "192.0.2.1"})
		}, true},
		"OneLess": {func(a *Authority, _ *clock) (Pair, error) {
			return a.KeepServer("leaf", "server", []string{"b", "192.0.2.1"})
		}, true},
		"OtherUse": {func(a *Authority, _ *clock) (Pair, error) { return a.KeepClient("leaf", Client{User: "server"}) }, true},
		"NearItsEnd": {func(a *Authority, c *clock) (Pair, error) {
			c.advance(serverLifetime - renewWithin + day)
			return a.KeepServer("leaf", "server", []string{"b", "a", "192.0.2.1"})
		}, true},
		"NotYet": {func(a *Authority, c *clock) (Pair, error) {
			c.advance(serverLifetime - renewWithin - day)
			return a.KeepServer("leaf", "server", []string{"b", "a", "192.0.2.1"})
		}, false},
		"KeyGone": {func(a *Authority, _ *clock) (Pair, error) {
			_ = os.Remove(filepath.Join(a.dir, "leaf.key"))
			return a.KeepServer("leaf", "server", []string{"b", "a", "192.0.2.1"})
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			a := authority(t, t.TempDir(), clock)
			before, err := a.KeepServer("leaf", "server", []string{"b", "a", "192.0.2.1"})
			if err != nil {
				t.Fatal(err)
			}
			after, err := c.change(a, clock)
			if err != nil {
				t.Fatal(err)
			}
			if anew := !bytes.Equal(before.Cert, after.Cert); anew != c.anew {
				t.Errorf("made anew: %v, want %v", anew, c.anew)
			}
		})
	}
}

func TestKubeconfigHasTheSameBytes(t *testing.T) {
	t.Parallel()
	a := authority(t, t.TempDir(), newClock())
	pair, err := a.KeepClient("admin", Client{User: "admin", Groups: []string{"masters"}})
	if err != nil {
		t.Fatal(err)
	}
	var contents []string
	for range 2 {
		path := filepath.Join(t.TempDir(), "kubeconfig")
		if err := a.KeepKubeconfig(path, "https://127.0.0.1:1", "acme", "admin", pair); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		contents = append(contents, string(content))
	}
	if contents[0] != contents[1] {
		t.Error("two kubeconfigs of the same differ")
	}
}

type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time          { return c.at }
func (c *clock) advance(d time.Duration) { c.at = c.at.Add(d) }

func authority(t *testing.T, dir string, clock *clock) *Authority {
	t.Helper()
	a, err := KeepAuthority(dir, "ca", "test", clock.now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

package bunstore

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestOneProcessHasAFile, and others may look at it meanwhile.
func TestOneProcessHasAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kubebyon.db")
	open := func(sole bool) *Store {
		s, err := New(Config{URL: "sqlite:" + path, Sole: sole})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first, second, guest := open(true), open(true), open(false)
	if err := first.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := second.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "another kubebyon has the database file "+path) {
		t.Errorf("a second one: %v", err)
	}
	if err := first.Start(t.Context()); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if err := guest.Start(t.Context()); err != nil {
		t.Errorf("a guest: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := second.Start(t.Context()); err != nil {
		t.Errorf("after the first: %v", err)
	}
	for _, s := range []*Store{second, guest} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

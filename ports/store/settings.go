package store

import (
	"context"
	"time"
)

// Setting is a section of the installation's settings. Its secrets are
// unreadable without the server's key.
type Setting struct {
	Name      string
	Value     []byte // without secrets
	Sealed    []byte // the secrets; empty: none
	Version   int64  // set by the store, one higher on every Put
	UpdatedAt time.Time
}

// Settings store the installation's settings.
type Settings interface {
	// All returns every section that has been written, by name.
	All(ctx context.Context) ([]Setting, error)
	// Put writes a new section, whose Version is 0, or replaces the one whose
	// Version is s.Version, and raises s.Version. It fails with fault.Conflict, code
	// stale_version, if somebody else wrote the section first.
	Put(ctx context.Context, s *Setting) error
}

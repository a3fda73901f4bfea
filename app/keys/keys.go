// Package keys finds the key for secrets at rest.
package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/seal"
)

// FromText reads the key that somebody was given.
func FromText(text secret.Text) (seal.Sealer, error) {
	s, err := keyseal.FromText(text)
	if err != nil {
		return nil, fmt.Errorf("KUBEBYON_SECRET_KEY: %w", err)
	}
	return s, nil
}

// FromFile reads the key file beside a database file, and makes one for a
// database that is not there yet.
func FromFile(database string, log *slog.Logger) (seal.Sealer, error) {
	file := filepath.Join(filepath.Dir(database), "secret.key")
	if isThere(database) && !isThere(file) {
		return nil, fmt.Errorf("the key file %s is missing, and the database beside it cannot be read without it; put it back", file)
	}
	s, made, err := keyseal.LoadOrCreateFile(file)
	if err != nil {
		return nil, err
	}
	if made {
		log.Info("made a key for secrets at rest; keep a copy of it apart from the database", "file", file)
	}
	return s, nil
}

func isThere(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, fs.ErrNotExist)
}

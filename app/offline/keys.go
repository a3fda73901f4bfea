package offline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/kubebyon/kubebyon/adapters/bunstore"
	"github.com/kubebyon/kubebyon/app/keys"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

var errNoKey = errors.New("KUBEBYON_SECRET_KEY is required with PostgreSQL: the master key that the servers have")

// Keys replaces the keys of one installation.
type Keys struct {
	ring  *keys.Keyring
	store *bunstore.Store
	file  string
}

// OpenKeys opens a database, migrated first, whose master key is the text or, when
// that is zero, in the key file beside it. Close must follow.
func OpenKeys(ctx context.Context, databaseURL string, key secret.Text, log *slog.Logger) (*Keys, error) {
	m, err := masterKey(databaseURL, key)
	if err != nil {
		return nil, err
	}
	s, err := bunstore.Open(ctx, bunstore.Config{URL: databaseURL, Log: log})
	if err != nil {
		return nil, err
	}
	if err := s.Migrate(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &Keys{ring: keys.NewKeyring(s, m, log), store: s, file: m.File()}, nil
}

func masterKey(databaseURL string, key secret.Text) (keys.Master, error) {
	if !key.IsZero() {
		return keys.FromText(keys.Variable, key)
	}
	path, isFile := strings.CutPrefix(databaseURL, "sqlite:")
	if !isFile {
		return keys.Master{}, errNoKey
	}
	return keys.Existing(strings.TrimPrefix(path, "//"))
}

// Close gives the database back.
func (k *Keys) Close() error { return k.store.Close() }

// NewDataKey seals with a new data key from now on, and says so.
func (k *Keys) NewDataKey(ctx context.Context) (string, error) {
	out, err := k.ring.Rotate(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("The data key %s seals from now on. Values sealed anew: %d. Data keys: %d, after %d were removed.",
		out.Key, out.Anew, out.Keys, out.Forgotten), nil
}

// NewMasterKey wraps the data keys by another master key, which is the text or in
// the file, and says what is to do.
func (k *Keys) NewMasterKey(ctx context.Context, text secret.Text, file string) (string, error) {
	to, err := newMaster(text, file)
	if err != nil {
		return "", err
	}
	changed, err := k.ring.ChangeMaster(ctx, to)
	if err != nil {
		return "", err
	}
	done := fmt.Sprintf("The master key is %s from now on.", to.ID())
	if !changed {
		done = fmt.Sprintf("The master key is %s already.", to.ID())
	}
	if k.file != "" {
		done += fmt.Sprintf(" It is in %s.", k.file)
	} else {
		done += " Running servers and workers go on; give it to each as KUBEBYON_SECRET_KEY, and start them again soon."
	}
	return done + " Keep the old one for as long as you keep backups made with it.", nil
}

func newMaster(text secret.Text, file string) (keys.Master, error) {
	if file != "" {
		return keys.New(file)
	}
	return keys.FromText("KUBEBYON_NEW_SECRET_KEY", text)
}

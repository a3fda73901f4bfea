// Package keys keeps an installation's secrets at rest sealed: it finds the master
// key, keeps the ring of data keys in the store under it, and replaces either.
//
// A master key is given to every process, as text or in a file. What is sealed is
// sealed with data keys, which are in the store, wrapped by the master key. So a
// new data key needs no word to any process, and a new master key no value to be
// sealed anew.
package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// Variable is where the master key is given as text.
const Variable = "KUBEBYON_SECRET_KEY"

// Master is a master key, and where it came from.
type Master struct {
	key  *keyseal.Sealer
	from string // as messages name it
	file string // the key file; empty when the key was given as text
}

// FromText reads the key that somebody was given in an environment variable.
func FromText(variable string, text secret.Text) (Master, error) {
	s, err := keyseal.FromText(text)
	if err != nil {
		return Master{}, fmt.Errorf("%s: %w", variable, err)
	}
	return Master{key: s, from: "the key in " + variable}, nil
}

// FromFile reads the key file beside a database file, and makes one for a
// database that is not there yet.
func FromFile(database string, log *slog.Logger) (Master, error) {
	if isThere(database) {
		return Existing(database)
	}
	file := fileOf(database)
	s, made, err := keyseal.LoadOrCreateFile(file)
	if err != nil {
		return Master{}, err
	}
	if made {
		log.Info("made a key for secrets at rest; keep a copy of it apart from the database", "file", file)
	}
	return inFile(s, file), nil
}

// Existing reads the key file beside a database file, and makes none.
func Existing(database string) (Master, error) {
	file := fileOf(database)
	s, err := keyseal.LoadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Master{}, fmt.Errorf("the key file %s is missing, and the database beside it cannot be read without it; put it back", file)
	}
	return inFile(s, file), err
}

// New reads the key in a file that somebody named, and which stays theirs. Its
// error does not repeat a name that is no file's: it may be the key itself.
func New(file string) (Master, error) {
	if _, err := os.Stat(file); err != nil {
		return Master{}, errNoFile
	}
	s, err := keyseal.LoadFile(file)
	return Master{key: s, from: "the key in the file " + file}, err
}

var errNoFile = errors.New("--new-key-file names no file that can be found; make one with: (umask 077; openssl rand -base64 32 > FILE)")

// ID names the key, and says nothing about it.
func (m Master) ID() string { return m.key.ID() }

// File is the key file, empty when the key was given as text.
func (m Master) File() string { return m.file }

func fileOf(database string) string { return filepath.Join(filepath.Dir(database), "secret.key") }

func inFile(s *keyseal.Sealer, file string) Master {
	return Master{key: s, from: "the key in the file " + file, file: file}
}

func isThere(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, fs.ErrNotExist)
}

// notTheOne refuses a key that is not that of the id.
func (m Master) notTheOne(id string) error {
	return fault.Internal.New("wrong_key",
		"%s%s (id %s) is not the one that this installation's secrets are sealed with (id %s). Give back the key with that id.",
		strings.ToUpper(m.from[:1]), m.from[1:], m.ID(), id)
}

// outlived is about a value whose key came after another master key had come.
func (m Master) outlived(id string) error {
	return fault.Internal.New("unknown_key",
		"A sealed value names a data key that this process cannot learn of: it was started with the master key %s, which %s has replaced. Start it again with that one.", m.ID(), id)
}

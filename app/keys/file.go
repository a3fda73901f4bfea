package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
)

// A new master key comes into a key file in three steps: it is written beside it,
// under a name of its own; the ring is wrapped by it; it takes the place of the
// old one. Whoever starts after a crash in between looks at the ring and knows
// which of the two is the key.

const nextMark = ".next-"

func (m *Master) next(id string) string { return m.file + nextMark + id }

// adopt takes the key of that id from the key file or from beside it, if it is
// there, and changes no file.
func (m *Master) adopt(id string) (err error) {
	if m.file == "" || m.key.ID() == id {
		return nil
	}
	for _, file := range []string{m.file, m.next(id)} {
		key, err := keyseal.LoadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if key.ID() == id {
			m.key = key
			return nil
		}
	}
	return nil
}

// isSettled reports whether the key file holds the key of that id, and nothing is
// left beside it.
func (m *Master) isSettled(id string) bool {
	left, err := m.beside()
	return m.file == "" || err == nil && len(left) == 0 && m.key.ID() == id
}

// settle ends what a change of the key has begun: the key of that id is in the
// key file afterwards, and no other is left beside it. If there is no such key
// here, nothing is touched: this may be another installation's folder. Its caller
// has the turn.
func (m *Master) settle(id string) error {
	if err := m.adopt(id); err != nil || m.file == "" || m.key.ID() != id {
		return err
	}
	err := keyseal.MoveFile(m.next(id), m.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the new key is in %s, and cannot be put into %s: %w", m.next(id), m.file, err)
	}
	left, err := m.beside()
	for _, file := range left {
		err = errors.Join(err, os.Remove(file))
	}
	return err
}

// beside lists the keys that are not in the key file.
func (m *Master) beside() (files []string, err error) {
	if m.file == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(filepath.Dir(m.file))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(m.file)+nextMark) {
			files = append(files, filepath.Join(filepath.Dir(m.file), e.Name()))
		}
	}
	return files, err
}

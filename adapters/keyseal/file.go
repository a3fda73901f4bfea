package keyseal

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// LoadOrCreateFile reads the key in a file, and makes one when there is no
// file; made reports that it did. Of several processes at once one makes it and
// all get it: the file appears with its content or not at all. A file that
// others may read, or that holds no key, is refused.
func LoadOrCreateFile(path string) (s *Sealer, made bool, err error) {
	s, err = LoadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, false, err
	}
	made, err = create(path)
	if err != nil {
		return nil, false, fault.Internal.New("key_file_not_made",
			"The key file %s could not be made; check that its folder exists and may be written to.", path).Because(err)
	}
	s, err = LoadFile(path)
	return s, made, err
}

// LoadFile reads the key in a file, and refuses what LoadOrCreateFile does. It
// fails with fs.ErrNotExist when there is no file.
func LoadFile(path string) (*Sealer, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, fault.Internal.New("key_file_unreadable",
			"The key file %s cannot be read; let the account that runs KubeBYON own it.", path).Because(err)
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, fault.Internal.New("key_file_unreadable", "The key file %s is not a file.", path).Because(err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fault.Internal.New("key_file_exposed",
			"The key file %s may be read or changed by other accounts of this machine; run: chmod 600 %s", path, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return nil, fault.Internal.New("key_file_unreadable", "The key file %s cannot be read.", path).Because(err)
	}
	key, ok := parse(string(text))
	if !ok {
		return nil, fault.Internal.New("key_file_malformed",
			"The key file %s does not hold a key of 32 bytes in base64. Put the right file back; remove it only if nothing was sealed with it.", path)
	}
	return New(key), nil
}

// WriteFile puts a key into a file, whole or not at all, and replaces the file
// that is there. When it returns, the key outlives a loss of power.
func WriteFile(path string, s *Sealer) error {
	return written(path, s.key, func(tmp string) error { return os.Rename(tmp, path) })
}

// MoveFile gives a key file another name, and replaces the file that has it.
func MoveFile(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

// create makes the file when there is none: then linking it into place fails,
// and the one that is there counts.
func create(path string) (made bool, err error) {
	var key [keySize]byte
	_, _ = rand.Read(key[:]) // never fails: crypto/rand ends the program instead
	err = written(path, key, func(tmp string) error { return os.Link(tmp, path) })
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// written writes the whole key to a file of another name first, and then has
// place put it where it belongs.
func written(path string, key [keySize]byte, place func(tmp string) error) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if gone := os.Remove(tmp.Name()); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}()
	_, err = tmp.WriteString(base64.StdEncoding.EncodeToString(key[:]) + "\n")
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	if err := place(tmp.Name()); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}

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
	s, err = load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, false, err
	}
	made, err = create(path)
	if err != nil {
		return nil, false, fault.Internal.New("key_file_not_made",
			"The key file %s could not be made; check that its folder exists and may be written to.", path).Because(err)
	}
	s, err = load(path)
	return s, made, err
}

func load(path string) (*Sealer, error) {
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

// create writes the whole key to a file of another name first. Linking it into
// place fails when there is a file already: then that one counts.
func create(path string) (made bool, err error) {
	var key [keySize]byte
	_, _ = rand.Read(key[:]) // never fails: crypto/rand ends the program instead
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.Remove(tmp.Name())) }()
	_, err = tmp.WriteString(base64.StdEncoding.EncodeToString(key[:]) + "\n")
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return false, fmt.Errorf("write key: %w", err)
	}
	if err = os.Link(tmp.Name(), path); errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, errors.Join(err, syncDir(filepath.Dir(path)))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}

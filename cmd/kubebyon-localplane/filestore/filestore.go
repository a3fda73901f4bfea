// Package filestore owns a process's directory: only its owner may look inside, one process at a
// time uses it, and a file in it is there whole or not at all.
package filestore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

// Dir is a directory that this process has to itself until it ends.
type Dir struct {
	path string
	lock *os.File
	self *os.File
}

// Claim makes the directory where there is none and locks it. The kernel drops the lock with the
// process, however that ends.
func Claim(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find the directory: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, refusal.New("The directory %s cannot be made: %s.", path, plain(err)).Because(err)
	}
	// It may have been made by somebody else, wider.
	if err := os.Chmod(path, 0o700); err != nil { //nolint:gosec // a directory needs the x bit
		return nil, refusal.New("The directory %s cannot be made private: %s.", path, plain(err)).Because(err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, refusal.New("The directory %s is not writable: %s.", path, plain(err)).Because(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, refusal.New("Another running process uses the directory %s.", path).Because(err)
	}
	self, err := os.Open(path)
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("open the directory: %w", err)
	}
	return &Dir{path: path, lock: lock, self: self}, nil
}

// Path names a file in the directory.
func (d *Dir) Path(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

// Sync returns when the names of the files in the directory would survive a power cut.
func (d *Dir) Sync() error { return d.self.Sync() }

// Release gives the directory up.
func (d *Dir) Release() {
	_, _ = d.self.Close(), d.lock.Close()
}

// SocketPath names a Unix socket in the directory in a way that this process can always use. The
// kernel takes no more than 108 bytes; a longer path goes through the open directory itself.
func (d *Dir) SocketPath(name string) string {
	const longest = 107
	if path := d.Path(name); len(path) <= longest {
		return path
	}
	return filepath.Join(d.Alias(), name)
}

// Alias is a short name of the directory that only this process can use.
func (d *Dir) Alias() string { return fmt.Sprintf("/proc/self/fd/%d", d.self.Fd()) }

// Read gives a file's content, nil if there is no such file.
func Read(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return content, err
}

// Write puts a file in place whole, for its owner only, and leaves it alone if it is the same.
func Write(path string, content []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone already when all went well
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

// plain is the last word of an error: "permission denied" rather than the call and path before it.
func plain(err error) string {
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		return pathErr.Err.Error()
	}
	return err.Error()
}

package logfile

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// stderr is this process's standard error, led into the log: some libraries write there whatever
// they are told, among them the store's client, whenever a tenant stops. The stack of a crash is
// not lost with it, for that goes to crash.log as well.
type stderr struct {
	original int
	copied   chan struct{}
}

func captureStderr(w io.Writer) (*stderr, error) {
	r, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer in.Close() //nolint:errcheck // standard error keeps it open
	original, err := unix.FcntlInt(uintptr(unix.Stderr), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("keep standard error: %w", err)
	}
	if err := unix.Dup3(int(in.Fd()), unix.Stderr, 0); err != nil {
		return nil, fmt.Errorf("lead standard error away: %w", err)
	}
	s := &stderr{original: original, copied: make(chan struct{})}
	go func() {
		defer close(s.copied)
		_, _ = io.Copy(w, r)
		_ = r.Close()
	}()
	return s, nil
}

// release puts standard error back, for the last words.
func (s *stderr) release() error {
	err := unix.Dup3(s.original, unix.Stderr, 0)
	_ = unix.Close(s.original)
	if err == nil {
		<-s.copied
	}
	return err
}

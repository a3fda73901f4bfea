// Package lifeline ends a process together with the one that started it. The parent keeps one
// end of a pipe open and hands the other down; when the parent is gone, in whatever way, the
// kernel closes its end and the child reads end of file. Linux' parent-death signal follows the
// thread that started the child, which Go may end at any time, and so is not used.
package lifeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// ErrParentGone is the cause of a context that ended with its parent process.
var ErrParentGone = errors.New("the process that held the lifeline is gone")

// Hold ends the returned context, with cause ErrParentGone, when fd reads end of file.
func Hold(ctx context.Context, fd int) (context.Context, error) {
	// Nothing this process starts may keep or read the pipe.
	syscall.CloseOnExec(fd)
	pipe := os.NewFile(uintptr(fd), "lifeline")
	if pipe == nil {
		return nil, fmt.Errorf("lifeline: %d is not a file descriptor", fd)
	}
	if _, err := pipe.Stat(); err != nil {
		return nil, fmt.Errorf("lifeline: file descriptor %d: %w", fd, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		defer pipe.Close() //nolint:errcheck // only read
		// What is written into the pipe means nothing; only its end does.
		_, _ = io.Copy(io.Discard, pipe)
		cancel(ErrParentGone)
	}()
	return ctx, nil
}

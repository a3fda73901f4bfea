package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/klog/v2"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/filestore"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/lifeline"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/logfile"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/progress"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

// Deadlines after which a process that was told to stop is gone, finished or not.
const (
	stopDeadline   = 9 * time.Second
	orphanDeadline = time.Second
)

// noLifeline is the flag's default: the process is on its own.
const noLifeline = -1

// errReported ends the program after its reason went out as progress.
var errReported = errors.New("failed; the reason is on standard output")

// process is what tenants and nodes share: a directory of their own, a log, progress, an end.
type process struct {
	dir      *filestore.Dir
	log      *logfile.Log
	progress *progress.Reporter
	stopping atomic.Bool
	exit     sync.Once
}

type processFlags struct {
	dir      string
	logName  string
	logLevel int
	lifeline int
}

// run gives body all of it, and reports how it ended.
func (f processFlags) run(body func(ctx context.Context, p *process) error) error {
	now := time.Now()
	p := &process{progress: progress.To(os.Stdout, progress.ProcessStart(now), time.Now)}
	// A reader of the progress that has gone away must not take this process along.
	signal.Ignore(syscall.SIGPIPE)
	if err := f.runIn(p, body); err != nil {
		p.progress.Fail(refusal.Sentence(err))
		klog.ErrorS(err, "Ended")
		klog.Flush()
		return errReported
	}
	return nil
}

func (f processFlags) runIn(p *process, body func(ctx context.Context, p *process) error) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), endingSignals()...)
	defer stop()
	if f.lifeline != noLifeline {
		if ctx, err = lifeline.Hold(ctx, f.lifeline); err != nil {
			return err
		}
	}
	context.AfterFunc(ctx, func() { p.endBy(ctx) })

	if p.dir, err = filestore.Claim(f.dir); err != nil {
		return err
	}
	defer p.dir.Release()
	if p.log, err = logfile.Open(p.dir.Path(f.logName), f.logLevel); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.log.Close()) }()
	klog.OsExit = func(int) { p.die(fmt.Sprintf("A component gave up; see %s.", p.dir.Path(f.logName))) }
	return body(ctx, p)
}

// die ends the process from deep within a component, where no error can be returned. It does not
// return: the component expects to be gone.
func (p *process) die(reason string) {
	p.exit.Do(func() {
		if p.stopping.Load() {
			// It was told to stop; that a component minds does not make it a failure.
			os.Exit(0)
		}
		p.progress.Fail(reason)
		os.Exit(1)
	})
	select {}
}

// endBy sees to it that a process which was told to stop does.
func (p *process) endBy(ctx context.Context) {
	p.stopping.Store(true)
	deadline := stopDeadline
	if errors.Is(context.Cause(ctx), lifeline.ErrParentGone) {
		deadline = orphanDeadline
	}
	time.AfterFunc(deadline, func() { p.exit.Do(func() { os.Exit(1) }) })
}

// endingSignals leaves an interrupt ignored that the shell had ignored: it does so for what it
// starts in the background, and Ctrl-C is then meant for something else.
func endingSignals() []os.Signal {
	if signal.Ignored(syscall.SIGINT) {
		return []os.Signal{syscall.SIGTERM}
	}
	return []os.Signal{syscall.SIGTERM, syscall.SIGINT}
}

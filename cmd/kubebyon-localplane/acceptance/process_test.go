package acceptance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is for a machine that does much else at the same time.
const patience = 90 * time.Second

type line struct {
	Stage     string    `json:"stage"`
	At        time.Time `json:"at"`
	ElapsedMS int64     `json:"elapsed_ms"`
	Reason    string    `json:"reason"`
	Ingress   string    `json:"ingress"`
}

// process is one that was started; it ends with the test, whatever happens.
type process struct {
	cmd      *exec.Cmd
	lifeline io.Closer
	stderr   bytes.Buffer

	mu     sync.Mutex
	lines  []line
	junk   []string      // on standard output, and not ours
	news   chan struct{} // closed and renewed with each line
	exited chan struct{}
	err    error
}

// launch starts the binary with a lifeline. change may alter the command before.
func launch(tb testing.TB, change func(*exec.Cmd), args ...string) *process {
	tb.Helper()
	p, err := start(binary(tb), change, args...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.end)
	return p
}

func start(binary string, change func(*exec.Cmd), args ...string) (*process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	p := &process{lifeline: w, news: make(chan struct{}), exited: make(chan struct{})}
	p.cmd = exec.Command(binary, append(args, "--lifeline-fd", "3")...)
	p.cmd.ExtraFiles = []*os.File{r}
	p.cmd.Stderr = &p.stderr
	if change != nil {
		change(p.cmd)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go p.follow(out)
	return p, nil
}

func (p *process) follow(out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var l line
		err := json.Unmarshal(lines.Bytes(), &l)
		p.mu.Lock()
		if err != nil || l.Stage == "" || l.At.IsZero() {
			p.junk = append(p.junk, lines.Text())
		} else {
			p.lines = append(p.lines, l)
		}
		close(p.news)
		p.news = make(chan struct{})
		p.mu.Unlock()
	}
	p.err = p.cmd.Wait()
	close(p.exited)
}

func (p *process) find(stage string) (line, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		if l.Stage == stage {
			return l, nil
		}
	}
	return line{}, p.news
}

// await waits for a stage, and fails the test when the process fails first.
func (p *process) await(tb testing.TB, stage string) line {
	tb.Helper()
	timeout := time.After(patience)
	for {
		l, news := p.find(stage)
		if news == nil {
			return l
		}
		select {
		case <-news:
		case <-p.exited:
			if l, news := p.find(stage); news == nil {
				return l
			}
			failed, _ := p.find("failed")
			tb.Fatalf("ended before %s: %v, %q\n%s", stage, p.err, failed.Reason, p.stderr.String())
		case <-timeout:
			tb.Fatalf("no %s within %s", stage, patience)
		}
	}
}

// awaitFailure waits for the end, and gives the reason.
func (p *process) awaitFailure(tb testing.TB) string {
	tb.Helper()
	p.awaitExit(tb, patience)
	l, news := p.find("failed")
	if news != nil {
		tb.Fatalf("ended without a reason: %v\n%s", p.err, p.stderr.String())
	}
	if exit, ok := errors.AsType[*exec.ExitError](p.err); !ok || exit.ExitCode() == 0 {
		tb.Errorf("failed with %v, want an exit code other than 0", p.err)
	}
	return l.Reason
}

func (p *process) awaitExit(tb testing.TB, within time.Duration) time.Duration {
	tb.Helper()
	began := time.Now()
	select {
	case <-p.exited:
	case <-time.After(within):
		tb.Fatalf("still runs after %s", within)
	}
	return time.Since(began)
}

func (p *process) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

// stop ends the process as whoever runs it would.
func (p *process) stop(tb testing.TB) {
	tb.Helper()
	p.signal(syscall.SIGTERM)
	p.awaitExit(tb, 11*time.Second)
	if p.err != nil {
		tb.Errorf("stopped with %v, want a clean exit", p.err)
	}
}

func (p *process) end() {
	p.lifeline.Close()
	select {
	case <-p.exited:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

func (p *process) stages() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	stages := make([]string, len(p.lines))
	for i, l := range p.lines {
		stages[i] = l.Stage
	}
	return slices.Clip(stages)
}

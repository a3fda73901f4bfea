package planeprovision

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/provision"
)

const (
	lifelineFD = 3        // where the child finds the first of exec.Cmd.ExtraFiles
	longest    = 16 << 10 // bytes of a line of progress
	tailSize   = 4 << 10
	askFor     = 20 * time.Second
)

// askVersions runs the program once to learn what it offers.
func askVersions(ctx context.Context, binary string) ([]provision.Version, error) {
	if err := isThere(binary); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "versions")
	cmd.Env, cmd.WaitDelay = environment(), time.Second
	last := &tail{}
	cmd.Stderr = last
	out, err := cmd.Output()
	if err != nil {
		return nil, unusable(binary).Because(fmt.Errorf("ask for its versions: %w: %s", err, last.lastLine()))
	}
	var offered []struct {
		Version  string `json:"version"`
		Emulated bool   `json:"emulated"`
	}
	if err := json.Unmarshal(out, &offered); err != nil || len(offered) == 0 {
		return nil, unusable(binary).Because(fmt.Errorf("read its versions: %w", err))
	}
	var versions []provision.Version
	for _, o := range offered {
		versions = append(versions, provision.Version{Name: o.Version, Emulated: o.Emulated})
	}
	return versions, nil
}

func unusable(binary string) *fault.Error {
	return fault.Unavailable.New("localplane_unusable", "The program %s does not say which Kubernetes versions it offers; run make build.", binary)
}

// report is a line of progress.
type report struct {
	Stage  string `json:"stage"`
	Reason string `json:"reason"`
}

// child is one process. It ends when this process does, since then nobody holds
// the other end of its lifeline.
type child struct {
	cmd      *exec.Cmd
	dir      string
	lifeline *os.File
	reports  chan report
	last     *tail
	progress *lines
	ended    chan struct{} // closed when it has been waited for
	err      error         // of waiting, once ended
}

// startChild hands held down: whatever is locked with it is so until the child
// has ended.
func startChild(binary string, args []string, dir string, held *os.File) (*child, error) {
	if err := isThere(binary); err != nil {
		return nil, hopelessError{err}
	}
	theirs, ours, err := os.Pipe() // both ends are closed on exec, but for the copy that the child gets
	if err != nil {
		return nil, fmt.Errorf("make a lifeline: %w", err)
	}
	c := &child{dir: dir, lifeline: ours, reports: make(chan report, 16), last: &tail{}, ended: make(chan struct{})}
	c.progress = &lines{each: c.hear}
	c.cmd = exec.Command(binary, args...) //nolint:noctx // stop asks it to end before it kills
	c.cmd.Dir, c.cmd.Env, c.cmd.ExtraFiles = dir, environment(), []*os.File{theirs, held}
	c.cmd.Stdout, c.cmd.Stderr = c.progress, c.last
	// What the child has started itself may hold its output open.
	c.cmd.WaitDelay = time.Second
	// Ctrl-C in a terminal is for this process, which ends its children in order.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = c.cmd.Start()
	_ = theirs.Close()
	if err != nil {
		_ = ours.Close()
		return nil, fault.Unavailable.New("localplane_not_started", "The local control plane program %s could not be started.", binary).Because(err)
	}
	go c.wait()
	return c, nil
}

// environment is this process's own without its settings, and those of its
// database's driver: some are secrets.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "KUBEBYON_") || strings.HasPrefix(v, "PG")
	})
}

func (c *child) wait() {
	c.err = c.cmd.Wait()
	_ = c.lifeline.Close()
	close(c.ended)
}

func (c *child) pid() int { return c.cmd.Process.Pid }

func (c *child) logFile() string { return filepath.Join(c.dir, "plane.log") }

// hear takes a line of progress. A child that says more than anyone needs is not
// listened to.
func (c *child) hear(line []byte) {
	var r report
	if json.Unmarshal(line, &r) != nil || r.Stage == "" || r.Stage == "failed" {
		return // why looks at the last line for itself
	}
	select {
	case c.reports <- r:
	default:
	}
}

// stop returns when the child has ended: by itself, or killed after grace or
// once there is hurry.
func (c *child) stop(grace time.Duration, hurry <-chan struct{}) {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // unless it has ended already
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-c.ended:
		return
	case <-late.C:
	case <-hurry:
	}
	_ = c.cmd.Process.Kill()
	<-c.ended
}

// why says why a child ended that was not asked to.
func (c *child) why() error {
	cause := errors.Join(fmt.Errorf("it ended: %w", orDone(c.err)), errors.New(c.last.text()))
	var r report
	if json.Unmarshal(c.progress.last(), &r) == nil && r.Stage == "failed" && r.Reason != "" {
		return fault.Unavailable.New("control_plane_failed", "%s", stopped(scrub(r.Reason))).Because(cause)
	}
	how := orDone(c.err).Error()
	if line := c.last.lastLine(); line != "" {
		how += ", " + line
	}
	return fault.Unavailable.New("control_plane_ended", "The control plane ended unexpectedly: %s See %s.", stopped(how), c.logFile()).Because(cause)
}

var errDone = errors.New("it stopped by itself")

func orDone(err error) error {
	if err == nil {
		return errDone
	}
	return err
}

// stopped ends a sentence.
func stopped(s string) string { return strings.TrimRight(s, ". \n") + "." }

// lines hands over each whole line written to it, and remembers the last. What
// is too long for a line is dropped.
type lines struct {
	each func([]byte)

	mu      sync.Mutex
	partial []byte
	tooLong bool
	whole   []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(b)
	for {
		line, rest, found := bytes.Cut(b, []byte{'\n'})
		l.take(line)
		if !found {
			return n, nil
		}
		l.finish()
		b = rest
	}
}

func (l *lines) take(b []byte) {
	if len(l.partial)+len(b) > longest {
		l.tooLong, b = true, nil
	}
	l.partial = append(l.partial, b...)
}

func (l *lines) finish() {
	if !l.tooLong && len(l.partial) > 0 {
		l.whole = bytes.Clone(l.partial)
		l.each(l.whole)
	}
	l.partial, l.tooLong = l.partial[:0], false
}

func (l *lines) last() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.whole
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	kept []byte
	cut  bool // kept does not begin where the output did
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cut = t.cut || len(t.kept)+len(b) > tailSize
	t.kept = append(t.kept, b[max(0, len(b)-tailSize):]...)
	t.kept = bytes.Clone(t.kept[max(0, len(t.kept)-tailSize):])
	return len(b), nil
}

// text leaves out the rest of a line, or at least of a word, of which the
// beginning has been dropped: half a key is not recognized as one.
func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.kept
	if t.cut {
		kept = afterFirst(kept)
	}
	return scrub(strings.ToValidUTF8(string(kept), "�"))
}

func afterFirst(text []byte) []byte {
	for _, ends := range []string{"\n", " \t\r"} {
		if i := bytes.IndexAny(text, ends); i >= 0 {
			return text[i:]
		}
	}
	return nil
}

// lastLine is the last one that says something, cut short for people.
func (t *tail) lastLine() string {
	all := strings.Split(strings.TrimSpace(t.text()), "\n")
	line := []rune(strings.TrimSpace(all[len(all)-1]))
	return string(line[:min(len(line), 300)])
}

// secrets are what a stray line may hold: a PEM block, its rest or its end alone,
// bootstrap and bearer tokens, passwords in URLs and in assignments, keys and
// certificates in base64.
var secrets = regexp.MustCompile(`(?s)\A(?:[A-Za-z0-9+/=]*\s+)*-----END[^\n]*|://[^\s/@]*:[^\s@]+@|-----BEGIN.*?(-----END[^\n]*|$)|\b[a-z0-9]{6}\.[a-z0-9]{16}\b|` +
	`(?i:(token|password|secret|key)["']?\s*[:=]\s*|bearer\s+)["']?[^\s"']{8,}|` +
	`[A-Za-z0-9+/]{64,}={0,2}|[A-Za-z0-9+/]{40,}={1,2}|[A-Za-z0-9_-]{40,}`) // shorter ones with a slash may be paths

func scrub(s string) string { return secrets.ReplaceAllString(s, "[redacted]") }

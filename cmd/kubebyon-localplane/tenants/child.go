package tenants

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// The child finds the first of exec.Cmd.ExtraFiles as descriptor 3.
const (
	lifelineFD = 3
	listenerFD = 4
)

const (
	longestLine = 16 << 10
	stopGrace   = 9 * time.Second
)

// report is a line of the child's progress.
type report struct {
	Stage  string `json:"stage"`
	Reason string `json:"reason"`
}

// child is a running plane. It ends when this process does, since then nobody holds the other
// end of its lifeline.
type child struct {
	cmd      *exec.Cmd
	lifeline io.Closer
	ready    chan struct{} // closed when it says so
	ended    chan struct{} // closed when it has been waited for
	reason   string        // of its end, once ended
}

func startChild(program, dir string, l *net.TCPListener, w Want) (*child, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory: %w", err)
	}
	socket, err := l.File()
	if err != nil {
		return nil, fmt.Errorf("hand down the listener: %w", err)
	}
	defer socket.Close() //nolint:errcheck // a copy
	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a lifeline: %w", err)
	}
	defer theirs.Close() //nolint:errcheck // a copy
	c := &child{lifeline: ours, ready: make(chan struct{}), ended: make(chan struct{})}
	c.cmd = exec.Command(program, w.args(dir)...) //nolint:noctx // this very program; stop asks it to end before it kills
	c.cmd.Dir, c.cmd.ExtraFiles = dir, []*os.File{theirs, socket}
	// Ctrl-C in a terminal is for this process, which ends its children in order.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("start the plane: %w", err)
	}
	go c.follow(out)
	return c, nil
}

func (w Want) args(dir string) []string {
	args := []string{
		"tenant", "--dir", dir, "--name", w.Name,
		"--listener-fd", fmt.Sprint(listenerFD), "--lifeline-fd", fmt.Sprint(lifelineFD),
		"--endpoint", w.Public, "--kubernetes-version", w.Version,
		"--pod-cidr", w.PodCIDR, "--service-cidr", w.ServiceCIDR,
	}
	for _, name := range w.SANs {
		args = append(args, "--san", name)
	}
	if w.Light {
		args = append(args, "--light")
	}
	if w.NoFsync {
		args = append(args, "--unsafe-no-fsync")
	}
	return args
}

// follow reads the progress to its end, then waits for the process.
func (c *child) follow(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, longestLine)
	isReady := false
	for lines.Scan() {
		var r report
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			continue
		}
		switch {
		case r.Stage == "ready" && !isReady:
			isReady = true
			close(c.ready)
		case r.Stage == "failed":
			c.reason = r.Reason
		}
	}
	_, _ = io.Copy(io.Discard, out)
	err := c.cmd.Wait()
	if c.reason == "" {
		c.reason = fmt.Sprintf("The control plane ended unexpectedly: %v. See %s.", err, filepath.Join(c.cmd.Dir, "plane.log"))
	}
	_ = c.lifeline.Close()
	close(c.ended)
}

// stop returns when the child has ended: by itself, or killed when it takes too long.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(stopGrace):
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
}

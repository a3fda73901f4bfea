package amqpbus

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

const rabbitBin = "/usr/lib/rabbitmq/bin/"

// ownBroker is a RabbitMQ of this package's own, which may be stopped, killed
// and starved. One at a time does so.
type ownBroker struct {
	dir  string
	port int
	env  []string

	turn   sync.Mutex
	cmd    *exec.Cmd
	leash  io.Closer // the broker dies when it is closed, or this process ends
	exited chan struct{}
}

var theBroker struct {
	once   sync.Once
	broker *ownBroker
	err    error
}

// needOwnBroker starts the broker for whoever asks first; TestMain ends it.
func needOwnBroker(t *testing.T) *ownBroker {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a RabbitMQ, which takes long")
	}
	if _, err := os.Stat(rabbitBin + "rabbitmq-server"); err != nil {
		missing(t, "no RabbitMQ to start: install rabbitmq-server")
	}
	theBroker.once.Do(func() { theBroker.broker, theBroker.err = newOwnBroker() })
	if theBroker.err != nil {
		t.Fatal(theBroker.err)
	}
	return theBroker.broker
}

func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func stopOwnBroker() {
	if b := theBroker.broker; b != nil {
		b.kill()
		os.RemoveAll(b.dir)
	}
}

func newOwnBroker() (*ownBroker, error) {
	dir, err := os.MkdirTemp("", "amqpbus-broker-")
	if err != nil {
		return nil, err
	}
	b := &ownBroker{dir: dir}
	if b.port, err = freePorts(); err == nil {
		err = b.prepare()
	}
	if err == nil {
		err = b.start()
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return b, nil
}

// freePorts returns a port that is free, like the one after it.
func freePorts() (int, error) {
	for range 50 {
		a, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := a.Addr().(*net.TCPAddr).Port
		z, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+1))
		a.Close()
		if err == nil {
			z.Close()
			return port, nil
		}
	}
	return 0, fmt.Errorf("no two free ports in a row")
}

func (b *ownBroker) prepare() error {
	b.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir, "ERL_EPMD_ADDRESS=127.0.0.1",
		fmt.Sprintf("RABBITMQ_NODENAME=amqpbus-%d@localhost", os.Getpid()), "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		fmt.Sprintf("RABBITMQ_NODE_PORT=%d", b.port), fmt.Sprintf("RABBITMQ_DIST_PORT=%d", b.port+1),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} +S 2:2",
		"RABBITMQ_CONF_ENV_FILE=/dev/null", "RABBITMQ_CONFIG_FILE=" + b.dir + "/none",
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + b.dir + "/plugins", "RABBITMQ_MNESIA_BASE=" + b.dir + "/mnesia",
		"RABBITMQ_LOG_BASE=" + b.dir + "/log", "RABBITMQ_PID_FILE=" + b.dir + "/pid",
	}
	if err := os.WriteFile(filepath.Join(b.dir, "plugins"), []byte("[].\n"), 0o644); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("rabbitmq")
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return os.Chown(b.dir, uid, gid)
}

// command runs one of RabbitMQ's programs as the user it belongs to.
func (b *ownBroker) command(ctx context.Context, before []string, program string, args ...string) *exec.Cmd {
	line := append(before, "env", "-i")
	if os.Getuid() == 0 {
		line = append(append([]string{}, before...), "runuser", "-u", "rabbitmq", "--", "env", "-i")
	}
	line = append(append(append(line, b.env...), rabbitBin+program), args...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir = "/"
	return cmd
}

func (b *ownBroker) start() error {
	// The shell ends its group when its input ends, which is when we do.
	cmd := b.command(context.Background(), []string{"sh", "-c", `"$@" </dev/null & cat >/dev/null; kill -9 0`, "sh"}, "rabbitmq-server")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := os.Create(filepath.Join(b.dir, "output"))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if b.leash, err = cmd.StdinPipe(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	b.cmd, b.exited = cmd, make(chan struct{})
	go func(exited chan struct{}) {
		defer close(exited)
		_ = cmd.Wait() // it is killed
	}(b.exited)
	return b.answers()
}

// answers waits until the broker takes connections.
func (b *ownBroker) answers() error {
	deadline := time.Now().Add(5 * time.Minute) // after a crash, beside tests that keep the disk busy
	for time.Now().Before(deadline) {
		if c, err := net.DialTimeout("tcp", b.address(), time.Second); err == nil {
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = c.Write([]byte("AMQP\x00\x00\x09\x01"))
			_, err := c.Read(make([]byte, 1))
			c.Close()
			if err == nil {
				return nil
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	text, _ := os.ReadFile(filepath.Join(b.dir, "output"))
	return fmt.Errorf("the broker does not come up: %s", text)
}

// kill ends the broker without a word, and waits until it is gone.
func (b *ownBroker) kill() {
	_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
	b.leash.Close()
	<-b.exited
	for range 600 {
		c, err := net.DialTimeout("tcp", b.address(), time.Second)
		if err != nil {
			return
		}
		c.Close()
		time.Sleep(50 * time.Millisecond)
	}
}

// control asks the broker something in its own language.
func (b *ownBroker) control(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer cancel()
	if out, err := b.command(ctx, nil, "rabbitmqctl", args...).CombinedOutput(); err != nil {
		t.Fatalf("rabbitmqctl %s: %v\n%s", args, err, out)
	}
}

// restart stops the broker inside its node and starts it again.
func (b *ownBroker) restart(t *testing.T) {
	t.Helper()
	b.turn.Lock()
	defer b.turn.Unlock()
	b.control(t, "eval", "rabbit:stop(), rabbit:start().")
	if err := b.answers(); err != nil {
		t.Fatal(err)
	}
}

// crash kills the broker and starts it again.
func (b *ownBroker) crash(t *testing.T) {
	t.Helper()
	b.turn.Lock()
	defer b.turn.Unlock()
	b.kill()
	if err := b.start(); err != nil {
		t.Fatal(err)
	}
}

func (b *ownBroker) address() string { return fmt.Sprintf("127.0.0.1:%d", b.port) }
func (b *ownBroker) url() string     { return "amqp://guest:guest@" + b.address() + "/" }

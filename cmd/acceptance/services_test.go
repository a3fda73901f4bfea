package acceptance_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// commonDir is a folder that the users of all servers may pass through: root's
// PostgreSQL and RabbitMQ run as users of their own.
func commonDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kubebyon-acceptance-") //nolint:usetesting // in t.TempDir nobody else may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// ownDir makes a folder that belongs to a server's user.
func ownDir(t testing.TB, parent, name, owner string) string {
	t.Helper()
	dir := filepath.Join(parent, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if c := credential(t, owner); c != nil {
		if err := os.Chown(dir, int(c.Uid), int(c.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// ports gives out those that are out of the range from which the system takes a
// client's: while a server is dead nobody else gets its port.
type ports struct{ next int }

func newPorts() *ports { return &ports{10000 + rand.IntN(5000)} }

// take gives out n in a row.
func (p *ports) take(t testing.TB, n int) int {
	t.Helper()
	for range 200 {
		first := p.next
		p.next += n
		if allFree(t.Context(), first, n) {
			return first
		}
	}
	t.Fatal("no ports are free")
	return 0
}

func allFree(ctx context.Context, first, n int) bool {
	for port := first; port < first+n; port++ {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

// postgres is a server of the test's own.
type postgres struct {
	process
	port int
}

// newPostgres makes a database cluster that survives the kill of its server, not
// that of the machine.
func newPostgres(t testing.TB, home string, at *ports) *postgres {
	t.Helper()
	programs, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.Sort(programs)
	if len(programs) == 0 {
		missing(t, "no PostgreSQL programs here: apt-get install postgresql")
	}
	bin := filepath.Dir(programs[len(programs)-1])
	data := ownDir(t, home, "postgres", "postgres")
	initdb := exec.CommandContext(t.Context(), filepath.Join(bin, "initdb"), "--no-sync", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--auth=trust")
	p := process{user: "postgres"}
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: credential(t, p.user)}
	initdb.Dir = "/"
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	s := &postgres{port: at.take(t, 1)}
	s.process = process{
		name: "PostgreSQL", path: filepath.Join(bin, "postgres"), dir: "/", user: p.user, env: os.Environ(),
		args: []string{
			"-D", data, "-p", fmt.Sprint(s.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
			"-c", "fsync=off", "-c", "synchronous_commit=on", "-c", "max_connections=200",
		},
	}
	return s
}

func (p *postgres) address() string { return fmt.Sprintf("127.0.0.1:%d", p.port) }

// url is where a client finds it by way of an address.
func (p *postgres) url(by string) string {
	return fmt.Sprintf("postgres://postgres@%s/postgres?sslmode=disable", by)
}

// up starts the server, and again when the last one's children have not all ended.
func (p *postgres) up(t testing.TB) {
	t.Helper()
	p.start(t)
	err := await(t.Context(), time.Minute, func() error {
		if p.ended() != nil {
			p.kill(t)
			p.start(t)
		}
		db, err := sql.Open("pgx", p.url(p.address()))
		if err != nil {
			return err
		}
		defer db.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return db.PingContext(ctx)
	})
	if err != nil {
		t.Fatalf("PostgreSQL is not up: %v\n%s", err, p.log)
	}
}

// broker is a RabbitMQ of the test's own.
type broker struct {
	process
	port int
}

func newBroker(t testing.TB, home string, at *ports) *broker {
	t.Helper()
	const program = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	if _, err := os.Stat(program); err != nil {
		missing(t, "no RabbitMQ programs here: apt-get install rabbitmq-server")
	}
	dir := ownDir(t, home, "rabbitmq", "rabbitmq")
	b := &broker{port: at.take(t, 2)}
	b.process = process{name: "RabbitMQ", path: program, dir: "/", user: "rabbitmq", env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "ERL_EPMD_ADDRESS=127.0.0.1",
		fmt.Sprintf("RABBITMQ_NODENAME=kubebyon-%d@localhost", b.port), "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		fmt.Sprintf("RABBITMQ_NODE_PORT=%d", b.port), fmt.Sprintf("RABBITMQ_DIST_PORT=%d", b.port+1),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_CONF_ENV_FILE=/dev/null", "RABBITMQ_CONFIG_FILE=" + dir + "/none", "RABBITMQ_ENABLED_PLUGINS_FILE=" + dir + "/plugins",
		"RABBITMQ_MNESIA_BASE=" + dir + "/mnesia", "RABBITMQ_LOG_BASE=" + dir + "/log", "RABBITMQ_LOGS=-",
	}}
	return b
}

func (b *broker) address() string { return fmt.Sprintf("127.0.0.1:%d", b.port) }

// up starts the broker and waits until it speaks AMQP: beside other tests, Erlang
// alone may take a minute.
func (b *broker) up(t testing.TB) {
	t.Helper()
	b.start(t)
	err := await(t.Context(), 4*time.Minute, func() error {
		if err := b.ended(); err != nil {
			b.kill(t)
			b.start(t)
			return err
		}
		return greets(t.Context(), b.address())
	})
	if err != nil {
		t.Fatalf("RabbitMQ is not up: %v\n%s", err, b.log)
	}
}

// greets says whether somebody answers AMQP's greeting.
func greets(ctx context.Context, addr string) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("AMQP\x00\x00\x09\x01")); err != nil {
		return err
	}
	var first [1]byte
	if _, err := c.Read(first[:]); err != nil || first[0] != 1 {
		return fmt.Errorf("no AMQP at %s: %w", addr, err)
	}
	return nil
}

// host is a host Kubernetes in a box.
type host struct {
	process
	port int
	dir  string
}

func newHost(t testing.TB, home string, at *ports, flags ...string) *host {
	t.Helper()
	dir := filepath.Join(home, "host")
	h := &host{port: at.take(t, 1), dir: dir}
	h.process = process{
		name: "host", path: localplane(t), env: os.Environ(),
		args: append([]string{"host", "--dir", dir, "--port", fmt.Sprint(h.port)}, flags...),
	}
	return h
}

func (h *host) address() string { return fmt.Sprintf("127.0.0.1:%d", h.port) }

// up starts the host and waits until its API server is ready.
func (h *host) up(t testing.TB) {
	t.Helper()
	h.start(t)
	err := await(t.Context(), 2*time.Minute, func() error {
		if err := h.ended(); err != nil {
			t.Fatalf("%v\n%s", err, h.log)
		}
		return h.answers(t.Context())
	})
	if err != nil {
		t.Fatalf("the host is not up: %v\n%s", err, h.log)
	}
}

// by writes a kubeconfig with which programs find the host by way of an address.
func (h *host) by(t testing.TB, addr string) string {
	t.Helper()
	text, err := os.ReadFile(h.ownKubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(filepath.Dir(h.dir), "host-by-gate.kubeconfig")
	changed := strings.ReplaceAll(string(text), h.address(), addr)
	if changed == string(text) {
		t.Fatalf("the host's kubeconfig does not name %s", h.address())
	}
	if err := os.WriteFile(at, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return at
}

// ownKubeconfig is the administrator's, with the host's own address.
func (h *host) ownKubeconfig() string { return filepath.Join(h.dir, "admin.kubeconfig") }

// client asks the host itself, past every gate.
func (h *host) client(t testing.TB) kubernetes.Interface {
	t.Helper()
	c, err := clientcmd.BuildConfigFromFlags("", h.ownKubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	c.Timeout = 10 * time.Second
	return kubernetes.NewForConfigOrDie(c)
}

func (h *host) answers(ctx context.Context) error {
	c, err := clientcmd.BuildConfigFromFlags("", h.ownKubeconfig())
	if err != nil {
		return err
	}
	k, err := kubernetes.NewForConfig(c)
	if err != nil {
		return err
	}
	_, err = k.CoreV1().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	return err
}

package joinscript_test

import (
	"bytes"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hollowStub speaks like kubebyon-localplane node. What it says is in the file
// stages under $NOTES; afterwards it stays, unless there is a file named ends.
const hollowStub = `dir='' config=''
while [ $# -gt 0 ]; do case $1 in
--dir) dir=$2; shift ;;
--config) config=$2; shift ;;
esac; shift; done
mkdir -p "$dir"
trap 'rm -f "$NOTES/running"; exit 0' TERM
[ -z "$config" ] || { cat "$config" >"$NOTES/join.yaml"; echo "$config" >"$NOTES/join.path"; }
[ -z "$config" ] && [ -e "$NOTES/stages-again" ] && cp "$NOTES/stages-again" "$NOTES/stages"
echo "kubelet speaks" >&2
while IFS= read -r line; do
	printf '%s' "${line%?????}"; sleep 0.02; printf '%s\n' "${line#"${line%?????}"}"
done <"$NOTES/stages"
[ ! -e "$NOTES/ends" ] || exit 3
: >"$NOTES/running"
while [ ! -e "$NOTES/stop" ]; do sleep 0.1; done
`

const wellJoined = `{"stage":"discovered"}
{"stage":"bootstrapped","reason":""}
{"stage":"registered"}
{"stage":"ready"}
`

// newHollowMachine is a machine whose user has no root.
func newHollowMachine(t testing.TB, shell string) *machine {
	t.Helper()
	m := newMachine(t, shell)
	m.env = []string{"STUB_UID=1000", "KUBEBYON_HOLLOW_NODE=" + m.bin + "/localplane", "KUBEBYON_NODE_DIR=" + m.dir(), "TMPDIR=" + m.notes + "/tmp"}
	m.mkdir(m.notes + "/tmp")
	m.stub("localplane", hollowStub)
	m.note("stages", wellJoined)
	t.Cleanup(m.stopNode)
	return m
}

func (m *machine) dir() string { return m.root + "/home/my node" }

func (m *machine) pid() int {
	pid, _ := strconv.Atoi(strings.TrimSpace(m.read(m.dir() + "/node.pid")))
	return pid
}

// stopNode ends the node and waits until the process is gone.
func (m *machine) stopNode() {
	pid := m.pid()
	if pid == 0 || !bytes.Contains([]byte(m.read("/proc/"+strconv.Itoa(pid)+"/cmdline")), []byte(m.dir())) {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	m.await("the node to end", func() bool { return gone(pid) })
}

// gone reports whether a process has ended, collected by its parent or not.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	return err != nil || bytes.Contains(status, []byte("State:\tZ"))
}

func (m *machine) await(what string, done func() bool) {
	m.t.Helper()
	limit := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-limit:
			m.t.Fatal("waited in vain for " + what)
		case <-tick.C:
		}
	}
}

// noToken looks through everything that the run has left.
func (m *machine) noToken() {
	m.t.Helper()
	for _, top := range []string{m.root, m.notes + "/tmp"} {
		m.must(filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && strings.Contains(m.read(path), tokenSecret) {
				m.t.Errorf("the token is left in %s", path)
			}
			return err
		}))
	}
	if left, _ := os.ReadDir(m.notes + "/tmp"); len(left) != 0 {
		m.t.Errorf("left in the temporary directory: %v", left)
	}
}

func TestHollowNodeJoins(t *testing.T) {
	t.Parallel()
	for _, sh := range shells(t) {
		for _, lacks := range []string{"", "setsid", "flock"} {
			t.Run(filepath.Base(strings.Fields(sh)[0])+" without "+lacks, func(t *testing.T) {
				t.Parallel()
				m := newHollowMachine(t, sh)
				if lacks != "" {
					m.without(lacks)
				}
				o := m.join() // returns, although the node goes on: it holds no end of the pipe
				o.says(t, 0, "[5/5] Waiting for the node to be Ready", "the cluster has shown the right authority", "the node has its own certificate",
					"node-1 is a Ready node of the cluster Bob's lab. It runs in the background with pid "+strconv.Itoa(m.pid())+".",
					"To start it again: "+m.bin+"/localplane node --dir "+m.dir()+"/node")
				o.called(t, "localplane node --dir "+m.dir()+"/node --config ", "--name node-1\n", "!systemctl", "!kubeadm", "!id -u")
				if config := m.read(m.notes + "/join.yaml"); !strings.Contains(config, tokenID+"."+tokenSecret) || !strings.Contains(config, m.p.CACertHash) {
					t.Errorf("the configuration:\n%s", config)
				}
				m.must(os.Remove(m.notes + "/join.yaml"))
				m.noToken()
				m.await("the node to run", func() bool { return m.read(m.notes+"/running") == "" && exists(m.notes+"/running") })

				pid := m.pid()
				again := m.join()
				again.says(t, 0, "node-1 is already a node of this cluster. It runs in the background with pid "+strconv.Itoa(pid))
				again.called(t, "!localplane", "!curl")

				m.stopNode()
				m.p.ExpiresAt = time.Now().Add(-time.Hour)
				m.note("stages-again", "{\"stage\":\"registered\"}\n{\"stage\":\"ready\"}\n")
				third := m.join()
				third.says(t, 0, "its process has ended", "[4/4]", "node-1 is a Ready node")
				third.called(t, "localplane node --dir "+m.dir()+"/node\n", "!curl")
				if m.pid() == pid {
					t.Error("no new process")
				}
			})
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestHollowNodeFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stages string
		ends   bool
		says   []string
	}{
		"with a reason": {
			stages: `{"stage":"discovered"}` + "\n" + `{"stage":"failed","reason":"the certificate \"node-1\" was denied."}` + "\n", ends: true,
			says: []string{"The hollow node could not join: the certificate `node-1` was denied.\n", "| kubelet speaks", "get a new join command"},
		},
		"without a word":    {ends: true, says: []string{"The hollow node's process has ended without a reason.", "| kubelet speaks"}},
		"by doing nothing":  {stages: `{"stage":"discovered"}` + "\n", says: []string{"did not register within 3 s: so far it is discovered"}},
		"by saying nothing": {says: []string{"did not register within 3 s: it has not said anything yet"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newHollowMachine(t, shells(t)[0])
			m.note("stages", c.stages)
			if c.ends {
				m.note("ends", "")
			}
			m.join("--timeout=3").says(t, 1, c.says...)
			m.must(os.Remove(m.notes + "/join.yaml"))
			m.noToken()
			m.await("the node to end with the script", func() bool { return gone(m.pid()) })
			if exists(m.dir() + "/joined") {
				t.Error("it counts as joined")
			}
			_ = os.Remove(m.notes + "/ends")
			m.note("stages", wellJoined)
			m.join().says(t, 0, "is a Ready node")
		})
	}
}

func TestHollowNodeThatDoesNotGetReady(t *testing.T) {
	t.Parallel()
	m := newHollowMachine(t, shells(t)[0])
	m.note("stages", strings.Replace(wellJoined, `{"stage":"ready"}`, `{"stage":"registered","reason":"no network yet"}`, 1))
	m.join("--ready-timeout=1").says(t, 1, "has registered, but is not Ready after 1 s: so far it is registered (no network yet)", "It goes on trying with pid "+strconv.Itoa(m.pid()))
	if gone(m.pid()) {
		t.Error("the node was stopped")
	}
}

func TestHollowNodeDirectoryOfAnotherCluster(t *testing.T) {
	t.Parallel()
	m := newHollowMachine(t, shells(t)[0])
	m.join().says(t, 0)
	m.p.ClusterID = "cl_other"
	o := m.join()
	o.says(t, 1, "holds a node of another cluster", "Set KUBEBYON_NODE_DIR")
	o.called(t, "!localplane", "!curl")
}

func TestHollowNodeChecksTheCluster(t *testing.T) {
	t.Parallel()
	for note, says := range map[string]string{
		"60 SSL certificate problem: self-signed certificate": "does not show a certificate of the cluster's own authority",
		"7 Failed to connect: Connection refused":             "waiting for the API server at demo.example.com:6443 to answer: Failed to connect: Connection refused (",
	} {
		m := newHollowMachine(t, shells(t)[0])
		m.note("api-fails", note+"\n")
		o := m.join("--timeout=3")
		o.says(t, 1, says)
		o.called(t, "!localplane")
		m.noToken()
	}
}

func TestHollowNodeNeedsItsProgram(t *testing.T) {
	t.Parallel()
	m := newHollowMachine(t, shells(t)[0])
	m.without("localplane")
	m.join().says(t, 1, "which is not a program")
	m.env = []string{"KUBEBYON_HOLLOW_NODE=true", "HOME="}
	m.join().says(t, 1, "There is no place for the node's files")
}

// An interrupted script must leave neither the token nor a process that waits
// for it.
func TestInterruptedHollowJoinCleansUp(t *testing.T) {
	t.Parallel()
	// Under nohup the shells would inherit that a hangup is ignored. What is caught
	// here is not ignored there.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	for _, sh := range shells(t) {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
			t.Run(filepath.Base(strings.Fields(sh)[0])+" "+sig.String(), func(t *testing.T) {
				t.Parallel()
				m := newHollowMachine(t, sh)
				m.note("stages", `{"stage":"discovered"}`+"\n")
				cmd := run(m.shell, render(t, m.p))
				cmd.Env = append([]string{"PATH=" + m.bin, "KUBEBYON_ROOT=" + m.root}, m.env...)
				var said bytes.Buffer
				cmd.Stdout, cmd.Stderr = &said, &said
				m.must(cmd.Start())
				m.await("the node to run", func() bool { return exists(m.notes + "/running") })
				m.must(cmd.Process.Signal(sig))
				_ = cmd.Wait()
				if got := cmd.ProcessState.ExitCode(); got != 128+int(sig) {
					t.Errorf("exit status %d:\n%s", got, said.String())
				}
				m.await("the node to end", func() bool { return gone(m.pid()) })
				m.must(os.Remove(m.notes + "/join.yaml"))
				m.noToken()
			})
		}
	}
}

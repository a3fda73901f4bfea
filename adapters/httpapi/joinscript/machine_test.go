package joinscript_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/httpapi/joinscript"
)

// machine is a make-believe Linux machine: a directory for its files, and on
// PATH nothing but harmless tools and stubs, which write down how they are
// called. What the stubs do is decided by files under its notes.
type machine struct {
	t     testing.TB
	shell string
	root  string // stands for /
	bin   string // stands for PATH
	notes string // what the stubs read and write
	env   []string
	p     joinscript.Params
}

// harmless are the tools of a small Linux system that change nothing beyond the
// files they are given.
var harmless = strings.Fields("awk base64 cat chmod cp cut date dirname env flock grep gzip head kill ln ls mkdir mktemp mv nohup rm rmdir sed setsid sh sha256sum sleep sort tail tar touch tr true wc")

// stubs are what every machine has. $NOTES and $ROOT are its directories.
var stubs = map[string]string{
	"id":         `echo "${STUB_UID:-0}"`,
	"uname":      `case $1 in -s) echo Linux ;; -m) echo "${STUB_ARCH:-x86_64}" ;; -n) echo Node-1 ;; -r) echo 6.1.0 ;; esac`,
	"modprobe":   `[ ! -e "$NOTES/no-modules" ]`,
	"sysctl":     `:`,
	"iptables":   `:`,
	"mount":      `:`,
	"losetup":    `:`,
	"swapoff":    `:`,
	"swapon":     `:`,
	"apt-get":    `:`,
	"journalctl": `echo "journal of $2"`,
	"systemctl": `case $1 in
is-active) [ -e "$NOTES/active-$3" ]; exit ;;
list-units) cat "$NOTES/swap-units" 2>/dev/null ;;
restart|enable) [ "$2" = --now ] && shift; touch "$NOTES/active-$2" ;;
esac; :`,
	"curl": `out=/dev/null headers=/dev/null url='' code=''
while [ $# -gt 0 ]; do case $1 in
-o) out=$2; shift ;;
-D) headers=$2; shift ;;
-w) code=yes; shift ;;
--proto|--cacert|--cert|--connect-timeout|--max-time|--retry) shift ;;
-*) ;;
*) url=$1 ;;
esac; shift; done
fail() { echo "curl: ($1) $2" >&2; exit "$1"; }
case $url in
*/configmaps/cluster-info)
	if [ -e "$NOTES/api-fails" ]; then read -r status text <"$NOTES/api-fails"; fail "$status" "$text"; fi
	TZ=UTC LC_ALL=C date -d "@$(($(date +%s) + ${STUB_SKEW:-0}))" "+Date: %a, %d %b %Y %H:%M:%S GMT" >"$headers"
	cat "$NOTES/cluster-info" >"$out" ;;
*/api/v1/nodes/*)
	cat "$NOTES/node" >"$out" ;;
*)
	[ ! -e "$NOTES/mirror-down" ] || fail 7 "Failed to connect to mirror port 443: Connection refused"
	[ -e "$NOTES/mirror/${url##*://}" ] || fail 22 "The requested URL returned error: 404"
	cat "$NOTES/mirror/${url##*://}" >"$out" ;;
esac
if [ -n "$code" ]; then cat "$NOTES/code" 2>/dev/null || printf 200; fi`,
}

// installed are stubs that the mirror serves, or that a machine has already.
var installed = map[string]string{
	"containerd": `case "$*" in
--version) echo "containerd github.com/containerd/containerd/v2 $(cat "$NOTES/containerd-version" 2>/dev/null || echo v2.2.3) abcdef" ;;
"config default") printf "version = 3\nSystemdCgroup = false\n" ;;
"config dump") cat "$ROOT/etc/containerd/config.toml" ;;
--config*) cat "$2" ;;
esac`,
	"ctr":     `[ ! -e "$NOTES/no-cri" ] || { echo "io.containerd.grpc.v1 cri - error"; exit 0; }; echo "io.containerd.grpc.v1    cri    -    ok"`,
	"runc":    `:`,
	"crictl":  `:`,
	"kubelet": `echo "Kubernetes $(cat "$NOTES/kubelet-version" 2>/dev/null || echo v1.36.3)"`,
	"kubeadm": `case $1 in
version) cat "$NOTES/kubelet-version" 2>/dev/null || echo v1.36.3 ;;
reset) rm -f "$ROOT/etc/kubernetes/kubelet.conf" "$ROOT/etc/kubernetes/pki/ca.crt" ;;
join)
	cat "$3" >"$NOTES/join.yaml"
	ls -l "$3" | cut -c 1-10 >"$NOTES/join.mode"
	[ ! -e "$ROOT/etc/kubernetes/pki/ca.crt" ] || { echo "[ERROR FileAvailable--etc-kubernetes-pki-ca.crt]: already exists"; exit 1; }
	mkdir -p "$ROOT/etc/kubernetes/pki" "$ROOT/var/lib/kubelet/pki"
	touch "$ROOT/etc/kubernetes/pki/ca.crt"
	if [ -e "$NOTES/join-fails" ]; then cat "$NOTES/join-fails"; exit 1; fi
	cp "$NOTES/kubelet.conf" "$ROOT/etc/kubernetes/kubelet.conf"
	touch "$NOTES/active-kubelet" "$ROOT/var/lib/kubelet/pki/kubelet-client-current.pem" ;;
esac`,
}

const (
	debian12 = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n"
	ubuntu24 = "PRETTY_NAME=\"Ubuntu 24.04 LTS\"\nID=ubuntu\nID_LIKE=debian\n"
	rocky9   = "PRETTY_NAME=\"Rocky Linux 9.4\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"
	gentoo   = "PRETTY_NAME=Gentoo\nID=gentoo\n"
	ready    = `{"status": {"conditions": [
  {
    "type": "MemoryPressure",
    "status": "False",
    "message": "kubelet has sufficient memory available"
  },
  {
    "type": "Ready",
    "status": "True",
    "message": "kubelet is posting ready status"
  }
]}}`
)

func newMachine(t testing.TB, shell string) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{t: t, shell: shell, root: dir + "/root", bin: dir + "/bin", notes: dir + "/notes", p: params()}
	for _, d := range []string{"etc/containerd", "run/systemd/system", "proc/net", "sys/fs/cgroup", "var/lib"} {
		m.mkdir(filepath.Join(m.root, d))
	}
	m.file("etc/os-release", debian12)
	m.file("etc/fstab", "UUID=1 / ext4 defaults 0 1\n")
	m.file("proc/swaps", "Filename Type Size Used Priority\n")
	m.file("proc/net/tcp", "  sl  local_address rem_address   st\n   0: 00000000:0016 00000000:0000 0A\n")
	m.file("sys/fs/cgroup/cgroup.controllers", "cpu\n")
	m.must(os.Remove(m.root + "/etc/containerd"))
	m.mkdir(m.bin)
	for _, name := range harmless {
		path, err := exec.LookPath(name)
		m.must(err)
		m.must(os.Symlink(path, m.bin+"/"+name))
	}
	for name := range stubs {
		m.stub(name, stubs[name])
	}
	m.note("cluster-info", `{"data": {"jws-kubeconfig-`+tokenID+`": "x", "kubeconfig": "y"}}`)
	m.note("node", ready)
	m.note("kubelet.conf", kubeletConf(m.p))
	m.serve()
	return m
}

func kubeletConf(p joinscript.Params) string {
	return "clusters:\n- cluster:\n    certificate-authority-data: " + base64.StdEncoding.EncodeToString(p.CACert) +
		"\n    server: https://" + p.Server + "\n"
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) mkdir(path string) { m.must(os.MkdirAll(path, 0o755)) }

func (m *machine) write(path, text string, mode os.FileMode) {
	m.mkdir(filepath.Dir(path))
	m.must(os.WriteFile(path, []byte(text), mode))
}

func (m *machine) file(path, text string) { m.write(filepath.Join(m.root, path), text, 0o644) }

func (m *machine) note(name, text string) { m.write(filepath.Join(m.notes, name), text, 0o644) }

// program is a stub's text: it writes down its call, then does what is told.
func (m *machine) program(name, does string) string {
	return "#!/bin/sh\nROOT='" + m.root + "' NOTES='" + m.notes + "'\n{ printf '%s' '" + name +
		"'; [ $# = 0 ] || printf ' %s' \"$@\"; echo; } >>\"$NOTES/calls\"\n" + does + "\n"
}

func (m *machine) stub(name, does string) { m.write(m.bin+"/"+name, m.program(name, does), 0o755) }

func (m *machine) without(names ...string) {
	for _, n := range names {
		m.must(os.Remove(m.bin + "/" + n))
	}
}

// serve fills the mirrors for both processors.
func (m *machine) serve() {
	for _, arch := range []string{"amd64", "arm64"} {
		for _, name := range []string{"kubelet", "kubeadm"} {
			for _, version := range []string{"v1.36.3", "v1.30.4"} {
				m.upload("dl.k8s.io/release/"+version+"/bin/linux/"+arch+"/"+name, m.program(name, installed[name]), ".sha256", false)
			}
		}
		m.upload("github.com/containerd/containerd/releases/download/v2.2.3/containerd-2.2.3-linux-"+arch+".tar.gz",
			m.archive("bin/", "containerd", "ctr"), ".sha256sum", true)
		m.upload("github.com/containernetworking/plugins/releases/download/v1.9.1/cni-plugins-linux-"+arch+"-v1.9.1.tgz",
			m.archive("./", "loopback", "bridge", "LICENSE"), ".sha256", true)
		m.upload("github.com/kubernetes-sigs/cri-tools/releases/download/v1.30.1/crictl-v1.30.1-linux-"+arch+".tar.gz",
			m.archive("", "crictl"), ".sha256", false)
	}
	runc := m.program("runc", installed["runc"])
	base := "github.com/opencontainers/runc/releases/download/v1.4.2/"
	m.note("mirror/"+base+"runc.amd64", runc)
	m.note("mirror/"+base+"runc.arm64", runc)
	m.note("mirror/"+base+"runc.sha256sum", sumOf("something else")+"  libseccomp.tar.gz\n"+sumOf(runc)+" *runc.amd64\n"+sumOf(runc)+" *runc.arm64\n")
}

func (m *machine) upload(path, text, suffix string, named bool) {
	sum := sumOf(text) + "\n"
	if named {
		sum = sumOf(text) + "  " + filepath.Base(path) + "\n"
	}
	m.note("mirror/"+path, text)
	m.note("mirror/"+path+suffix, sum)
}

func (m *machine) archive(prefix string, names ...string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range names {
		text := m.program(name, installed[name])
		m.must(w.WriteHeader(&tar.Header{Name: prefix + name, Mode: 0o755, Size: int64(len(text))}))
		_, err := w.Write([]byte(text))
		m.must(err)
	}
	m.must(w.Close())
	m.must(z.Close())
	return b.String()
}

// have puts a program of the distribution on the machine.
func (m *machine) have(names ...string) {
	for _, n := range names {
		m.stub(n, installed[n])
	}
}

// outcome is what a run left behind.
type outcome struct {
	status int
	said   string // standard output and error
	calls  string // of stubs, one on a line
	log    string
}

// join runs the script and checks what must hold however it ends.
func (m *machine) join(args ...string) outcome {
	m.t.Helper()
	return m.run(render(m.t, m.p), args...)
}

func (m *machine) run(script string, args ...string) outcome {
	m.t.Helper()
	_ = os.Remove(m.notes + "/calls")
	cmd := run(m.shell, script, args...)
	cmd.Env = append([]string{"PATH=" + m.bin, "KUBEBYON_ROOT=" + m.root, "HOME=" + m.root + "/home", "KUBEBYON_TIMEOUT=60", "KUBEBYON_READY_TIMEOUT=60"}, m.env...)
	said, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		m.t.Fatal(err)
	}
	o := outcome{cmd.ProcessState.ExitCode(), string(said), m.read(m.notes + "/calls"), m.read(m.root + "/var/log/kubebyon-join.log")}
	for what, text := range map[string]string{"a stub's arguments": o.calls, "the output": o.said, "the log": o.log} {
		if strings.Contains(text, tokenSecret) {
			m.t.Errorf("the token is in %s:\n%s", what, text)
		}
	}
	if left, _ := filepath.Glob(m.root + "/run/kubebyon-join.??????"); len(left) != 0 {
		m.t.Errorf("the private directory was left: %v", left)
	}
	if strings.Contains(o.said, "not found") || strings.Contains(o.said, "unbound") || strings.Contains(o.said, "not set\n") {
		m.t.Errorf("the script is in error:\n%s", o.said)
	}
	return o
}

func (m *machine) read(path string) string {
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
	return string(text)
}

// files lists the machine's files and links with their contents' sums.
func (m *machine) files() []string {
	var list []string
	m.must(filepath.WalkDir(m.root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, m.root)
		if d.Type().IsRegular() {
			name += " " + sumOf(m.read(path))[:12]
		}
		list = append(list, name)
		return nil
	}))
	slices.Sort(list)
	return list
}

// says fails the test unless the run ended with status and said each text.
func (o outcome) says(t testing.TB, status int, texts ...string) {
	t.Helper()
	if o.status != status {
		t.Errorf("exit status %d, want %d:\n%s\ncalls:\n%s", o.status, status, o.said, o.calls)
	}
	for _, text := range texts {
		if !strings.Contains(o.said, text) {
			t.Errorf("it did not say %q:\n%s", text, o.said)
		}
	}
	if status != 0 && (!strings.Contains(o.said, "Stopped: ") || !strings.Contains(o.said, "What to do: ")) {
		t.Errorf("a failure without reason or remedy:\n%s", o.said)
	}
}

// called fails the test unless each text, or with "!" before it none, is in the
// calls of the stubs.
func (o outcome) called(t testing.TB, texts ...string) {
	t.Helper()
	for _, text := range texts {
		text, not := strings.CutPrefix(text, "!")
		if strings.Contains(o.calls, text) == not {
			t.Errorf("among the calls: %q is %v:\n%s\nsaid:\n%s", text, !not, o.calls, o.said)
		}
	}
}

package joinscript_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSpentTokenStopsBeforeAnythingChanges(t *testing.T) {
	t.Parallel()
	m := newMachine(t, shells(t)[0])
	m.note("cluster-info", `{"data": {"jws-kubeconfig-zzzzzz": "x", "kubeconfig": "y"}}`)
	o := m.join("--timeout=1")
	o.says(t, 1, "does not know the token of this script", "Get a new join command from https://kubebyon.example.com")
	o.called(t, "!systemctl enable", "!systemctl restart", "!modprobe", "!dl.k8s.io")
}

func TestSecondRunChangesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, m *machine) {
		m.join().says(t, 0)
		before := m.files()
		m.p.ExpiresAt = time.Now().Add(-time.Hour) // its token is long over
		o := m.join()
		o.says(t, 0, "already a node of this cluster")
		o.called(t, "!restart", "!enable", "!curl", "!kubeadm")
		after := slices.DeleteFunc(m.files(), func(f string) bool { return strings.HasPrefix(f, "/var/log/kubebyon-join.log") })
		before = slices.DeleteFunc(before, func(f string) bool { return strings.HasPrefix(f, "/var/log/kubebyon-join.log") })
		if !slices.Equal(before, after) {
			t.Errorf("files before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
	})
}

func TestRunAfterAFailureGoesOn(t *testing.T) {
	t.Parallel()
	m := newMachine(t, shells(t)[0])
	m.note("join-fails", "error: timed out\n")
	m.join().says(t, 1, "kubeadm could not join")
	m.must(os.Remove(m.notes + "/join-fails"))
	o := m.join()
	o.says(t, 0, "clearing what an earlier, failed join left behind", "is a Ready node")
	for line := range strings.Lines(o.calls) {
		if strings.HasPrefix(line, "curl") && strings.Contains(line, "dl.k8s.io") && !strings.Contains(line, ".sha256") {
			t.Errorf("downloaded again: %s", line)
		}
	}
}

func TestLeavingAnotherClusterFirst(t *testing.T) {
	t.Parallel()
	m := newMachine(t, shells(t)[0])
	m.join().says(t, 0)
	other := makeAuthority()
	m.p.ClusterID, m.p.CACert, m.p.CACertHash = "cl_other", other.pem, other.hash
	m.join().says(t, 1, "a node of another cluster at https://demo.example.com:6443", "kubebyon-node-uninstall.sh", "--reset")
	m.note("kubelet.conf", kubeletConf(m.p))
	o := m.join("--reset")
	o.says(t, 0, "leaving the cluster joined before", "is a Ready node")
	o.called(t, "kubeadm reset --force", "kubeadm join")
	m.join().says(t, 0, "already a node of this cluster")
}

// uninstall runs the script that the join left, as root would.
func (m *machine) uninstall() outcome {
	m.t.Helper()
	o := m.run(m.read(m.root + "/usr/local/bin/kubebyon-node-uninstall.sh"))
	if o.status != 0 {
		m.t.Errorf("the removal ended with %d:\n%s", o.status, o.said)
	}
	return o
}

func TestUninstallLeavesTheMachineAsItWas(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, m *machine) {
		m.file("proc/swaps", "Filename\n/dev/sda2\n")
		m.file("etc/fstab", "/dev/sda2 none swap sw 0 0\n")
		m.file("usr/local/bin/mine", "mine")
		m.file("opt/cni/bin/calico", "theirs")
		m.note("swap-units", "dev-sda2.swap  loaded  active  /dev/sda2\n")
		before := m.files()
		m.join().says(t, 0)
		m.file("var/lib/containerd/io.containerd.content/blob", "x")
		o := m.uninstall()
		o.called(t, "kubeadm reset --force", "systemctl disable --now kubelet", "systemctl disable --now containerd.service", "systemctl unmask dev-sda2.swap", "swapon -a")
		// The log stays; kubeadm and the kubelet have directories of their own.
		after := slices.DeleteFunc(m.files(), func(f string) bool {
			return strings.HasPrefix(f, "/var/log") || strings.HasPrefix(f, "/etc/kubernetes") || strings.HasPrefix(f, "/var/lib/kubelet") || strings.HasPrefix(f, "/run/kubebyon-join.lock")
		})
		if !slices.Equal(before, after) {
			t.Errorf("files before:\n%s\nafter:\n%s\nsaid:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"), o.said)
		}
		m.join().says(t, 0, "is a Ready node")
	})
}

func TestUninstallKeepsWhatOthersChangedSince(t *testing.T) {
	t.Parallel()
	m := newMachine(t, shells(t)[0])
	m.file("etc/fstab", "/dev/sda2 none swap sw 0 0\n")
	m.join().says(t, 0)
	m.file("etc/fstab", "/dev/sdb1 /data ext4 x 0 0\n")
	o := m.uninstall()
	if !strings.Contains(o.said, "Left /etc/fstab as it is, because it was changed since") || m.read(m.root+"/etc/fstab") != "/dev/sdb1 /data ext4 x 0 0\n" {
		t.Errorf("said:\n%s\nfile:\n%s", o.said, m.read(m.root+"/etc/fstab"))
	}
}

func TestTwoRunsAtOnce(t *testing.T) {
	t.Parallel()
	for _, locks := range []string{"flock", "mkdir"} {
		t.Run(locks, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, shells(t)[0])
			if locks == "mkdir" {
				m.without("flock")
			}
			// While this run asks the cluster, another begins.
			m.note("script", render(t, m.p))
			m.stub("curl", `[ -e "$NOTES/second" ] || { : >"$NOTES/second"; sh "$NOTES/script" >"$NOTES/second" 2>&1; }`+"\n"+stubs["curl"])
			m.join().says(t, 0, "is a Ready node")
			if got := m.read(m.notes + "/second"); !strings.Contains(got, "Another join is running here") {
				t.Errorf("the second run said:\n%s", got)
			}
			m.join().says(t, 0, "already a node")
		})
	}
}

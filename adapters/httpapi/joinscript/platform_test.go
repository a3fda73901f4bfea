package joinscript_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"
)

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// each runs a test once for every shell.
func each(t *testing.T, test func(t *testing.T, m *machine)) {
	t.Helper()
	for _, sh := range shells(t) {
		t.Run(strings.ReplaceAll(strings.TrimPrefix(sh, "/usr/bin/"), " ", ""), func(t *testing.T) {
			t.Parallel()
			test(t, newMachine(t, sh))
		})
	}
}

func TestJoinBareMachine(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, m *machine) {
		o := m.join()
		o.says(t, 0, "[1/9] Checking this machine", "Debian GNU/Linux 12 (bookworm), amd64", "Bob's lab", "[9/9] Waiting for the node to be Ready",
			"node-1 is a Ready node of the cluster Bob's lab")
		o.called(t, "systemctl enable containerd", "systemctl restart containerd", "systemctl enable kubelet", "kubeadm join --config", "sysctl -e -p", "modprobe br_netfilter", "!apt-get", "!swapoff")
		for _, path := range []string{"/usr/local/bin/kubelet", "/usr/local/bin/kubeadm", "/usr/local/bin/containerd", "/usr/local/sbin/runc", "/opt/cni/bin/loopback", "/usr/local/bin/kubebyon-node-uninstall.sh"} {
			if info, err := os.Stat(m.root + path); err != nil || info.Mode().Perm() != 0o755 {
				t.Errorf("%s: %v, %v", path, info, err)
			}
		}
		if info, err := os.Stat(m.root + "/etc/systemd/system"); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("a directory that others cannot read: %v, %v", info, err)
		}
		if info, err := os.Stat(m.root + "/var/log/kubebyon-join.log"); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("log: %v, %v", info, err)
		}
		if _, err := os.Stat(m.root + "/opt/cni/bin/LICENSE"); err == nil {
			t.Error("installed a licence as a program")
		}
		if text := m.read(m.root + "/etc/containerd/config.toml"); !strings.Contains(text, "SystemdCgroup = true") {
			t.Errorf("containerd's configuration: %s", text)
		}
		config := m.read(m.notes + "/join.yaml")
		for _, want := range []string{"kubeadm.k8s.io/v1beta4\n", `token: "` + tokenID + "." + tokenSecret + `"`, `- "` + m.p.CACertHash + `"`, `apiServerEndpoint: "demo.example.com:6443"`, `name: "node-1"`} {
			if !strings.Contains(config, want) {
				t.Errorf("the configuration lacks %q:\n%s", want, config)
			}
		}
		if mode := m.read(m.notes + "/join.mode"); mode != "-rw-------\n" {
			t.Errorf("the configuration with the token has mode %s", mode)
		}
	})
}

func TestPlatforms(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set    func(m *machine)
		args   string
		status int
		says   []string
		calls  []string
	}{
		"Ubuntu on ARM": {
			set:   func(m *machine) { m.file("etc/os-release", ubuntu24); m.env = []string{"STUB_ARCH=aarch64"} },
			says:  []string{"Ubuntu 24.04 LTS, arm64"},
			calls: []string{"v1.36.3/bin/linux/arm64/kubelet", "runc.arm64", "cni-plugins-linux-arm64-v1.9.1.tgz"},
		},
		"Rocky without iptables": {
			set: func(m *machine) {
				m.file("etc/os-release", rocky9)
				m.stub("dnf", ":")
				m.stub("restorecon", ":")
				m.without("iptables", "apt-get")
			},
			says:  []string{"installing iptables-nft"},
			calls: []string{"dnf install -y -q iptables-nft\n", "restorecon "},
		},
		"RHEL with yum": {
			set: func(m *machine) {
				m.file("etc/os-release", rocky9)
				m.stub("yum", ":")
				m.without("losetup", "mount", "apt-get")
			},
			calls: []string{"yum install -y -q util-linux\n"},
		},
		"Debian without iptables": {
			set:   func(m *machine) { m.without("iptables") },
			says:  []string{"installing iptables"},
			calls: []string{"apt-get update -qq", "apt-get install -y -qq --no-install-recommends iptables\n"},
		},
		"a package that cannot be had": {
			set:    func(m *machine) { m.without("iptables"); m.stub("apt-get", "echo no network; exit 100") },
			status: 1, says: []string{"could not be installed: iptables", "| no network"},
			calls: []string{"!kubeadm"},
		},
		"no packages wanted": {
			set:    func(m *machine) { m.without("iptables"); m.env = []string{"KUBEBYON_SKIP_PACKAGES=yes"} },
			status: 1, says: []string{"are not to be installed from here: iptables"}, calls: []string{"!apt-get"},
		},
		"an unknown distribution": {
			set:  func(m *machine) { m.file("etc/os-release", gentoo) },
			says: []string{"Gentoo is not one this script is tested on"},
		},
		"an unknown distribution that lacks something": {
			set:    func(m *machine) { m.file("etc/os-release", gentoo); m.without("iptables") },
			status: 1, says: []string{"are not to be installed from here: iptables"},
		},
		"another processor": {
			set: func(m *machine) { m.env = []string{"STUB_ARCH=riscv64"} }, status: 1,
			says: []string{"riscv64, is not supported"}, calls: []string{"!curl"},
		},
		"not root": {
			set: func(m *machine) { m.env = []string{"STUB_UID=1000"} }, status: 1,
			says: []string{"This needs root", "| sudo sh -"}, calls: []string{"!curl", "!systemctl"},
		},
		"no systemd": {
			set: func(m *machine) { m.must(os.RemoveAll(m.root + "/run/systemd")) }, status: 1,
			says: []string{"does not run systemd"}, calls: []string{"!curl"},
		},
		"control groups version 1": {
			set: func(m *machine) { m.must(os.Remove(m.root + "/sys/fs/cgroup/cgroup.controllers")) }, status: 1,
			says: []string{"control groups version 1", "systemd.unified_cgroup_hierarchy=1"},
		},
		"a port taken": {
			set: func(m *machine) { m.file("proc/net/tcp6", "  0: 00000000000000000000000000000000:280A 0:0 0A\n") }, status: 1,
			says: []string{"Port 10250, which the kubelet needs, is taken", "ss -ltnp"}, calls: []string{"!curl"},
		},
		"a connection to somebody's port 10250": {
			set: func(m *machine) { m.file("proc/net/tcp", "  0: 0100007F:280A 0100007F:1234 01\n") },
		},
		"k3s":      {set: func(m *machine) { m.mkdir(m.root + "/etc/rancher/k3s") }, status: 1, says: []string{"has k3s, another Kubernetes"}, calls: []string{"!curl"}},
		"rke2":     {set: func(m *machine) { m.mkdir(m.root + "/var/lib/rancher/rke2") }, status: 1, says: []string{"has rke2"}},
		"microk8s": {set: func(m *machine) { m.mkdir(m.root + "/var/snap/microk8s") }, status: 1, says: []string{"has microk8s"}},
		"a control plane of its own": {
			set: func(m *machine) { m.file("etc/kubernetes/manifests/kube-apiserver.yaml", "x") }, status: 1,
			says: []string{"runs the control plane of another cluster"},
		},
		"files of a join by hand": {
			set: func(m *machine) { m.file("etc/kubernetes/pki/ca.crt", "x") }, status: 1,
			says: []string{"Another join was begun", "kubeadm reset"},
		},
		"a node of another cluster": {
			set: func(m *machine) {
				p := m.p
				p.CACert, p.Server = makeAuthority().pem, "other.example.com:443"
				m.file("etc/kubernetes/kubelet.conf", kubeletConf(p))
			},
			status: 1, says: []string{"is a node of another cluster at https://other.example.com:443", "did not make it a node"}, calls: []string{"!kubeadm", "!systemctl"},
		},
		"--reset of a node that somebody else made": {
			set: func(m *machine) { m.file("etc/kubernetes/kubelet.conf", kubeletConf(m.p)) }, args: "--reset", status: 1,
			says: []string{"a cluster that this script did not join"}, calls: []string{"!kubeadm"},
		},
		"a node of this cluster under an earlier address": {
			set: func(m *machine) {
				p := m.p
				p.Server = "old.example.com:443"
				m.file("etc/kubernetes/kubelet.conf", kubeletConf(p))
				m.note("active-kubelet", "")
			},
			says: []string{"already a node of this cluster"}, calls: []string{"!curl", "!systemctl restart"},
		},
		"a node of this cluster whose kubelet is down": {
			set: func(m *machine) { m.file("etc/kubernetes/kubelet.conf", kubeletConf(m.p)) }, status: 1,
			says: []string{"its kubelet does not run", "systemctl restart kubelet"},
		},
		"swap turned off": {
			set: func(m *machine) {
				m.file("proc/swaps", "Filename\n/dev/sda2\n")
				m.file("etc/fstab", "/dev/sda1 / ext4 x 0 1\n/dev/sda2 none swap sw 0 0\n# /dev/x none swap\n")
				m.note("swap-units", "dev-sda2.swap  loaded  active  /dev/sda2\n")
			},
			says: []string{"commented out in /etc/fstab", "turned off"}, calls: []string{"systemctl mask dev-sda2.swap", "swapoff -a"},
		},
		"swap that cannot be turned off": {
			set: func(m *machine) {
				m.file("proc/swaps", "Filename\n/dev/sda2\n")
				m.stub("swapoff", "echo Cannot allocate memory; exit 1")
			},
			status: 1, says: []string{"Swap could not be turned off", "| Cannot allocate memory"},
		},
		"swap kept":      {set: func(m *machine) { m.file("proc/swaps", "Filename\n/dev/sda2\n") }, args: "--swap=keep", says: []string{"it stays on"}, calls: []string{"!swapoff"}},
		"swap forbidden": {set: func(m *machine) { m.file("proc/swaps", "Filename\n/dev/sda2\n") }, args: "--swap stop", status: 1, says: []string{"KUBEBYON_SWAP=stop"}, calls: []string{"!swapoff"}},
		"no such kernel module": {
			set: func(m *machine) { m.note("no-modules", "") }, status: 1, says: []string{"The kernel module overlay could not be loaded"},
		},
		"a clock that is ahead": {
			set: func(m *machine) { m.env = []string{"STUB_SKEW=-600"} }, status: 1,
			says: []string{"clock is 60" /* and a digit: a busy machine takes its time */, "seconds ahead", "timedatectl"}, calls: []string{"!systemctl enable"},
		},
		"a clock that is behind": {
			set: func(m *machine) { m.env = []string{"STUB_SKEW=600"} }, status: 1, says: []string{"seconds behind"},
		},
		"a clock a little off": {set: func(m *machine) { m.env = []string{"STUB_SKEW=60"} }},
		"a clock behind the platform's": {
			set: func(m *machine) { m.p.IssuedAt = time.Now().Add(time.Hour) }, status: 1,
			says: []string{"seconds behind"}, calls: []string{"!curl"},
		},
		"a script that is too old": {
			set: func(m *machine) { m.p.ExpiresAt = time.Now().Add(-time.Minute) }, status: 1,
			says: []string{"has expired", "get a new join command from https://kubebyon.example.com"}, calls: []string{"!curl"},
		},
		"a certificate from the future": {
			set: func(m *machine) {
				m.note("api-fails", "60 SSL certificate problem: certificate is not yet valid")
			}, status: 1, says: []string{"does not fit this machine's clock"},
		},
		"a certificate of somebody else": {
			set: func(m *machine) {
				m.note("api-fails", "60 SSL certificate problem: unable to get local issuer certificate")
			}, status: 1, says: []string{"does not show a certificate of the cluster's own authority", "Do not go round this"}, calls: []string{"!kubeadm"},
		},
		"an API server that is down": {
			set: func(m *machine) {
				m.note("api-fails", "7 Failed to connect to demo.example.com port 6443: Connection refused")
			}, args: "--timeout=3", status: 1,
			says: []string{"waiting for the API server at demo.example.com:6443 to answer: Failed to connect", " s of 3 s)", "does not answer: Failed to connect"},
		},
		"a cluster that is not prepared": {
			set: func(m *machine) { m.note("code", "403") }, args: "--timeout=1", status: 1, says: []string{"not prepared for nodes to join yet (status 403)"},
		},
		"a checksum that does not match": {
			set: func(m *machine) { m.note("mirror/dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubelet", "evil") }, status: 1,
			says: []string{"is not what it should be", sumOf("evil"), "Do not use it"}, calls: []string{"!kubeadm"},
		},
		"a checksum that the operator vouches for": {
			set: func(m *machine) {
				m.p.Checksums = map[string]string{"v1.36.3/bin/linux/amd64/kubelet": strings.Repeat("0", 64)}
			}, status: 1, says: []string{"not " + strings.Repeat("0", 64)},
		},
		"a mirror that is down": {
			set: func(m *machine) { m.note("mirror-down", "") }, status: 1,
			says: []string{"Failed to connect to mirror port 443: Connection refused", "set a mirror"},
		},
		"a mirror that lacks the file": {
			set: func(m *machine) {
				m.must(os.Remove(m.notes + "/mirror/dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubeadm"))
			}, status: 1, says: []string{"could not be downloaded: The requested URL returned error: 404"},
		},
		"a mirror without TLS": {
			set: func(m *machine) { m.env = []string{"KUBEBYON_MIRROR=http://mirror.lan/k8s"} }, status: 1,
			says: []string{"is without TLS, and the platform knows no checksum"},
		},
		"a mirror without TLS and a known checksum": {
			set: func(m *machine) {
				m.env = []string{"KUBEBYON_MIRROR=http://mirror.lan/k8s"}
				m.p.Checksums = map[string]string{}
				for _, name := range []string{"kubelet", "kubeadm"} {
					text := m.program(name, installed[name])
					m.note("mirror/mirror.lan/k8s/v1.36.3/bin/linux/amd64/"+name, text)
					m.p.Checksums["v1.36.3/bin/linux/amd64/"+name] = sumOf(text)
				}
			},
			calls: []string{"--proto =http,https"},
		},
		"containerd that is fit": {
			set: func(m *machine) {
				m.have("containerd", "ctr")
				m.file("etc/containerd/config.toml", "# mine\nSystemdCgroup = true\n")
				m.file("opt/cni/bin/loopback", "")
				m.note("active-containerd", "")
			},
			says:  []string{"containerd 2.2.3 is kept as it is"},
			calls: []string{"!systemctl restart containerd", "!systemctl enable --now containerd", "!github.com"},
		},
		"containerd that is too old": {
			set: func(m *machine) { m.have("containerd", "ctr"); m.note("containerd-version", "1.6.20~ds1") }, status: 1,
			says: []string{"containerd 1.6.20 is too old: Kubernetes v1.36.3 needs 1.7 or newer"},
		},
		"containerd whose CRI does not start": {
			set: func(m *machine) {
				m.have("containerd", "ctr")
				m.file("etc/containerd/config.toml", "SystemdCgroup = true\n")
				m.note("no-cri", "")
			}, args: "--timeout=1", status: 1, says: []string{"its part that serves Kubernetes (CRI) has not started", "| journal of containerd"},
		},
		"kubelet and kubeadm of a package": {
			set: func(m *machine) { m.have("kubelet", "kubeadm"); m.note("kubelet-version", "v1.36.1") }, says: []string{"kubelet v1.36.1 is kept", "kubeadm v1.36.1 is kept"},
			calls: []string{"systemctl enable kubelet", "!dl.k8s.io"},
		},
		"kubelet of another minor version": {
			set: func(m *machine) { m.have("kubelet", "kubeadm"); m.note("kubelet-version", "v1.35.1") }, status: 1,
			says: []string{"needs kubelet 1.36, and this machine has Kubernetes v1.35.1"},
		},
		"a join that kubeadm refuses": {
			set: func(m *machine) {
				m.note("join-fails", "error execution phase kubelet-start: a Node with name \"node-1\" and status \"Ready\" already exists in the cluster "+tokenSecret+"\n")
			}, status: 1, says: []string{"kubeadm could not join", "| error execution phase kubelet-start", "[redacted]", "A node named node-1 is in the cluster already"},
		},
		"a join with a token gone meanwhile": {
			set: func(m *machine) { m.note("join-fails", "error: Unauthorized\n") }, status: 1, says: []string{"Get a new join command"},
		},
		"a node that does not get Ready": {
			set: func(m *machine) {
				m.note("node", strings.NewReplacer("\"True\"", "\"False\"", "kubelet is posting ready status", "container runtime network not ready: \\\"cni\\\" plugin not initialized").Replace(ready))
			}, args: "--ready-timeout=1", status: 1,
			says:  []string{"has joined the cluster, but the node is not Ready after 1 s: container runtime network not ready: `cni` plugin not initialized", "install one in the cluster", "| journal of kubelet"},
			calls: []string{"?pretty=true"},
		},
		"a node without conditions": {
			set:  func(m *machine) { m.note("node", "{}") },
			args: "--ready-timeout=1", status: 1, says: []string{"the kubelet has not said how it is yet"},
		},
		"a proxy": {
			set:  func(m *machine) { m.env = []string{"HTTPS_PROXY=http://proxy.lan:3128", "NO_PROXY=10.0.0.0/8,.lan"} },
			says: []string{"containerd pulls images through the proxy"},
		},
		"a firewall": {
			set: func(m *machine) { m.note("active-firewalld", "") }, says: []string{"firewalld is active, and stays as it is"}, calls: []string{"!firewall-cmd"},
		},
		"a bad name":            {args: "--node-name Under_score", status: 1, says: []string{`cannot be named "Under_score"`}, calls: []string{"!curl"}},
		"localhost":             {args: "--node-name localhost", status: 1, says: []string{"is not localhost"}},
		"an unknown option":     {args: "--fast=yes", status: 1, says: []string{"--fast is unknown"}},
		"an option alone":       {args: "--node-name", status: 1, says: []string{"its value is missing"}},
		"a bad timeout":         {args: "--timeout 1m", status: 1, says: []string{"must be a number of seconds"}},
		"a forbidden label":     {args: "--labels node-role.kubernetes.io/worker=", status: 1, says: []string{"may not give itself the label", "kubectl label node"}},
		"a label that is none":  {args: `--labels a="b`, status: 1, says: []string{"is not a label"}},
		"a taint that is none":  {args: "--taints a=b:Never", status: 1, says: []string{"is not a taint"}},
		"an address that is no": {args: "--node-ip host", status: 1, says: []string{"is not an address"}},
		"help":                  {args: "--help", says: nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, shells(t)[0])
			if c.set != nil {
				c.set(m)
			}
			o := m.join(strings.Fields(c.args)...)
			o.says(t, c.status, c.says...)
			o.called(t, c.calls...)
		})
	}
}

func TestConfigurationOfTheNode(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"v1.36.3": `nodeRegistration:
  name: "edge-1"
  criSocket: "unix:///run/containerd/containerd.sock"
  kubeletExtraArgs:
    - name: node-labels
      value: "rack=7,topology.kubernetes.io/zone=a"
    - name: node-ip
      value: "10.0.0.7"
    - name: fail-swap-on
      value: "false"
  taints:
    - key: "gpu"
      value: "yes"
      effect: NoSchedule
    - key: "slow"
      effect: PreferNoSchedule
timeouts:
  discovery: 60s
  tlsBootstrap: 60s
`,
		"v1.30.4": `  timeout: 60s
nodeRegistration:
  name: "edge-1"
  criSocket: "unix:///run/containerd/containerd.sock"
  kubeletExtraArgs:
    node-labels: "rack=7,topology.kubernetes.io/zone=a"
    node-ip: "10.0.0.7"
    fail-swap-on: "false"
  taints:
    - key: "gpu"
      value: "yes"
      effect: NoSchedule
    - key: "slow"
      effect: PreferNoSchedule
`,
	} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, shells(t)[0])
			m.p.KubernetesVersion = version
			m.stub("conntrack", ":")
			o := m.join("--node-name=edge-1", "--labels=rack=7,topology.kubernetes.io/zone=a", "--taints", "gpu=yes:NoSchedule,slow:PreferNoSchedule", "--node-ip", "10.0.0.7", "--swap=keep")
			o.says(t, 0)
			if got := m.read(m.notes + "/join.yaml"); !strings.HasSuffix(got, "\""+m.p.CACertHash+"\"\n"+want) {
				t.Errorf("got:\n%s\nwant at its end:\n%s", got, want)
			}
			if version == "v1.30.4" {
				o.called(t, "cri-tools")
			}
		})
	}
}

// Docker's package of containerd ships with CRI switched off.
func TestDockersContainerdIsMended(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, m *machine) {
		const docker = "# Docker's\ndisabled_plugins = [\"cri\"]\n[mine]\nSystemdCgroup = false\n"
		m.have("containerd", "ctr")
		m.note("containerd-version", "1.7.27")
		m.file("etc/containerd/config.toml", docker)
		o := m.join()
		o.says(t, 0, "containerd 1.7.27 is kept, but its part that serves Kubernetes (CRI) is switched off", "the old file is config.toml.kubebyon-backup")
		o.called(t, "systemctl restart containerd", "!containerd-2.2.3")
		if got := m.read(m.root + "/etc/containerd/config.toml"); got != "# Docker's\ndisabled_plugins = []\n[mine]\nSystemdCgroup = true\n" {
			t.Errorf("got:\n%s", got)
		}
		m.uninstall()
		if got := m.read(m.root + "/etc/containerd/config.toml"); got != docker {
			t.Errorf("after the removal:\n%s", got)
		}
	})
}

func TestContainerdWithoutConfigurationGetsOne(t *testing.T) {
	t.Parallel()
	m := newMachine(t, shells(t)[0])
	m.have("containerd", "ctr")
	m.join().says(t, 0, "it does not leave control groups to systemd", "made /etc/containerd/config.toml")
	m.uninstall()
	if _, err := os.Stat(m.root + "/etc/containerd"); !os.IsNotExist(err) {
		t.Errorf("/etc/containerd is left: %v", err)
	}
}

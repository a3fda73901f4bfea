package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Each figure that has a baseline is a ratio or a difference to one measured in
// the same run: the machine's speed cancels out.

// BenchmarkReachable compares a cluster's way from the request to reachable with
// the bare control plane's way from process start to its default service
// account. Target: at most 1.5.
func BenchmarkReachable(b *testing.B) {
	plane := requireProgram(b, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	data := filepath.Join(b.TempDir(), "data")
	c := signIn(b, startServer(b, data, plane), data)
	var bare, ours time.Duration
	for i := range b.N {
		p := startPlane(b, plane)
		bare += p.ready
		p.stop()
		start := time.Now()
		id := c.createCluster("bench-" + strconv.Itoa(i))
		c.awaitReachable(id, 2*time.Minute)
		ours += time.Since(start)
		c.must("DELETE", "/api/console/clusters/"+id, nil, http.StatusAccepted)
		c.awaitGone(id, time.Minute)
	}
	b.ReportMetric(bare.Seconds()/float64(b.N), "bare-s")
	b.ReportMetric(ours.Seconds()/float64(b.N), "reachable-s")
	b.ReportMetric(ours.Seconds()/bare.Seconds(), "ratio")
	if ratio := ours.Seconds() / bare.Seconds(); ratio > 1.5 {
		b.Errorf("a cluster takes %.2f times as long as its bare control plane; the target is 1.5", ratio)
	}
}

// BenchmarkTenAtOnce creates ten clusters at once and waits for all.
func BenchmarkTenAtOnce(b *testing.B) {
	plane := requireProgram(b, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	data := filepath.Join(b.TempDir(), "data")
	c := signIn(b, startServer(b, data, plane), data)
	for i := range b.N {
		start := time.Now()
		var ids []string
		for j := range 10 {
			ids = append(ids, c.createCluster(fmt.Sprintf("ten-%d-%d", i, j)))
		}
		var first time.Duration
		for _, id := range ids {
			c.awaitReachable(id, 10*time.Minute)
			if first == 0 {
				first = time.Since(start)
			}
		}
		b.ReportMetric(first.Seconds(), "first-s")
		b.ReportMetric(time.Since(start).Seconds(), "all-s")
		for _, id := range ids {
			c.must("DELETE", "/api/console/clusters/"+id, nil, http.StatusAccepted)
		}
		for _, id := range ids {
			c.awaitGone(id, 2*time.Minute)
		}
	}
}

// BenchmarkJoin compares curl | sh, until the API shows the node as ready, with a
// hollow node that joins a bare control plane by itself. Target: at most 3 s more.
func BenchmarkJoin(b *testing.B) {
	plane := requireProgram(b, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	home := b.TempDir()
	data := filepath.Join(home, "data")
	s := startServer(b, data, plane)
	c := signIn(b, s, data)
	id := c.createCluster("bench")
	c.awaitReachable(id, 2*time.Minute)
	b.Cleanup(func() { endHollowNodes(home) })
	p := startPlane(b, plane)
	var bare, ours time.Duration
	for i := range b.N {
		name := "node-" + strconv.Itoa(i)
		bare += p.join(b, plane, name)
		token := c.joinToken(id)
		start := time.Now()
		join(b, s.url, token, plane, home, name)
		c.awaitNode(id, name)
		ours += time.Since(start)
	}
	b.ReportMetric(bare.Seconds()/float64(b.N), "bare-s")
	b.ReportMetric(ours.Seconds()/float64(b.N), "join-s")
	b.ReportMetric((ours-bare).Seconds()/float64(b.N), "more-s")
	if more := (ours - bare) / time.Duration(b.N); more > 3*time.Second {
		b.Errorf("a join takes %v more than the hollow node alone; the target is 3 s", more)
	}
}

// join runs the command that the API gives for a token, as a hollow node.
func join(t testing.TB, url, token, plane, home, name string) {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), "sh", "-c", `curl -sfL "$URL" | sh -`)
	cmd.Env = append(os.Environ(), "URL="+url+"/join?token="+token, "KUBEBYON_HOLLOW_NODE="+plane,
		"KUBEBYON_NODE_NAME="+name, "KUBEBYON_NODE_DIR="+filepath.Join(home, name))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("join: %v: %s", err, out)
	}
}

// BenchmarkIdleServer measures a server without tenants: how fast it answers
// /readyz, and what it occupies. Targets: under 1 s, under 100 MB.
func BenchmarkIdleServer(b *testing.B) {
	plane := requireProgram(b, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	data := filepath.Join(b.TempDir(), "data")
	startServer(b, data, plane).stop(b) // the first start makes the database
	var ready time.Duration
	var resident float64
	for range b.N {
		start := time.Now()
		s := launch(b, freeAddress(b), data, plane)
		for answered := false; !answered; time.Sleep(2 * time.Millisecond) {
			r, err := http.Get(s.url + "/readyz")
			if err == nil {
				answered = r.StatusCode == http.StatusOK
				_ = r.Body.Close()
			}
		}
		ready += time.Since(start)
		time.Sleep(3 * time.Second) // idle, not starting
		resident += residentMB(b, s.cmd.Process.Pid)
		s.stop(b)
	}
	b.ReportMetric(ready.Seconds()/float64(b.N), "readyz-s")
	b.ReportMetric(resident/float64(b.N), "resident-MB")
	if mean := ready / time.Duration(b.N); mean > time.Second {
		b.Errorf("the server is ready after %v; the target is 1 s", mean)
	}
	if mean := resident / float64(b.N); mean > 100 {
		b.Errorf("the idle server occupies %.0f MB; the target is 100", mean)
	}
}

func residentMB(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			kb, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb / 1000
		}
	}
	b.Fatal("no resident size in /proc")
	return 0
}

// barePlane is a control plane without a platform: the baseline.
type barePlane struct {
	dir   string
	ready time.Duration
	cmd   *exec.Cmd
	ended chan struct{}
}

func startPlane(b *testing.B, program string) *barePlane {
	b.Helper()
	_, port, _ := strings.Cut(freeAddress(b), ":")
	p := &barePlane{dir: b.TempDir()}
	p.cmd = exec.CommandContext(context.Background(), program, "tenant", "--dir", p.dir, "--port", port)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.stop)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var at struct{ Stage, Reason string }
		if json.Unmarshal(lines.Bytes(), &at) == nil && at.Stage == "ready" {
			p.ready = time.Since(start)
			p.ended = make(chan struct{})
			go func() { defer close(p.ended); _, _ = p.cmd.Process.Wait() }()
			return p
		}
	}
	b.Fatal("the bare control plane did not get ready")
	return nil
}

// stop waits: a plane that ends beside what is measured next would slow it.
func (p *barePlane) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if p.ended != nil {
		<-p.ended
	}
}

// join has a hollow node join the bare control plane with a bootstrap token, and
// returns how long the node took to be ready.
func (p *barePlane) join(b *testing.B, program, name string) time.Duration {
	b.Helper()
	kubectl := requireProgram(b, "KUBEBYON_KUBECTL", "kubectl")
	kubeconfig := filepath.Join(p.dir, "admin.kubeconfig")
	kube(b, kubectl, kubeconfig, "apply", "-f", writeTemp(b, fmt.Sprintf(bootstrapSecret, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))))
	server := strings.TrimPrefix(strings.TrimSpace(kube(b, kubectl, kubeconfig, "config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")), "https://")
	for !strings.Contains(kube(b, kubectl, kubeconfig, "-n", "kube-public", "get", "configmap", "cluster-info", "-o", "yaml"), "jws-kubeconfig-abcdef") {
		time.Sleep(20 * time.Millisecond)
	}
	config := writeTemp(b, fmt.Sprintf(joinConfiguration, server, name))
	cmd := exec.CommandContext(context.Background(), program, "node", "--config", config, "--dir", b.TempDir(), "--name", name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), `"ready"`) {
			return time.Since(start)
		}
	}
	b.Fatal("the hollow node did not get ready")
	return 0
}

const bootstrapSecret = `
apiVersion: v1
kind: Secret
metadata: {name: bootstrap-token-abcdef, namespace: kube-system}
type: bootstrap.kubernetes.io/token
stringData:
  token-id: abcdef
  token-secret: 0123456789abcdef
  usage-bootstrap-authentication: "true"
  usage-bootstrap-signing: "true"
  auth-extra-groups: system:bootstrappers:kubeadm:default-node-token
  expiration: %q
`

const joinConfiguration = `
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken: {apiServerEndpoint: %q, token: abcdef.0123456789abcdef, unsafeSkipCAVerification: true}
nodeRegistration: {name: %q}
`

func writeTemp(b *testing.B, text string) string {
	b.Helper()
	f, err := os.CreateTemp(b.TempDir(), "*.yaml")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return f.Name()
}

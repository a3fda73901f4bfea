package main_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// The walk of the README, run as it stands there: what it promises to a reader
// is true of the program, or this fails.
func TestREADMEWalk(t *testing.T) {
	t.Parallel()
	plane, kubectl := requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane"), requireProgram(t, "KUBEBYON_KUBECTL", "kubectl")
	home := t.TempDir()
	place(t, plane, filepath.Join(home, "bin", "kubebyon-localplane"))
	s := startServer(t, filepath.Join(home, "data"), plane)
	script := walk(t, s.url)
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(kubectl)+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	t.Cleanup(func() { endHollowNodes(home) })
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the walk ended with %v:\n%s\nthe server's log:\n%s", err, out, s.log.tail())
	}
	for _, want := range []string{"kube-system", "worker-1", "successfully rolled out", `"type":"joined"`, `"type":"ready"`, `"type":"cluster_create_requested"`, `"type":"node_drained"`} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("the walk's output lacks %s:\n%s", want, out)
		}
	}
	if left := planesOf(home); len(left) > 0 {
		t.Errorf("processes are left of a deleted cluster: %v", left)
	}
	if entries, err := filepath.Glob(filepath.Join(home, "data", "planes", "*", "cl_*")); err != nil || len(entries) > 0 {
		t.Errorf("files are left of a deleted cluster: %v %v", entries, err)
	}
}

var walkBlock = regexp.MustCompile("(?ms)^```sh walk\n(.*?)^```$")

// walk is every block of the README that is marked, as one script.
func walk(t *testing.T, url string) string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, m := range walkBlock.FindAllSubmatch(readme, -1) {
		b.WriteString(strings.ReplaceAll(string(m[1]), "http://127.0.0.1:8080", url))
	}
	if b.Len() == 0 {
		t.Fatal("the README has no blocks marked as its walk")
	}
	return b.String()
}

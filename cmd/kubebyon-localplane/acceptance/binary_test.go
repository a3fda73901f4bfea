package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

var (
	built    sync.Once
	builtAs  string
	builtErr error
	scratch  string // removed at the end
)

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "localplane-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Nodes run as somebody else and must get through.
	_ = os.Chmod(scratch, 0o755)
	code := m.Run()
	shared.end()
	if sharedHost.h != nil {
		sharedHost.h.end()
	}
	os.RemoveAll(scratch)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// binary is what is tested.
func binary(tb testing.TB) string {
	tb.Helper()
	if named := os.Getenv("KUBEBYON_LOCALPLANE"); named != "" {
		return named
	}
	built.Do(func() {
		builtAs = filepath.Join(scratch, "kubebyon-localplane")
		const version = "k8s.io/component-base/version"
		build := exec.Command("go", "build", "-trimpath", "-ldflags",
			"-s -w -X "+version+".gitVersion=v1.36.3 -X "+version+".gitMajor=1 -X "+version+".gitMinor=36", "-o", builtAs, "..")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			builtErr = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if builtErr != nil {
		tb.Fatal(builtErr)
	}
	return builtAs
}

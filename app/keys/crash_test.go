package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/bunstore"
	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/ports/store"
)

// A crash is a real one here: this program starts itself again, to replace a key
// on a real database, and that process kills itself at the point that it is told.
const (
	crashWhat = "KEYS_TEST_CRASH"
	crashData = "KEYS_TEST_DATABASE"
	crashAt   = "KEYS_TEST_POINT"
)

// crashed runs the process that is to die, and reports whether this was it.
func crashed() bool {
	what := os.Getenv(crashWhat)
	if what == "" {
		return false
	}
	if err := crash(what, os.Getenv(crashData)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func crash(what, database string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := bunstore.Open(ctx, bunstore.Config{URL: "sqlite:" + database, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	m, err := Existing(database)
	if err != nil {
		return err
	}
	k := NewKeyring(s, m, slog.New(slog.DiscardHandler))
	left, err := strconv.Atoi(os.Getenv(crashAt))
	if err != nil {
		return err
	}
	k.passes = func(point string) {
		if left--; left == 0 {
			fmt.Println(point)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	return replace(ctx, k, what)
}

var other = keyseal.New([32]byte{99})

func replace(ctx context.Context, k *Keyring, what string) (err error) {
	if what == "rotate" {
		_, err = k.Rotate(ctx)
	} else {
		_, err = k.ChangeMaster(ctx, Master{key: other})
	}
	return err
}

// TestACrashLeavesAKeyThatOpens: wherever a change of either key is cut off, the
// next start opens all that was sealed before, and the change can be made then.
func TestACrashLeavesAKeyThatOpens(t *testing.T) {
	t.Parallel()
	template := newInstallation(t, filepath.Join(t.TempDir(), "template"))
	k := template.start(t)
	before, want := sealed(t, k, "before"), derived(t, k)
	k.Stop()
	for what, points := range map[string]int{"rotate": 3, "master": 5} {
		for at := 1; at <= points+1; at++ {
			t.Run(fmt.Sprint(what, at), func(t *testing.T) {
				t.Parallel()
				i := template.copied(t)
				if died := i.crash(t, what, at); died != (at <= points) {
					t.Fatalf("it died: %v; there are %d points", died, points)
				}
				k := i.start(t)
				check(t, k, before, "before", want)
				after := sealed(t, k, "after")
				k.Stop()
				if err := replace(t.Context(), i.keyring(t), what); err != nil {
					t.Fatalf("once more: %v", err)
				}
				k = i.start(t)
				check(t, k, before, "before", want)
				check(t, k, after, "after", want)
				if id := k.master.ID(); what == "master" && id != other.ID() {
					t.Errorf("the master key is %s", id)
				}
				k.Stop()
				i.alone(t)
			})
		}
	}
}

// installation is a folder with a database and a key file.
type installation struct{ database string }

func newInstallation(t *testing.T, dir string) installation {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	i := installation{filepath.Join(dir, "kubebyon.db")}
	if _, err := FromFile(i.database, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, "sqlite:"+i.database)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	k := i.keyringOn(t, s)
	if err := errors.Join(k.open(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i installation) copied(t *testing.T) installation {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(filepath.Dir(i.database))); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"secret.key", "kubebyon.db"} {
		if err := os.Chmod(filepath.Join(dir, file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return installation{filepath.Join(dir, "kubebyon.db")}
}

// keyring is that of another process.
func (i installation) keyring(t *testing.T) *Keyring {
	t.Helper()
	return i.keyringOn(t, openStore(t, "sqlite:"+i.database))
}

func (i installation) keyringOn(t *testing.T, s store.Store) *Keyring {
	t.Helper()
	m, err := FromFile(i.database, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return NewKeyring(s, m, slog.New(slog.DiscardHandler))
}

func (i installation) start(t *testing.T) *Keyring {
	t.Helper()
	k := i.keyring(t)
	if err := k.Start(t.Context()); err != nil {
		t.Fatalf("the next start: %v", err)
	}
	return k
}

func openStore(t *testing.T, url string) *bunstore.Store {
	t.Helper()
	s, err := bunstore.Open(t.Context(), bunstore.Config{URL: url, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func check(t *testing.T, k *Keyring, it []byte, text string, want []byte) {
	t.Helper()
	if got, err := k.Open(t.Context(), "p", it); err != nil || string(got) != text {
		t.Errorf("what was sealed: %q, %v; want %q", got, err, text)
	}
	if got := derived(t, k); !bytes.Equal(got, want) {
		t.Errorf("derived %x, want %x", got, want)
	}
}

// crash changes a key in a process that dies at a point, if there are so many.
func (i installation) crash(t *testing.T, what string, at int) (died bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashWhat+"="+what, crashData+"="+i.database, crashAt+"="+strconv.Itoa(at))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
		t.Logf("died at: %s", out)
		return true
	}
	if err != nil {
		t.Fatalf("%s: %v: %s", what, err, &stderr)
	}
	return false
}

// alone checks that no key is left beside the key file.
func (i installation) alone(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(filepath.Dir(i.database), "secret.key*"))
	if err != nil || len(left) != 1 {
		t.Errorf("the keys here are %v, %v", left, err)
	}
}

func sealed(t *testing.T, k *Keyring, text string) []byte {
	t.Helper()
	it, err := k.Seal(t.Context(), "p", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return it
}

func derived(t *testing.T, k *Keyring) []byte {
	t.Helper()
	b, err := k.Derive(t.Context(), "p", []byte("input"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

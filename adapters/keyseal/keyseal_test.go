package keyseal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/seal/sealtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSealer(t *testing.T) {
	t.Parallel()
	sealtest.Run(t, sealtest.Harness{
		New:      func(*testing.T) seal.Sealer { return keyseal.New([32]byte{1}) },
		Stranger: func(*testing.T) seal.Sealer { return keyseal.New([32]byte{2}) },
	})
}

// TestOldValuesOpen pins the format: what was sealed once opens for ever.
func TestOldValuesOpen(t *testing.T) {
	t.Parallel()
	old, err := hex.DecodeString(goldenSealed)
	if err != nil {
		t.Fatal(err)
	}
	s := keyseal.New([32]byte{1})
	plain, err := s.Open(t.Context(), "golden", old)
	if err != nil || string(plain) != "kept since the first version" {
		t.Errorf("a value of the first version: %q, %v", plain, err)
	}
	derived, err := s.Derive(t.Context(), "golden", []byte("input"))
	if got := hex.EncodeToString(derived); err != nil || got != goldenDerived {
		t.Errorf("derived %s, %v; want %s as in the first version", got, err, goldenDerived)
	}
}

func TestWrongKeyIsRecognized(t *testing.T) {
	t.Parallel()
	right, wrong := keyseal.New([32]byte{1}), keyseal.New([32]byte{2})
	canary, err := canaryOf(t, right)
	if err != nil {
		t.Fatal(err)
	}
	if err := opens(t, keyseal.New([32]byte{1}), canary); err != nil {
		t.Errorf("the right key: %v", err)
	}
	if err := opens(t, wrong, canary); fault.CodeOf(err) != "wrong_key" {
		t.Errorf("the wrong key: %v; want code wrong_key", err)
	}
	canary[len(canary)-1]++
	if err := opens(t, right, canary); fault.CodeOf(err) != "broken_seal" {
		t.Errorf("a damaged canary: %v; want code broken_seal", err)
	}
}

func TestFromTextReadsEverySpelling(t *testing.T) {
	t.Parallel()
	key := [32]byte(bytes.Repeat([]byte{0xfb}, 32)) // base64 of it has + or -, by alphabet
	canary, err := canaryOf(t, keyseal.New(key))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		hex.EncodeToString(key[:]), strings.ToUpper(hex.EncodeToString(key[:])), base64.StdEncoding.EncodeToString(key[:]) + "\n",
		base64.RawStdEncoding.EncodeToString(key[:]), base64.URLEncoding.EncodeToString(key[:]), base64.RawURLEncoding.EncodeToString(key[:]),
	} {
		s, err := keyseal.FromText(secret.New(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if err := opens(t, s, canary); err != nil {
			t.Errorf("%q is read as another key: %v", text, err)
		}
	}
}

func TestFromTextRefusesWithoutRepeating(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "passwordpasswordpasswordpassword", strings.Repeat("ab", 31), strings.Repeat("ab", 33), base64.StdEncoding.EncodeToString(make([]byte, 16))} {
		_, err := keyseal.FromText(secret.New(text))
		if !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v, want it refused", text, err)
		} else if text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("the error repeats the text: %v", err)
		}
	}
}

func TestFileKeepsTheKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret.key")
	first, made, err := keyseal.LoadOrCreateFile(path)
	if err != nil || !made {
		t.Fatalf("first: made %v, %v", made, err)
	}
	canary, err := canaryOf(t, first)
	if err != nil {
		t.Fatal(err)
	}
	second, made, err := keyseal.LoadOrCreateFile(path)
	if err != nil || made {
		t.Fatalf("second: made %v, %v", made, err)
	}
	if err := opens(t, second, canary); err != nil {
		t.Errorf("the file gave another key: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	alone(t, path)
}

func TestCreatedOnceByMany(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret.key")
	var makers atomic.Int32
	canaries := make([][]byte, 32)
	var all sync.WaitGroup
	for i := range canaries {
		all.Go(func() {
			s, made, err := keyseal.LoadOrCreateFile(path)
			if err != nil {
				t.Error(err)
				return
			}
			if made {
				makers.Add(1)
			}
			canaries[i], _ = canaryOf(t, s)
		})
	}
	all.Wait()
	if n := makers.Load(); n != 1 {
		t.Errorf("%d made the key, want 1", n)
	}
	last, _, err := keyseal.LoadOrCreateFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range canaries {
		if err := opens(t, last, c); err != nil {
			t.Errorf("number %d had another key: %v", i, err)
		}
	}
	alone(t, path)
}

func TestBadFilesAreRefused(t *testing.T) {
	t.Parallel()
	good := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for name, c := range map[string]struct {
		text string
		mode fs.FileMode
		code string
	}{
		"group may read":  {good, 0o640, "key_file_exposed"},
		"all may read":    {good, 0o604, "key_file_exposed"},
		"group may write": {good, 0o620, "key_file_exposed"},
		"empty":           {"", 0o600, "key_file_malformed"},
		"short":           {good[:20], 0o600, "key_file_malformed"},
		"long":            {good + good, 0o600, "key_file_malformed"},
		"huge":            {strings.Repeat(good, 1000), 0o600, "key_file_malformed"},
		"read only":       {good, 0o400, "internal"}, // this one is good
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "secret.key")
			if err := errors.Join(os.WriteFile(path, []byte(c.text), c.mode), os.Chmod(path, c.mode)); err != nil {
				t.Fatal(err)
			}
			_, made, err := keyseal.LoadOrCreateFile(path)
			if fault.CodeOf(err) != c.code || made {
				t.Fatalf("made %v, %v; want code %s", made, err, c.code)
			}
			if name != "read only" && !strings.Contains(err.Error(), path) {
				t.Errorf("%v does not name the file", err)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != c.text {
				t.Errorf("the file was changed: %v", err)
			}
		})
	}
}

func TestAFolderIsNoKey(t *testing.T) {
	t.Parallel()
	if _, _, err := keyseal.LoadOrCreateFile(t.TempDir()); fault.CodeOf(err) != "key_file_unreadable" {
		t.Errorf("a folder as key file: %v", err)
	}
	if _, _, err := keyseal.LoadOrCreateFile(filepath.Join(t.TempDir(), "missing", "key")); fault.CodeOf(err) != "key_file_not_made" {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// alone checks that nothing but the key is left beside it.
func alone(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files beside the key, %v; want it alone", len(entries), err)
	}
}

func BenchmarkSealOpen(b *testing.B) {
	s := keyseal.New([32]byte{1})
	plain := make([]byte, 6<<10) // a kubeconfig
	for b.Loop() {
		it, err := s.Seal(b.Context(), "p", plain)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Open(b.Context(), "p", it); err != nil {
			b.Fatal(err)
		}
	}
}

// canaryOf is a known text, sealed.
func canaryOf(t *testing.T, s *keyseal.Sealer) ([]byte, error) {
	t.Helper()
	return s.Seal(t.Context(), "canary", []byte("a known text"))
}

func opens(t *testing.T, s *keyseal.Sealer, canary []byte) error {
	t.Helper()
	_, err := s.Open(t.Context(), "canary", canary)
	return err
}

package joining

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzFile: a join configuration is read or refused, and a refusal does not
// quote the token in it.
func FuzzFile(f *testing.F) {
	const good = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\ndiscovery:\n  bootstrapToken:\n    token: abcdef.0123456789abcdef\n    apiServerEndpoint: 127.0.0.1:6443\n    caCertHashes: [\"sha256:" +
		"0000000000000000000000000000000000000000000000000000000000000000\"]\nnodeRegistration:\n  name: worker-1\n"
	for _, s := range []string{good, "", "---\n---\n", "\x00", "kind: JoinConfiguration", "a: &a [*a]", "[" + strings.Repeat("[", 5000), strings.Replace(good, "worker-1", "Worker_1", 1), strings.Replace(good, "v1beta4", "v1beta3", 1), strings.Replace(good, "token:", "token: {a: b}\n    x:", 1)} {
		f.Add(s)
	}
	path := filepath.Join(f.TempDir(), "join.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readFile(path)
		if err != nil && strings.Contains(err.Error(), "abcdef.0123456789abcdef") {
			t.Errorf("the refusal quotes the token: %v", err)
		}
		if err == nil && (got == nil || !got.isJoin()) {
			t.Errorf("%q was read as %+v", text, got)
		}
	})
}

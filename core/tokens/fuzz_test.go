package tokens

import (
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/ports/tenant"
)

// FuzzWellFormed: what is taken for a join token's value can stand in a URL and
// in a shell's quotation as it is.
func FuzzWellFormed(f *testing.F) {
	for _, s := range []string{"", "kbt_", "kbt_" + strings.Repeat("a", 43), "kbt_" + strings.Repeat("a", 43) + "\n", "KBT_" + strings.Repeat("a", 43), "kbt_" + strings.Repeat("é", 43), "kbt_" + strings.Repeat("=", 43)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !WellFormed(text) {
			return
		}
		if len(text) != 47 || !strings.HasPrefix(text, "kbt_") || strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
			t.Errorf("%q was taken for a token", text)
		}
	})
}

// FuzzJoinRequestIsWellFormed: a claim is of one machine's name and one key.
func FuzzJoinRequestIsWellFormed(f *testing.F) {
	f.Add("worker-1", strings.Repeat("a", 64))
	f.Add("", "")
	f.Add("worker-1", "a\n")
	f.Add("a..b", "\n")
	f.Add("worker-1\n", "SHA256:abc=\x00")
	f.Fuzz(func(t *testing.T, name, key string) {
		if !wellFormed(tenant.JoinRequest{NodeName: name, KeyHash: key}) {
			return
		}
		if name == "" || len(name) > 253 || strings.ToLower(name) != name || strings.ContainsAny(name, " \n\x00/:%") || strings.Contains(name, "..") {
			t.Errorf("%q was taken for a machine's name", name)
		}
		if key == "" || len(key) > 128 || strings.ContainsAny(key, " \n\x00'\"") {
			t.Errorf("%q was taken for a key's hash", key)
		}
	})
}

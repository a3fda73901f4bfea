package identity

import (
	"net/mail"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// FuzzNormalAddress: an address has one spelling, which is its own, and which
// mail can be sent to.
func FuzzNormalAddress(f *testing.F) {
	for _, s := range []string{"Ada@Example.COM", " a@b ", "a@b\n", `"a b"@c`, "a@[127.0.0.1]", "Ada <a@b>", "a@b, c@d", "a(comment)@b", "İ@b", "a@\u212a", "é@é", "=?utf-8?q?a?=@b", "a@b\u00a0", "\xff@b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		address, ok := normalAddress(text)
		if !ok {
			return
		}
		if again, ok := normalAddress(address); !ok || again != address {
			t.Errorf("%q became %q, which becomes %q %v", text, address, again, ok)
		}
		if a, err := mail.ParseAddress(address); err != nil || a.Address != address || a.Name != "" {
			t.Errorf("%q cannot be sent to: %v %v", address, a, err)
		}
		if len(address) > 254 || !utf8.ValidString(address) || strings.ContainsAny(address, "\x00\r\n\t ") || strings.ContainsAny(address, "ABCDEFGHIJKLMNOPQRSTUVWXYZ[") {
			t.Errorf("%q became %q", text, address)
		}
	})
}

// TestLookalikesAreSomebodyElse: a sign-in provider vouches for a mailbox, and for
// none whose address looks or folds like it.
func TestLookalikesAreSomebodyElse(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{"Kurt@Ex.org": "kurt@ex.org", "\u212aurt@ex.org": "\u212aurt@ex.org", "adm\u0130n@ex.org": "adm\u0130n@ex.org", "ADM\u00c9@ex.org": "adm\u00c9@ex.org"} {
		if got, ok := normalAddress(given); !ok || got != want {
			t.Errorf("%q became %q, %v", given, got, ok)
		}
	}
	for _, bad := range []string{"a\u202e@ex.org", "a\u200b@ex.org", "a@[127.0.0.1]"} {
		if got, ok := normalAddress(bad); ok {
			t.Errorf("%q became %q", bad, got)
		}
	}
}

// FuzzName: a name that is taken can be kept and shown, and is taken again as
// it is.
func FuzzName(f *testing.F) {
	for _, s := range []string{"Ada", " Ada ", "", "\u00a0a", "\u202ea", "\x00", strings.Repeat("é", 101)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var c, again fault.Check
		name := checkName(&c, text)
		if c.Err() != nil {
			return
		}
		if checkName(&again, name) != name || again.Err() != nil {
			t.Errorf("%q became %q, which is not taken as it is", text, name)
		}
		if !utf8.ValidString(name) || strings.ContainsAny(name, "\x00\r\n") || strings.TrimSpace(name) != name || name == "" {
			t.Errorf("%q became %q", text, name)
		}
	})
}

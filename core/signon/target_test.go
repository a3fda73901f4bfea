package signon_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/signon"
)

var local = []string{
	"/", "/clusters", "/clusters/", "/clusters/cls_1/nodes?limit=10&cursor=a%2Fb#top", "/a%20b", "/%E9%9B%86%E7%BE%A4", "/a%2Fb", "/a:b@c", "/~a/-._!$&'()*+,;=", "/?next=//example.com", "/#//example.com", "/...", "/.well-known", "/" + strings.Repeat("a", 511),
}

var elsewhere = []string{
	"", "clusters", "https://example.com", "https:example.com", "javascript:alert(1)", "data:text/html,a", "//", "//?a", "//#a", "//example.com", "///example.com", "////example.com",
	`\\example.com`, `/\example.com`, `\/example.com`, `/\/example.com`, `/a\b`, "/\t/example.com", "\t//example.com", " //example.com", "/\n/example.com", "/\r\nSet-Cookie: a=b", "/\x00", "/a\x7f", "/a b",
	"/./" + "/example.com", "/..//example.com", "/a/..//example.com", "/.//example.com", "/a/../b", "/a/./b", "/a/..", "/.", "/%2e%2e//example.com", "/%2e/b", "/a/%2E%2e/b",
	"/%2fexample.com", "/%2Fexample.com", "/%5cexample.com", "/a%5Cb", "/%09/example.com", "/a%0d%0aSet-Cookie:%20a=b", "/%00", "/a//b", "/%", "/%zz", "/%ff", "/集群", "/\u2028", "/é", "/\u202e", "/" + strings.Repeat("a", 512),
}

func TestTargets(t *testing.T) {
	t.Parallel()
	for _, s := range local {
		if err := signon.CheckTarget(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range elsewhere {
		if err := signon.CheckTarget(s); fault.CodeOf(err) != fault.ValidationFailed || len(s) > 12 && strings.Contains(err.Error(), s) {
			t.Errorf("%q: %v; want it refused, and not repeated", s, err)
		}
	}
}

// FuzzTarget resolves what passes as browsers do (WHATWG URL): line ends and
// tabs left out, backslashes as slashes, percent signs decoded or not.
func FuzzTarget(f *testing.F) {
	for _, s := range append(local, elsewhere...) {
		f.Add(s)
	}
	base, err := url.Parse("https://console.example.com/login")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if signon.CheckTarget(s) != nil {
			return
		}
		once, _, _ := strings.Cut(s, "?")
		once, _, _ = strings.Cut(once, "#")
		decoded, err := url.PathUnescape(once)
		if err != nil {
			t.Fatalf("%q passes", s)
		}
		for _, read := range []string{s, decoded} {
			read = strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(strings.TrimSpace(read))
			if !strings.HasPrefix(read, "/") || strings.HasPrefix(read, "//") {
				t.Errorf("%q passes, and is read as %q", s, read)
			}
		}
		to, err := base.Parse(s)
		if err != nil || to.Scheme != "https" || to.Host != base.Host || to.User != nil || strings.HasPrefix(to.Path, "//") {
			t.Errorf("%q passes, and leads to %v, %v", s, to, err)
		}
	})
}

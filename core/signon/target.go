package signon

import (
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// longestTarget keeps the cookie in the size that every browser takes.
const longestTarget = 512

// CheckTarget refuses where a browser must not be sent after a sign-in: anywhere
// but to a path of this console, however browsers read it. They take backslashes
// for slashes, leave out tabs and line ends, and see a host behind two slashes.
func CheckTarget(target string) error {
	var check fault.Check
	check.That(isLocalPath(target), "query.redirect", "must be a path of this console, such as /clusters, of at most %d characters", longestTarget)
	return check.Err()
}

func isLocalPath(s string) bool {
	if len(s) > longestTarget || !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || strings.ContainsFunc(s, isUnsafe) {
		return false
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return false
	}
	// An empty part in front would be read as a host by whoever resolves dots
	// first, or decodes first.
	for _, path := range []string{u.EscapedPath(), u.Path} {
		parts := strings.Split(path, "/")[1:]
		if slices.ContainsFunc(parts, func(p string) bool { return p == "." || p == ".." }) || slices.Contains(parts[:len(parts)-1], "") {
			return false
		}
	}
	return utf8.ValidString(u.Path) && !strings.ContainsFunc(u.Path, func(r rune) bool { return unicode.IsControl(r) || r == '\\' })
}

// isUnsafe leaves letters beyond ASCII to be written with percent signs, as they
// are in every address that a browser shows to a program.
func isUnsafe(r rune) bool { return r <= ' ' || r >= 0x7f }

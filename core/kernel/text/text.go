// Package text makes text that came from outside safe to keep and to show.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clip shortens s to at most n bytes of valid UTF-8 without NUL, which every
// store takes.
func Clip(s string, n int) string {
	if len(s) > n {
		s = strings.Clone(s[:n]) // or the short text would keep the long one in memory
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\x00", "")
}

// IsName reports whether s may be shown as a name of 1 to most characters: it
// has something to see, fits on one line, and does not turn the direction of
// the text around it, which would let one name pass for another.
func IsName(s string, most int) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= most &&
		strings.ContainsFunc(s, seen) && !strings.ContainsFunc(s, disruptive)
}

func seen(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) }

func disruptive(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

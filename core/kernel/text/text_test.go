package text_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/kubebyon/kubebyon/core/kernel/text"
)

func TestClippedTextIsShortValidAndWithoutNUL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "short": "short", "12345678": "12345678", "123456789": "12345678", "1234567é": "1234567",
		"日本語": "日本", "a\x00b": "ab", "a\xffb": "ab", "\xe6\x97": "", "\x00\x00": "",
	} {
		if got := text.Clip(in, 8); got != want {
			t.Errorf("Clip(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzClip(f *testing.F) {
	f.Add("日本語\x00\xff", 5)
	f.Fuzz(func(t *testing.T, s string, n int) {
		if n < 0 || n > 1<<16 {
			t.Skip()
		}
		got := text.Clip(s, n)
		if len(got) > n || !utf8.ValidString(got) || strings.Contains(got, "\x00") {
			t.Errorf("Clip(%q, %d) = %q", s, n, got)
		}
		if text.Clip(got, n) != got {
			t.Errorf("clipping %q twice is not clipping it once", s)
		}
	})
}

func TestNamesHaveSomethingToSeeAndDisruptNothing(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"a": true, "Ada": true, "李雷": true, "O’Neill": true, "👨‍👩‍👧": true, "山田　太郎": true, "٣": true,
		strings.Repeat("é", 10): true, "": false, " ": false, "\u200b": false, "　": false,
		strings.Repeat("é", 11): false, "a\nb": false, "a\x00": false, "a\x7f": false, "a\u0085b": false, "a\u2028b": false, "a\u2029b": false,
		"\u202eevil": false, "a\u2066b": false, "\xff": false, "a\xc3": false,
	} {
		if got := text.IsName(s, 10); got != want {
			t.Errorf("IsName(%q) = %v", s, got)
		}
	}
	if !text.IsName("Ada Lovelace", 12) || text.IsName("Ada Lovelace", 11) {
		t.Error("characters are not counted")
	}
}

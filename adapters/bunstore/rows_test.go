package bunstore

import (
	"slices"
	"strings"
	"testing"
)

// What a search asks the index for is some of the text's pieces, few however
// long it is, and of both its ends: identifiers begin alike.
func TestPartsAreOfBothEnds(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"a": 1, "abc": 1, "abcd": 2, strings.Repeat("x", 18) + "y": 17, strings.Repeat("x", 300) + "end": 16} {
		got := parts(text)
		if len(got) != want || !strings.HasPrefix(text, got[0]) || !strings.HasSuffix(text, got[len(got)-1]) {
			t.Errorf("%q has the parts %q, want %d from its beginning to its end", text, got, want)
		}
		if slices.ContainsFunc(got, func(p string) bool { return !strings.Contains(text, p) }) {
			t.Errorf("%q does not hold all of %q", text, got)
		}
	}
}

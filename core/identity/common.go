package identity

import (
	"cmp"
	_ "embed" // the list
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

//go:embed common-passwords.txt
var commonPasswords string

// common are the passwords that are guessed first (NIST SP 800-63B, 3.1.1.2;
// OWASP ASVS 5.0, 6.2.4), read when the first password is chosen.
var common = sync.OnceValue(func() map[string]bool { //nolint:gochecknoglobals // a constant
	out := map[string]bool{}
	for line := range strings.Lines(commonPasswords) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "# ") {
			out[line] = true
		}
	}
	return out
})

// isCommon takes capitals for no difference: whoever guesses does.
func isCommon(password string) bool { return common()[strings.ToLower(password)] }

// names are words that come to mind to whoever thinks of a password for this
// service (OWASP ASVS 5.0, 6.1.2). SECURITY.md lists them.
var names = []string{ //nolint:gochecknoglobals // a constant
	"kubebyon", "kubernetes", "kubeconfig", "kubectl", "cluster", "console", "administrator", "admin", "operator",
}

// besidesNames counts the characters of a password that are in none of the names,
// and in no word of four characters or more of what is said about its account: to
// whoever guesses, those are known.
func besidesNames(password string, about ...string) int {
	known := slices.Clone(names)
	for _, text := range about {
		known = append(known, strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })...)
	}
	slices.SortFunc(known, func(a, b string) int { return cmp.Compare(len(b), len(a)) }) // "administrator" before "admin"
	left := strings.ToLower(password)
	for _, word := range known {
		if utf8.RuneCountInString(word) >= 4 {
			left = strings.ReplaceAll(left, word, "")
		}
	}
	return utf8.RuneCountInString(left)
}

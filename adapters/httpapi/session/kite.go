package session

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// KiteValue spells an API key as clients of Kite send it.
func KiteValue(number int64, rest string) string {
	return "kite" + strconv.FormatInt(number, 10) + "-" + rest
}

var kiteRE = regexp.MustCompile(`^kite([1-9][0-9]{0,17})-([A-Za-z0-9_-]{1,200})$`) //nolint:gochecknoglobals // a constant

// KiteKey reads such a key out of a request. Ours tells that there is something of
// that kind, and ok that it can be one: each key has one spelling, and none an
// empty secret.
func KiteKey(r *http.Request) (number int64, rest secret.Text, ours, ok bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 || !strings.HasPrefix(values[0], "kite") {
		return 0, rest, false, false
	}
	found := kiteRE.FindStringSubmatch(values[0])
	if found == nil {
		return 0, rest, true, false
	}
	number, err := strconv.ParseInt(found[1], 10, 64)
	return number, secret.New(found[2]), true, err == nil
}

package operation

import (
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
)

// safe are the messages of huma's checks that repeat nothing of the request.
var safe = regexp.MustCompile(`^(expected (boolean|integer|number|string|array|object|length [<>]= \d+|number [<>]=? [-+.e\d]+|array length [<>]= \d+|` + //nolint:gochecknoglobals // a constant
	`required property [a-z_]+ to be present|value to be one of "[a-z0-9_, ]*"|string to match pattern .*|string to be [a-z0-9 -]+)|` +
	`unexpected property|required (query|path|header) parameter is missing|is not valid JSON near byte \d+|is not valid UTF-8|has a field twice|has a field that is not known; names are in lower case|` +
	`holds a value of the wrong type or size at [\w.\[\]-]*|cannot be read|must be .*|invalid (boolean|integer))$`)

// field is what huma says about one part of a request, without the rejected
// value.
func field(e *huma.ErrorDetail) problem.Field {
	message := e.Message
	if !safe.MatchString(message) {
		message = "is not valid"
	}
	return problem.Field{Location: printable(e.Location), Message: message}
}

var (
	unprintable = regexp.MustCompile(`[^A-Za-z0-9_.\[\]-]`) //nolint:gochecknoglobals // a constant
	// A field's name is short, or a few words. Anything else that somebody sends in
	// its place may be a password or a token.
	fieldName = regexp.MustCompile(`^([^.]{0,11}|[a-z]{1,14}(_[a-z]{1,14}){0,7})(\[\d{1,9}\])*$`) //nolint:gochecknoglobals // a constant
)

const maxLocation = 100

// printable is a location in which names that the client made up cannot do
// anything but be read, and give away nothing but a slip of the keyboard.
func printable(location string) string {
	location = unprintable.ReplaceAllString(location, "?")
	if own := strings.HasPrefix(location, "header.") || strings.HasPrefix(location, "path.") || strings.HasPrefix(location, "query."); !own {
		location = shortNames(location)
	}
	if len(location) > maxLocation {
		return location[:maxLocation] + "..."
	}
	return strings.TrimSuffix(location, ".")
}

func shortNames(location string) string {
	names := strings.Split(location, ".")
	for i, name := range names {
		if !fieldName.MatchString(name) {
			names[i] = "?"
		}
	}
	return strings.Join(names, ".")
}

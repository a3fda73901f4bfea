package settings

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kubebyon/kubebyon/adapters/httpapi/joinscript"
)

// checked is a flag whose text must pass a check. pflag and fromEnvironment put
// the name of the flag or the variable before the error.
type checked struct {
	text  string
	set   func(text string) error
	named string
}

func (c *checked) String() string { return c.text }
func (c *checked) Type() string   { return c.named }

func (c *checked) Set(text string) error {
	if err := c.set(text); err != nil {
		return err
	}
	c.text = text
	return nil
}

// Count registers a flag that is a whole number of at least one.
func Count(fs *pflag.FlagSet, value *int, name string, first int, usage string) {
	*value = first
	fs.Var(&checked{text: strconv.Itoa(first), named: "number", set: func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1_000_000_000 {
			return errors.New("must be a whole number of at least 1")
		}
		*value = n
		return nil
	}}, name, usage)
}

// Address registers a flag that says where to listen.
func Address(fs *pflag.FlagSet, value *string, name, first, usage string) {
	*value = first
	fs.Var(&checked{text: first, named: "host:port", set: func(text string) error {
		if _, port, err := net.SplitHostPort(text); text != "" && (err != nil || !isPort(port)) {
			return errors.New("must be like :8080 or 127.0.0.1:8080")
		}
		*value = text
		return nil
	}}, name, usage)
}

// Networks registers a flag that lists networks.
func Networks(fs *pflag.FlagSet, value *[]netip.Prefix, name, first, usage string) {
	list := (*prefixes)(value)
	if err := list.Set(first); err != nil {
		panic(err) // what is written here is right
	}
	fs.Var(list, name, usage)
}

func isPort(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n >= 0 && n <= 65535
}

// BaseURL registers a flag that is the beginning of URLs. They end up in shell
// commands, so characters that mean something there are refused.
func BaseURL(fs *pflag.FlagSet, value *string, name, usage string) {
	fs.Var(&checked{named: "url", set: func(text string) error {
		if text != "" && !joinscript.IsURL(text) {
			return errors.New("must be like https://kubebyon.example.com")
		}
		*value = text
		return nil
	}}, name, usage)
}

func isWebURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "" &&
		!strings.ContainsAny(text, "\"'`$\\ \t\r\n;|&<>(){}*!")
}

// origins is a flag that lists web sites.
type origins []string

func (o *origins) String() string { return strings.Join(*o, ",") }
func (o *origins) Type() string   { return "origins" }

func (o *origins) Set(text string) error {
	var out origins
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		u, err := url.Parse(part)
		if part != "*" && (err != nil || !isWebURL(part) || strings.Trim(u.Path, "/") != "") {
			return errors.New("must be a comma-separated list of origins such as https://console.example.com, or *")
		}
		out = append(out, part)
	}
	*o = out
	return nil
}

package settings

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lmittmann/tint"
	"github.com/mattn/go-isatty"
	"github.com/spf13/pflag"
)

// Log says how to log. Every command has it.
type Log struct {
	level  slog.Level
	format string
}

// Register adds the flags.
func (l *Log) Register(fs *pflag.FlagSet) {
	fs.Var(&checked{text: l.level.String(), named: "level", set: func(text string) error {
		if l.level.UnmarshalText([]byte(text)) != nil { // its own error repeats the text
			return errors.New("must be debug, info, warn or error")
		}
		return nil
	}}, "log-level", "debug, info, warn or error")
	fs.Var(OneOf(&l.format, "auto", "auto", "text", "json"), "log-format", "text, json, or auto: text on a terminal, else json")
}

// Logger writes lines for people on a terminal, JSON for machines elsewhere.
func (l *Log) Logger(to *os.File) *slog.Logger {
	return slog.New(l.handler(to, isatty.IsTerminal(to.Fd())))
}

func (l *Log) handler(to io.Writer, terminal bool) slog.Handler {
	if l.format == "text" || (l.format == "auto" && terminal) {
		return tint.NewTextHandler(to, &tint.Options{Level: l.level, TimeFormat: time.TimeOnly, NoColor: !terminal, ReplaceAttr: legible})
	}
	return slog.NewJSONHandler(to, &slog.HandlerOptions{Level: l.level, ReplaceAttr: legible})
}

// legible writes a duration with its unit: as JSON it would be a number of
// nanoseconds that does not say so.
func legible(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(rounded(a.Value.Duration()).String())
	}
	return a
}

// rounded leaves of a duration what a reader may want of it.
func rounded(d time.Duration) time.Duration {
	switch size := d.Abs(); {
	case size >= time.Second:
		return d.Round(time.Millisecond)
	case size >= time.Millisecond:
		return d.Round(time.Microsecond)
	}
	return d
}

// choice is a flag with a fixed set of values.
type choice struct {
	value   *string
	allowed []string
}

// OneOf registers nothing yet: it is a flag whose value is one of some words.
func OneOf(value *string, first string, allowed ...string) pflag.Value {
	*value = first
	return &choice{value, allowed}
}

func (c *choice) String() string {
	if c.value == nil {
		return ""
	}
	return *c.value
}
func (c *choice) Type() string { return "string" }

func (c *choice) Set(text string) error {
	if !slices.Contains(c.allowed, text) {
		return fmt.Errorf("must be one of %s", strings.Join(c.allowed, ", "))
	}
	*c.value = text
	return nil
}

// prefixes is a flag that lists networks.
type prefixes []netip.Prefix

func (p *prefixes) String() string {
	texts := make([]string, len(*p))
	for i, n := range *p {
		texts[i] = n.String()
	}
	return strings.Join(texts, ",")
}
func (p *prefixes) Type() string { return "cidrs" }

func (p *prefixes) Set(text string) error {
	var out prefixes
	for part := range strings.SplitSeq(text, ",") {
		n, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return fmt.Errorf("must be a comma-separated list of networks such as 10.0.0.0/8")
		}
		out = append(out, n)
	}
	*p = out
	return nil
}

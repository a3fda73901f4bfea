// Package messagetext puts messages into words: a subject, plain text, and HTML
// that mail programs show by day and by night, without fetching anything.
//
// Each template has a .txt, whose first line is the subject, and an .html, which
// stands in layout.html.
package messagetext

import (
	"bytes"
	"embed"
	"fmt"
	htmltemplate "html/template"
	"net/url"
	"strings"
	texttemplate "text/template"
	"time"
	"unicode"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/text"
	"github.com/kubebyon/kubebyon/ports/notify"
)

//go:embed templates
var files embed.FS

// Composer is safe for concurrent use.
type Composer struct {
	texts map[string]*texttemplate.Template
	pages map[string]*htmltemplate.Template
}

// New reads the templates, which are part of the program.
func New() (*Composer, error) {
	c := &Composer{texts: map[string]*texttemplate.Template{}, pages: map[string]*htmltemplate.Template{}}
	for _, t := range notify.Samples() {
		name := notify.NameOf(t)
		var err error
		if c.texts[name], err = texttemplate.New(name+".txt").Option("missingkey=error").ParseFS(files, "templates/"+name+".txt"); err != nil {
			return nil, fmt.Errorf("read the text of %s: %w", name, err)
		}
		if c.pages[name], err = htmltemplate.New("layout.html").Option("missingkey=error").ParseFS(files, "templates/layout.html", "templates/"+name+".html"); err != nil {
			return nil, fmt.Errorf("read the page of %s: %w", name, err)
		}
	}
	return c, nil
}

// Compose implements notify.Composer.
func (c *Composer) Compose(t notify.Template) (notify.Words, error) {
	said, err := fields(t)
	if err != nil {
		return notify.Words{}, err
	}
	name := notify.NameOf(t)
	var plain, page bytes.Buffer
	if err := c.texts[name].Execute(&plain, said); err != nil {
		return notify.Words{}, fmt.Errorf("write the text of %s: %w", name, err)
	}
	subject, body, _ := strings.Cut(plain.String(), "\n")
	said["Subject"] = subject
	if err := c.pages[name].Execute(&page, said); err != nil {
		return notify.Words{}, fmt.Errorf("write the page of %s: %w", name, err)
	}
	return notify.Words{Subject: subject, Text: strings.TrimSpace(body) + "\n", HTML: page.String()}, nil
}

// fields are what the words are made of. Every text among them is on one line.
func fields(t notify.Template) (map[string]any, error) {
	var c fault.Check
	need := func(name, value string) string {
		value = line(value)
		c.That(value != "", name, "must not be empty")
		return value
	}
	link := func(value string) string {
		u, err := url.Parse(value)
		c.That(value == "" || err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && value == line(value), "url", "must be an http or https address")
		return value
	}
	at := func(t time.Time) string {
		c.That(!t.IsZero(), "at", "must be set")
		return t.UTC().Format("2 January 2006, 15:04 UTC")
	}
	minutes := func(n int) int {
		c.That(n > 0, "minutes", "must be positive")
		return n
	}
	var said map[string]any
	switch t := t.(type) {
	case notify.Welcome:
		said = map[string]any{"Name": line(t.Name), "URL": link(t.URL)}
	case notify.ClusterAlert:
		said = map[string]any{"Cluster": need("cluster", t.Cluster), "Is": state(need("status", t.Status)), "Reason": line(t.Reason), "At": at(t.At), "URL": link(t.URL)}
	case notify.OrderPaid:
		said = map[string]any{"Name": line(t.Name), "Order": need("order", t.Order), "Plan": need("plan", t.Plan), "Amount": need("amount", t.Amount), "At": at(t.At), "URL": link(t.URL)}
	case notify.VerificationCode:
		said = map[string]any{"Code": need("code", t.Code), "Minutes": minutes(t.Minutes)}
	case notify.PasswordReset:
		said = map[string]any{"Code": need("code", t.Code), "Minutes": minutes(t.Minutes), "URL": link(t.URL)}
	default:
		return nil, fault.Invalid.New("template_unknown", "There is no template of that kind.")
	}
	return said, c.Err()
}

// state says what a cluster's status means, after its name.
func state(status string) string {
	switch status {
	case "error":
		return "has an error"
	case "unreachable":
		return "is unreachable"
	case "ready":
		return "is ready again"
	}
	return "is now: " + status
}

const maxField = 500

// line takes from a text what would make lines of its own or turn the direction
// of those around it.
func line(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r) || unicode.In(r, unicode.Zl, unicode.Zp):
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, text.Clip(s, maxField))
	return strings.Join(strings.Fields(s), " ")
}

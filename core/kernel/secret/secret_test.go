package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"text/template"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

const plain = "hunter2-hunter2"

// open and closed hold a secret where fmt may and may not call its methods.
type (
	open   struct{ Password secret.Text }
	closed struct{ password secret.Text }
)

func TestNothingThatFormatsShowsASecret(t *testing.T) {
	t.Parallel()
	s := secret.New(plain)
	values := map[string]any{
		"text": s, "pointer": &s, "field": open{s}, "unexported field": closed{s}, "pointer to unexported": &closed{s},
		"slice": []secret.Text{s}, "map": map[string]secret.Text{"k": s}, "key of a map": map[secret.Text]int{s: 1},
		"in a slice of structs": []closed{{s}}, "array": [1]closed{{s}}, "interface": []any{closed{s}, s},
	}
	for name, v := range values {
		for verb := range strings.FieldsSeq("%v %+v %#v %s %q %x %X %d %t %o %b %c %U %e %T %p %10.20v %+q %#x") {
			if got := fmt.Sprintf(verb, v); shows(got) {
				t.Errorf("%s with %s: %s", name, verb, got)
			}
		}
		for printer, got := range map[string]string{"Sprint": fmt.Sprint(v), "Errorf": fmt.Errorf("broken: %v", v).Error(), "Sprintln": fmt.Sprintln(v)} {
			if shows(got) {
				t.Errorf("%s by %s: %s", name, printer, got)
			}
		}
	}
}

// shows looks for the secret as text, and as hex digits.
func shows(got string) bool {
	return strings.Contains(got, plain) || strings.Contains(strings.ToLower(got), fmt.Sprintf("%x", plain))
}

func TestNoLogShowsASecret(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		log := slog.New(h)
		s := secret.New(plain)
		log.Info("m", "text", s, "pointer", &s, "open", open{s}, "closed", closed{s}, slog.Group("g", "s", s))
		log.With("s", s).Info(fmt.Sprint(s))
	}
	if shows(out.String()) || !strings.Contains(out.String(), "[redacted]") {
		t.Errorf("logged: %s", out.String())
	}
}

func TestNoDocumentShowsASecret(t *testing.T) {
	t.Parallel()
	s := secret.New(plain)
	doc, err := json.Marshal(map[string]any{"a": s, "b": open{s}, "c": &s, "d": closed{s}, "e": map[secret.Text]int{s: 1}})
	if err != nil || shows(string(doc)) {
		t.Errorf("json: %s, %v", doc, err)
	}
	page, err := xml.Marshal(open{s})
	if err != nil || shows(string(page)) {
		t.Errorf("xml: %s, %v", page, err)
	}
}

// No other encoding shows a secret either: it hides it, or refuses.
func TestNoEncodingShowsASecret(t *testing.T) {
	t.Parallel()
	s := secret.New(plain)
	type mixed struct {
		Name     string
		Password secret.Text
	}
	var out bytes.Buffer
	for name, v := range map[string]any{"text": s, "pointer": &s, "field": mixed{"n", s}, "list": []secret.Text{s}, "map": map[string]secret.Text{"k": s}} {
		if err := gob.NewEncoder(&out).Encode(v); err == nil && !strings.Contains(out.String(), "[redacted]") {
			t.Errorf("gob takes a %s as it is", name)
		}
		fmt.Fprint(&out, reflect.ValueOf(v))
		for _, page := range []string{"{{.}}", "{{print .}}", `{{printf "%s" .}}`, "{{html .}}", "{{js .}}"} {
			if err := template.Must(template.New("").Parse(page)).Execute(&out, v); err != nil {
				t.Error(err)
			}
		}
		log.New(&out, "", 0).Printf("%v %+v %#v", v, v, v)
	}
	text, err := s.MarshalText()
	if out.Write(text); err != nil || shows(out.String()) {
		t.Errorf("encoded: %q, %v", out.String(), err)
	}
}

func TestNoErrorShowsASecret(t *testing.T) {
	t.Parallel()
	s := secret.New(plain)
	err := fault.Invalid.New("x", "bad %v", s).Because(fmt.Errorf("tried %q: %w", s, errors.New("no")))
	if shows(err.Error()) || shows(fmt.Sprintf("%+v", err)) {
		t.Errorf("error: %+v", err)
	}
}

func TestOnlyRevealGivesTheSecretBack(t *testing.T) {
	t.Parallel()
	s := secret.New(plain)
	if s.Reveal() != plain || s.IsZero() || !s.Equal(secret.New(plain)) || s != secret.New(plain) {
		t.Error("the secret is not what it was")
	}
	if s.Equal(secret.New("other")) || s == secret.New("other") || s.Equal(secret.Text{}) {
		t.Error("it equals another")
	}
	if z := (secret.Text{}); !z.IsZero() || z.Reveal() != "" || z != secret.New("") || !z.Equal(secret.New("")) || fmt.Sprint(z) != "[redacted]" {
		t.Error("no secret is not the empty one")
	}
}

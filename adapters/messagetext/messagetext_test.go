package messagetext_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/net/html"

	"github.com/kubebyon/kubebyon/adapters/messagetext"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/notify"
)

func composer(t testing.TB) *messagetext.Composer {
	t.Helper()
	c, err := messagetext.New()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func compose(t *testing.T, m notify.Template) notify.Words {
	t.Helper()
	w, err := composer(t).Compose(m)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestWords compares with testdata, which people have read. After a change:
// KUBEBYON_MAKE_GOLDEN=1 go test ./adapters/messagetext, and read them again.
func TestWords(t *testing.T) {
	t.Parallel()
	for _, m := range notify.Samples() {
		w := compose(t, m)
		for file, got := range map[string]string{
			notify.NameOf(m) + ".txt":  "Subject: " + w.Subject + "\n\n" + w.Text,
			notify.NameOf(m) + ".html": w.HTML + "\n",
		} {
			file = filepath.Join("testdata", file)
			if os.Getenv("KUBEBYON_MAKE_GOLDEN") != "" {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || got != string(want) {
				t.Errorf("%s differs (%v):\n%s", file, err, got)
			}
		}
	}
}

// TestPagesFetchNothing: not even a font, and nothing runs.
func TestPagesFetchNothing(t *testing.T) {
	t.Parallel()
	fetching := regexp.MustCompile(`(?i)url\(|@import|<(img|link|script|iframe|object|embed|video|audio|svg|form|base)|\ssrc=|\son[a-z]+=|http-equiv`)
	for _, m := range notify.Samples() {
		if got := fetching.FindString(compose(t, m).HTML); got != "" {
			t.Errorf("%s has %q", notify.NameOf(m), got)
		}
	}
}

func TestWhatMayBeMissing(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 4, 23, 7, 50, 0, 0, time.UTC)
	for _, m := range []notify.Template{
		notify.Welcome{}, notify.ClusterAlert{Cluster: "a", Status: "ready", At: at}, notify.OrderPaid{Order: "o", Plan: "p", Amount: "1.00 EUR", At: at}, notify.PasswordReset{Code: "1", Minutes: 10},
	} {
		w := compose(t, m)
		if all := w.Subject + w.Text + w.HTML; strings.Contains(all, "<no value>") || strings.Contains(all, "href") || strings.Contains(w.Text, "\n\n\n") || strings.Contains(all, " ,") {
			t.Errorf("%s:\n%s\n%s", notify.NameOf(m), w.Text, w.HTML)
		}
	}
	if got := compose(t, notify.ClusterAlert{Cluster: "a", Status: "deleting", At: at}).Subject; got != "The cluster “a” is now: deleting" {
		t.Errorf("a status without words of its own: %q", got)
	}
}

func TestWhatMayNot(t *testing.T) {
	t.Parallel()
	at := time.Now()
	for field, m := range map[string]notify.Template{
		"cluster": notify.ClusterAlert{Cluster: "\n", Status: "error", At: at},
		"status":  notify.ClusterAlert{Cluster: "a", At: at},
		"at":      notify.ClusterAlert{Cluster: "a", Status: "error"},
		"order":   notify.OrderPaid{Plan: "p", Amount: "1", At: at},
		"plan":    notify.OrderPaid{Order: "o", Amount: "1", At: at},
		"amount":  notify.OrderPaid{Order: "o", Plan: "p", At: at},
		"code":    notify.VerificationCode{Minutes: 10},
		"minutes": notify.VerificationCode{Code: "123456"},
		"url":     notify.PasswordReset{Code: "123456", Minutes: 10, URL: "javascript:alert(1)"},
	} {
		_, err := composer(t).Compose(m)
		f, ok := errors.AsType[*fault.Error](err)
		if !ok || f.Kind != fault.Invalid || len(f.Fields) != 1 || f.Fields[0].Location != field || strings.Contains(err.Error(), "123456") {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := composer(t).Compose(nil); !errors.Is(err, fault.Invalid) {
		t.Errorf("nothing: %v", err)
	}
}

// told fills every field that people write.
func told(s string) []notify.Template {
	at := time.Date(2026, 4, 23, 7, 50, 0, 0, time.UTC)
	return []notify.Template{
		notify.Welcome{Name: s},
		notify.ClusterAlert{Cluster: s, Status: "error", Reason: s, At: at},
		notify.OrderPaid{Name: s, Order: s, Plan: s, Amount: "1", At: at},
		notify.VerificationCode{Code: s, Minutes: 10},
		notify.PasswordReset{Code: s, Minutes: 10},
	}
}

func TestNamesAreOnlyText(t *testing.T) {
	t.Parallel()
	for _, s := range hostile {
		for _, m := range told(s) {
			check(t, composer(t), m, s)
		}
	}
}

var hostile = []string{
	"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "</style><b>", "{{.Code}} {{template \"content\" .}}", "a\r\nBcc: eve@example.com", "a\n\nYour account is locked, see http://evil.example.com",
	"\u202egnp.exe", "a\u2028b", "a\x00b\x1b[31m", "javascript:alert(1)", "&lt;b&gt;", "%s %n", strings.Repeat("a", 10_000), "a\xff\xfe", "李雷", "-->", "]]>", "<!--",
}

// check compares with the same message about somebody of no special name: it
// must have the same lines and the same elements.
func check(t *testing.T, c *messagetext.Composer, m notify.Template, s string) {
	t.Helper()
	got, err := c.Compose(m)
	if err != nil {
		t.Errorf("%q: %v", s, err)
		return
	}
	var plain notify.Words
	for _, other := range told("x") {
		if notify.NameOf(other) == notify.NameOf(m) {
			if plain, err = c.Compose(other); err != nil {
				t.Fatal(err)
			}
		}
	}
	if strings.ContainsAny(got.Subject, "\r\n\x00") || !utf8.ValidString(got.Subject+got.Text+got.HTML) || len(got.Subject) > 1000 {
		t.Errorf("%q: subject %q", s, got.Subject)
	}
	if strings.Count(got.Text, "\n") != strings.Count(plain.Text, "\n") || strings.ContainsAny(got.Text, "\r\x00\x1b\u2028\u202e") {
		t.Errorf("%q makes lines in\n%s", s, got.Text)
	}
	if a, b := elements(t, got.HTML), elements(t, plain.HTML); a != b {
		t.Errorf("%q makes elements:\n%s, not\n%s", s, a, b)
	}
}

// elements are the tags and attributes' names of a page.
func elements(t *testing.T, page string) string {
	t.Helper()
	var b strings.Builder
	z := html.NewTokenizer(strings.NewReader(page))
	for z.Next() != html.ErrorToken {
		tok := z.Token()
		if tok.Type == html.TextToken {
			continue
		}
		fmt.Fprintf(&b, "%s", tok.Type)
		if tok.Type != html.CommentToken {
			fmt.Fprintf(&b, " %s", tok.Data)
		}
		for _, a := range tok.Attr {
			fmt.Fprintf(&b, " %s", a.Key)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func FuzzNames(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	c := composer(f)
	f.Fuzz(func(t *testing.T, s string) {
		for _, m := range told("x" + s) {
			check(t, c, m, "x"+s)
		}
	})
}

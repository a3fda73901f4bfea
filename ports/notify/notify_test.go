package notify_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/notify"
)

func TestReasonsAreFitToBeShown(t *testing.T) {
	t.Parallel()
	const password = "p/ss w+rd-hunter2"
	hook := secret.New("https://hooks.example.com/services/T0/B0/XXXX?key=YYYY")
	for said, want := range map[string]string{
		"":                                 "it gave no reason",
		" ... ":                            "it gave no reason",
		"channel_not_found":                "channel_not_found",
		"5.1.1 No such user\r\nhere. ":     "5.1.1 No such user here",
		"a\x00b\u202ec\xffd":               "a b c d",
		"bad password " + password + "!":   "bad password [redacted]!",
		"bad p%2Fss+w%2Brd-hunter2 escape": "bad [redacted] escape",
		"bad " + base64.StdEncoding.EncodeToString([]byte(password)): "bad [redacted]",
		"POST /services/T0/B0/XXXX?key=YYYY":                         "POST [redacted]",
		"no such hook: /services/T0/B0/XXXX":                         "no such hook: [redacted]",
		strings.Repeat("x", 400):                                     strings.Repeat("x", 300),
	} {
		if got := notify.Reason(said, secret.New(password), hook, secret.Text{}); got != want {
			t.Errorf("Reason(%q) = %q, want %q", said, got, want)
		}
	}
}

func FuzzReason(f *testing.F) {
	f.Add("535 wrong: hunter2-hunter2\r\n", "hunter2-hunter2")
	f.Fuzz(func(t *testing.T, said, plain string) {
		got := notify.Reason(said, secret.New(plain))
		if got == "" || len(got) > 300 || !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x00") {
			t.Errorf("Reason(%q) = %q", said, got)
		}
	})
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	wait := notify.Passing("Slack", "busy", time.Minute)
	if !errors.Is(wait, fault.Unavailable) || wait.RetryAfter != time.Minute || wait.Msg != "Slack could not take the message: busy." {
		t.Errorf("%+v", wait)
	}
	if e := notify.Refused("Slack", "x"); !errors.Is(e, fault.Invalid) {
		t.Errorf("%+v", e)
	}
	if e := notify.Locked("Slack", "x"); !errors.Is(e, fault.Denied) {
		t.Errorf("%+v", e)
	}
}

func TestMessagesAreChecked(t *testing.T) {
	t.Parallel()
	good := notify.Message{ID: "ntf_1", Event: "welcome", Subject: "Hello"}
	if err := good.Check(); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for name, spoil := range map[string]func(*notify.Message){
		"id":    func(m *notify.Message) { m.ID = "a\r\nb" },
		"event": func(m *notify.Message) { m.Event = "" },
		"text":  func(m *notify.Message) { m.Subject = " \n" },
	} {
		bad := good
		spoil(&bad)
		f, ok := errors.AsType[*fault.Error](bad.Check())
		if !ok || len(f.Fields) != 1 || f.Fields[0].Location != name {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestLinesAndLengths(t *testing.T) {
	t.Parallel()
	if got := notify.Line(" a\r\nBcc: b\t\x00c "); got != "a Bcc: b c" {
		t.Errorf("%q", got)
	}
	for in, want := range map[string]string{"": "", "abc": "abc", "abcd": "ab…", "äöü": "äöü", "äöüß": "äö…"} {
		if got := notify.Shorten(in, 3); got != want {
			t.Errorf("Shorten(%q) = %q", in, got)
		}
	}
}

func TestTemplatesSurviveTheQueue(t *testing.T) {
	t.Parallel()
	for _, sample := range notify.Samples() {
		name := notify.NameOf(sample)
		data, err := json.Marshal(sample)
		if err != nil {
			t.Fatal(err)
		}
		got, err := notify.Decode(name, data)
		if err != nil || !reflect.DeepEqual(got, sample) {
			t.Errorf("%s came back as %+v, %v", name, got, err)
		}
		if same, err := notify.Sample(name); err != nil || !reflect.DeepEqual(same, sample) {
			t.Errorf("the sample of %s is %+v, %v", name, same, err)
		}
		if _, err := notify.Decode(name, []byte(`{"code":"123456`)); !errors.Is(err, fault.Invalid) || strings.Contains(err.Error(), "123") {
			t.Errorf("%s from rubbish: %v", name, err)
		}
	}
	if _, err := notify.Decode("other", []byte("{}")); !errors.Is(err, fault.Unavailable) {
		t.Errorf("an unknown template: %v", err)
	}
	if _, err := notify.Sample("other"); !errors.Is(err, fault.Invalid) {
		t.Errorf("an unknown sample: %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 4, 23, 7, 50, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "42": 42 * time.Second, " 1 ": time.Second, "0": 0, "-1": 0, "1.5": 0, "99999999999999999999": 0, "2000000000": 24 * time.Hour, "soon": 0,
		"Thu, 23 Apr 2026 07:51:00 GMT": time.Minute, "Thu, 23 Apr 2026 07:49:00 GMT": 0, "Thu, 23 Apr 2099 07:49:00 GMT": 24 * time.Hour,
	} {
		if got := notify.RetryAfter(header, now); got != want {
			t.Errorf("RetryAfter(%q) = %v, want %v", header, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, t := range notify.Samples() {
		data, err := json.Marshal(t)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(notify.NameOf(t), data)
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		got, err := notify.Decode(name, data)
		if err != nil {
			if !errors.Is(err, fault.Invalid) && fault.CodeOf(err) != "template_unknown" {
				t.Errorf("%s from %q: %v", name, data, err)
			}
			return
		}
		if notify.NameOf(got) != name {
			t.Errorf("%s became %s", name, notify.NameOf(got))
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("42")
	f.Add("Thu, 23 Apr 2026 07:51:00 GMT")
	f.Fuzz(func(t *testing.T, header string) {
		if got := notify.RetryAfter(header, time.Time{}); got < 0 || got > 24*time.Hour {
			t.Errorf("RetryAfter(%q) = %v", header, got)
		}
	})
}

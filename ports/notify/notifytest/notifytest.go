// Package notifytest is the contract of package notify, as tests.
package notifytest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/notify"
)

// Behaviour is what a Server does with what it gets from now on.
type Behaviour int

// What a Server can do.
const (
	Accepts Behaviour = iota
	Busy              // turns away for now, saying why
	BusyFor           // the same, and says to come back in 42 seconds
	Fails             // has an error of its own
	Refuses           // takes neither this message nor this target, ever
	Locks             // does not let the sender in
	Hangs             // says nothing more
	Drops             // breaks off after it has read the message, without an answer
	Babbles           // answers with what is no answer
	Away              // is not there
)

// Server stands for the other end. It speaks as the real one does, and where it
// gives a reason it repeats the secrets that it was sent, as some do.
type Server interface {
	Behave(b Behaviour)
	// Received returns what arrived, as its reader would see it.
	Received() []Received
}

// Received is a message at its target. A channel without subjects has them in
// the text.
type Received struct{ ID, To, Subject, Text, HTML string }

// Harness adapts the suite to one adapter.
type Harness struct {
	// New returns a notifier and the server that it speaks to. It cleans up
	// after itself.
	New func(t *testing.T) (notify.Notifier, Server)
	// To is a target that the server knows; empty when the channel has one target.
	To string
	// NotTo are malformed targets.
	NotTo []string
	// Secrets are those that the notifier was made with.
	Secrets []string
	// MaxText is where the channel cuts texts short, in characters; 0 when it does not.
	MaxText int

	WhyNoID      string // why the ID does not arrive
	WhyNoTime    string // why the server cannot say when to come back
	WhyNoRefusal string // why the server cannot refuse a message
	WhyNoBabble  string // why there is no answer that is none
}

// Run checks everything package notify promises.
func Run(t *testing.T, h Harness) {
	for name, promise := range map[string]func(*testing.T, Harness){
		"MessageArrives":          messageArrives,
		"RepeatsCanBeTold":        repeatsCanBeTold,
		"TextIsOnlyText":          textIsOnlyText,
		"LongTextsAreCut":         longTextsAreCut,
		"MalformedIsRefusedFirst": malformedIsRefusedFirst,
		"WhatMayPassIsUnavailable": func(t *testing.T, h Harness) {
			fails(t, h, fault.Unavailable, Busy, BusyFor, Fails, Drops, Babbles, Away)
		},
		"WhatWillNotIsRefused": whatWillNotIsRefused,
		"ServersSayWhen":       serversSayWhen,
		"DeadlineIsObeyed":     deadlineIsObeyed,
		"CanceledSendsNothing": canceledSendsNothing,
		"FailureLeavesNoMark":  failureLeavesNoMark,
		"ManyAtOnce":           manyAtOnce,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			promise(t, h)
		})
	}
}

func message(h Harness) notify.Message {
	return notify.Message{
		ID: "ntf_06f2q0000000000000000000ab", Event: "cluster-alert", At: time.Date(2026, 4, 23, 7, 50, 0, 0, time.UTC), To: h.To,
		Subject: "The cluster production is unreachable", Text: "It has not answered for five minutes.\n\nSee https://console.example.com/clusters\n",
		HTML: "<p>It has not answered for <b>five</b> minutes.</p>", Data: []byte(`{"cluster":"production"}`),
	}
}

func messageArrives(t *testing.T, h Harness) {
	n, s := h.New(t)
	m := message(h)
	deliver(t, n, m)
	got := one(t, s)
	if got.To != h.To || !strings.Contains(got.Subject+"\n"+got.Text, m.Subject) || !strings.Contains(got.Text, strings.TrimSpace(m.Text)) {
		t.Errorf("got %+v", got)
	}
	if got.HTML != "" && strings.TrimSpace(got.HTML) != m.HTML {
		t.Errorf("the HTML became %q", got.HTML)
	}
}

func repeatsCanBeTold(t *testing.T, h Harness) {
	if h.WhyNoID != "" {
		t.Skip(h.WhyNoID)
	}
	n, s := h.New(t)
	first, second := message(h), message(h)
	second.ID = "ntf_another"
	for _, m := range []notify.Message{first, first, second} {
		deliver(t, n, m)
	}
	got := s.Received()
	if len(got) != 3 || got[0].ID == "" || got[0].ID != got[1].ID || got[0].ID == got[2].ID {
		t.Errorf("got %+v", got)
	}
}

// hostile are texts that mean something to one channel or another.
var hostile = []string{
	"<!channel> <@U123> <https://evil.example.com|click here> &lt; &amp;", "*bold* _italic_ ~gone~ `code` @here #general :smile:",
	"<script>alert(1)</script><b>bold</b> </p>", "[click here](https://evil.example.com) || spoiler ||", "{{.Secret}} ${HOME} %s %n",
	"line\n.\nMAIL FROM:<evil@example.com>\n..\nend", "a\n\nTo: evil@example.com\nBcc: evil@example.com\n\nbody", "日本語 ÄÖÜ 👩‍👩‍👧 ﷽", "=3D =?utf-8?q?x?= \"quoted\" \\slashed\\",
	"From here\n>From there", strings.Repeat("a very long line ", 200) + "end",
}

func textIsOnlyText(t *testing.T, h Harness) {
	n, s := h.New(t)
	for i, text := range hostile {
		m := message(h)
		m.HTML, m.Text = "", text
		m.Subject = strings.ReplaceAll(text, "\n", "\r\n")
		if len(m.Subject) > 300 {
			m.Subject = "Long"
		}
		deliver(t, n, m)
		got := s.Received()
		if len(got) != i+1 {
			t.Fatalf("%d messages after %d", len(got), i+1)
		}
		last := got[i]
		if last.To != h.To || !strings.Contains(last.Text, text) || !strings.Contains(last.Subject+"\n"+last.Text, notify.Line(m.Subject)) {
			t.Errorf("%q became %+v", text, last)
		}
	}
}

func longTextsAreCut(t *testing.T, h Harness) {
	n, s := h.New(t)
	m := message(h)
	m.Text = strings.Repeat("ö", 60_000)
	deliver(t, n, m)
	got := strings.TrimSpace(one(t, s).Text)
	count := strings.Count(got, "ö")
	switch {
	case h.MaxText == 0 && count != 60_000:
		t.Errorf("%d characters of 60000 arrived", count)
	case h.MaxText > 0 && (len([]rune(got)) > h.MaxText || count < h.MaxText/2 || !strings.HasSuffix(got, "…")):
		t.Errorf("%d characters arrived, ending in %q; %d fit", len([]rune(got)), got[len(got)-3:], h.MaxText)
	}
}

func malformedIsRefusedFirst(t *testing.T, h Harness) {
	n, s := h.New(t)
	bad := map[string]notify.Message{}
	for _, spoil := range []func(*notify.Message){
		func(m *notify.Message) { m.ID = "" },
		func(m *notify.Message) { m.ID = "a\r\nBcc: evil@example.com" },
		func(m *notify.Message) { m.Event = "a b" },
		func(m *notify.Message) { m.Subject, m.Text = " ", "\n" },
	} {
		m := message(h)
		spoil(&m)
		bad[fmt.Sprintf("%+v", m)] = m
	}
	for _, to := range h.NotTo {
		m := message(h)
		m.To = to
		bad["to "+to] = m
	}
	for name, m := range bad {
		if err := n.Deliver(t.Context(), m); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := s.Received(); len(got) > 0 {
		t.Errorf("the server got %+v", got)
	}
}

func whatWillNotIsRefused(t *testing.T, h Harness) {
	fails(t, h, fault.Denied, Locks)
	if h.WhyNoRefusal != "" {
		t.Skip(h.WhyNoRefusal)
	}
	fails(t, h, fault.Invalid, Refuses)
}

func fails(t *testing.T, h Harness, kind fault.Kind, behaviours ...Behaviour) {
	t.Helper()
	for _, b := range behaviours {
		if b == Babbles && h.WhyNoBabble != "" {
			continue
		}
		n, s := h.New(t)
		s.Behave(b)
		err := n.Deliver(t.Context(), message(h))
		if !errors.Is(err, kind) {
			t.Errorf("behaviour %d: %v, want %s", b, err, kind)
		}
		keepsSecrets(t, h, err)
		f, ok := errors.AsType[*fault.Error](err)
		if !ok || !strings.HasSuffix(f.Msg, ".") || strings.Contains(f.Msg, "\n") {
			t.Errorf("behaviour %d: %+v is no sentence", b, err)
		}
	}
}

// keepsSecrets looks at all that an error can show.
func keepsSecrets(t *testing.T, h Harness, err error) {
	t.Helper()
	var text strings.Builder
	for e := err; e != nil; {
		fmt.Fprintf(&text, "%v %+v %#v\n", e, e, e)
		if f, ok := e.(*fault.Error); ok { //nolint:errorlint // one level at a time
			e = f.Cause
		} else {
			e = errors.Unwrap(e)
		}
	}
	for _, s := range h.Secrets {
		if strings.Contains(text.String(), s) {
			t.Errorf("an error shows a secret: %s", &text)
		}
	}
}

func serversSayWhen(t *testing.T, h Harness) {
	if h.WhyNoTime != "" {
		t.Skip(h.WhyNoTime)
	}
	n, s := h.New(t)
	s.Behave(BusyFor)
	err := n.Deliver(t.Context(), message(h))
	if f, ok := errors.AsType[*fault.Error](err); !ok || f.RetryAfter != 42*time.Second {
		t.Errorf("got %+v, want to be told 42 s", err)
	}
}

func deadlineIsObeyed(t *testing.T, h Harness) {
	n, s := h.New(t)
	s.Behave(Hangs)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := n.Deliver(ctx, message(h))
	if !errors.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
	keepsSecrets(t, h, err)
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

func canceledSendsNothing(t *testing.T, h Harness) {
	n, s := h.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Deliver(ctx, message(h)); err == nil || len(s.Received()) > 0 {
		t.Errorf("%v, and the server got %+v", err, s.Received())
	}
}

func failureLeavesNoMark(t *testing.T, h Harness) {
	n, s := h.New(t)
	for _, b := range []Behaviour{Busy, Locks, Drops} {
		s.Behave(b)
		if err := n.Deliver(t.Context(), message(h)); err == nil {
			t.Errorf("behaviour %d: no error", b)
		}
	}
	s.Behave(Accepts)
	before := len(s.Received()) // a server that breaks off may have kept the message
	deliver(t, n, message(h))
	if got := len(s.Received()) - before; got != 1 {
		t.Errorf("%d messages arrived", got)
	}
}

func manyAtOnce(t *testing.T, h Harness) {
	n, s := h.New(t)
	const many = 20
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			m := message(h)
			m.ID = fmt.Sprintf("ntf_%d", i)
			m.Text = fmt.Sprintf("This is message <%d>.", i)
			if err := n.Deliver(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	seen := map[string]bool{}
	for _, r := range s.Received() {
		for i := range many {
			if text := fmt.Sprintf("This is message <%d>.", i); strings.Contains(r.Text, text) {
				seen[text] = true
			}
		}
	}
	if len(seen) != many || len(s.Received()) != many {
		t.Errorf("%d of %d arrived, in %d messages", len(seen), many, len(s.Received()))
	}
}

func deliver(t *testing.T, n notify.Notifier, m notify.Message) {
	t.Helper()
	if err := n.Deliver(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func one(t *testing.T, s Server) Received {
	t.Helper()
	got := s.Received()
	if len(got) != 1 {
		t.Fatalf("the server got %d messages, want one: %+v", len(got), got)
	}
	return got[0]
}

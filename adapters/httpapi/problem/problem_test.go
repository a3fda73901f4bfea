package problem_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// TestStatuses: every kind of failure has its own.
func TestStatuses(t *testing.T) {
	t.Parallel()
	for kind, status := range map[fault.Kind]int{
		fault.Invalid: 400, fault.Unauthenticated: 401, fault.Denied: 403, fault.NotFound: 404, fault.Conflict: 409, fault.TooLarge: 413,
		fault.Exhausted: 429, fault.Unavailable: 503, fault.Timeout: 504, fault.Internal: 500, "made_up": 500,
	} {
		err := fmt.Errorf("some step: %w", kind.New("some_code", "A sentence."))
		p := problem.From(t.Context(), slog.New(slog.DiscardHandler), err)
		if p.Status != status {
			t.Errorf("%s is %d, want %d", kind, p.Status, status)
		}
		if status != 500 && (p.Code != "some_code" || p.Detail != "A sentence." || p.Type != "urn:kubebyon:problem:some_code" || p.Title == "") {
			t.Errorf("%s: %+v", kind, p)
		}
	}
}

// TestCausesStayInside: what an error says besides its message is for the log.
func TestCausesStayInside(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"NoKind":      errors.New("10.0.0.7"),
		"Cause":       fault.Unavailable.New("store_busy", "Busy.").Because(errors.New("10.0.0.7")),
		"Wrapping":    fmt.Errorf("10.0.0.7: %w", fault.NotFound.New("x", "Not there.")),
		"Internal":    fault.Internal.New("x", "10.0.0.7"),
		"JoinedFirst": errors.Join(fault.NotFound.New("x", "Not there."), errors.New("10.0.0.7")),
	} {
		var log bytes.Buffer
		p := problem.From(problem.WithRequest(t.Context(), "r1"), slog.New(slog.NewTextHandler(&log, nil)), err)
		text, _ := json.Marshal(p)
		if strings.Contains(string(text), "10.0.0.7") || p.Instance != "urn:kubebyon:request:r1" {
			t.Errorf("%s: %s", name, text)
		}
		if (name == "NoKind" || name == "Cause" || name == "Internal") && (!strings.Contains(log.String(), "10.0.0.7") || !strings.Contains(log.String(), "request_id=r1")) {
			t.Errorf("%s: the log lacks the cause: %s", name, &log)
		}
	}
}

func TestRetryAfterIsRoundedUp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind fault.Kind
		wait time.Duration
		want string
	}{
		{fault.Exhausted, 0, "1"},
		{fault.Exhausted, time.Millisecond, "1"},
		{fault.Exhausted, 1001 * time.Millisecond, "2"},
		{fault.Exhausted, 3 * time.Second, "3"},
		{fault.Unavailable, 0, ""},
		{fault.Unavailable, 1500 * time.Millisecond, "2"},
	} {
		e := c.kind.New("x", "x")
		e.RetryAfter = c.wait
		a := httptest.NewRecorder()
		problem.Write(a, problem.From(t.Context(), slog.New(slog.DiscardHandler), e))
		if got := a.Header().Get("Retry-After"); got != c.want {
			t.Errorf("%s after %s: %q, want %q", c.kind, c.wait, got, c.want)
		}
	}
}

// TestAClientThatWentIsNoFault of the server's.
func TestAClientThatWentIsNoFault(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	problem.From(ctx, slog.New(slog.NewTextHandler(&log, nil)), ctx.Err())
	if strings.Contains(log.String(), "ERROR") {
		t.Errorf("log: %s", &log)
	}
}

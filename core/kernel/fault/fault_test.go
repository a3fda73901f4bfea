package fault_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

var kinds = []fault.Kind{
	fault.Invalid, fault.Unauthenticated, fault.Denied, fault.NotFound, fault.Conflict, fault.TooLarge,
	fault.Exhausted, fault.Unavailable, fault.Timeout, fault.Internal,
}

func TestKindAndCodeShowThroughWrapping(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		plain := k.New("some_code", "A sentence about %d things.", 2)
		for name, err := range map[string]error{
			"plain": plain, "wrapped": fmt.Errorf("step: %w", fmt.Errorf("inner: %w", plain)),
			"joined": errors.Join(errors.New("other"), plain), "with a cause": plain.Because(errors.New("root")),
		} {
			if fault.KindOf(err) != k || fault.CodeOf(err) != "some_code" {
				t.Errorf("%s %s: kind %s, code %s", k, name, fault.KindOf(err), fault.CodeOf(err))
			}
			for _, other := range kinds {
				if errors.Is(err, other) != (other == k) {
					t.Errorf("%s %s: Is(%s) = %v", k, name, other, other != k)
				}
			}
		}
	}
}

func TestAnErrorWithoutAKindIsInternal(t *testing.T) {
	t.Parallel()
	err := errors.New("boom")
	if fault.KindOf(err) != fault.Internal || fault.CodeOf(err) != "internal" {
		t.Errorf("kind %s, code %s", fault.KindOf(err), fault.CodeOf(err))
	}
}

func TestACauseIsFoundButItsKindDoesNotPassForTheFaults(t *testing.T) {
	t.Parallel()
	root := fmt.Errorf("read: %w", context.DeadlineExceeded)
	inner := fault.NotFound.New("secret_not_found", "There is no secret.").Because(root)
	outer := fmt.Errorf("open: %w", fault.Unavailable.New("cluster_unreachable", "Not there.").Because(inner))
	if !errors.Is(outer, fault.Unavailable) || errors.Is(outer, fault.NotFound) {
		t.Error("an Unavailable because of a NotFound must be Unavailable, and no NotFound")
	}
	if !errors.Is(outer, context.DeadlineExceeded) {
		t.Error("the root cause is lost")
	}
	if e, ok := errors.AsType[*fault.Error](outer); !ok || e.Code != "cluster_unreachable" {
		t.Errorf("the outermost fault is %v", e)
	}
	if e, ok := errors.AsType[timeout](outer); !ok || !e.Timeout() {
		t.Error("the cause's type is lost")
	}
	if errors.Is(fault.Invalid.New("x", "y"), context.Canceled) {
		t.Error("a fault without a cause has one")
	}
}

type timeout interface {
	error
	Timeout() bool
}

func TestBecauseLeavesTheOriginalAlone(t *testing.T) {
	t.Parallel()
	e := fault.Conflict.New("taken", "Taken.")
	_ = e.Because(errors.New("cause"))
	if e.Cause != nil {
		t.Error("the original has a cause now")
	}
}

func TestCheckNamesEveryFieldAtOnce(t *testing.T) {
	t.Parallel()
	var c fault.Check
	c.That(true, "body.fine", "is fine")
	if err := c.Err(); err != nil {
		t.Fatalf("nothing was wrong: %v", err)
	}
	c.That(false, "body.name", "must be 1 to %d characters", 63)
	c.That(false, "body.host", "must be a host")
	err := c.Err()
	e, ok := errors.AsType[*fault.Error](err)
	if !ok || e.Kind != fault.Invalid || e.Code != fault.ValidationFailed || len(e.Fields) != 2 {
		t.Fatalf("got %+v", err)
	}
	if e.Fields[0] != (fault.Field{Location: "body.name", Message: "must be 1 to 63 characters"}) || !strings.Contains(e.Msg, "body.name") {
		t.Errorf("got %+v", e)
	}
}

package progress

import (
	"strings"
	"testing"
	"time"
)

func TestEachStageIsToldOnceAndFailureIsTheLast(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.FixedZone("", 3600))
	r := To(&out, at.Add(-1500*time.Millisecond), func() time.Time { return at })
	r.Reached(EtcdReady)
	r.Reached(EtcdReady)
	r.Fail("The port 1 is <taken>.")
	r.Fail("Another reason.")
	r.Reached(Ready)
	want := `{"stage":"etcd_ready","at":"2026-01-02T02:04:05.678Z","elapsed_ms":1500}
{"stage":"failed","at":"2026-01-02T02:04:05.678Z","elapsed_ms":1500,"reason":"The port 1 is <taken>."}
`
	if out.String() != want {
		t.Errorf("told\n%swant\n%s", out.String(), want)
	}
}

func TestProcessStartIsBeforeNowAndRecent(t *testing.T) {
	t.Parallel()
	now := time.Now()
	if age := now.Sub(ProcessStart(now)); age < 0 || age > 10*time.Minute {
		t.Errorf("this process is %s old", age)
	}
}

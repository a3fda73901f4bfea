package planeprovision

import (
	"fmt"
	"strings"
	"testing"
)

func TestScrubKeepsSecretsOut(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("QUJD", 30)
	for in, secret := range map[string]string{
		"x -----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----\ny": "abc",
		"-----BEGIN EC PRIVATE KEY-----\nabc":                                    "abc",
		"join with abcdef.0123456789abcdef now":                                  "0123456789abcdef",
		`{"password": "hunter2hunter2"}`:                                         "hunter2",
		"Authorization: Bearer eyJhbGciOiJSUzI1":                                 "eyJhbGciOiJSUzI1",
		"data " + long:                                                           long,
		"x " + strings.Repeat("Q", 50) + "/" + strings.Repeat("R", 20):           strings.Repeat("R", 20),
		"x " + strings.Repeat("Q", 20) + "/" + strings.Repeat("R", 23) + "=":     strings.Repeat("R", 20),
		"abc\nEnd=\n-----END EC PRIVATE KEY-----\ny":                             "End",
		"dial postgres://app:pa55/w0rd@10.0.0.9:5432/x":                          "pa55/w0rd",
	} {
		if got := scrub(in); strings.Contains(got, secret) {
			t.Errorf("%q is left in %q", secret, got)
		}
	}
	const plain = "See /var/lib/kubebyon/data/planes/data/cl_06gztsazyqf7k8evke06ssc7c8/plane.log, port 16443 is taken."
	if got := scrub(plain); got != plain {
		t.Errorf("nothing secret, and it became %q", got)
	}
}

// A key whose beginning has been dropped does not look like one any more.
func TestATailShowsNoHalfOfAKey(t *testing.T) {
	t.Parallel()
	const begin, line, end = "-----BEGIN RSA PRIVATE KEY-----\n", "MHcCAQEEIJ0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQR", "lastpartofthekey=\n-----END RSA PRIVATE KEY-----\n"
	key := begin + line + "\n" + line + "\n" + end
	tried := 0
	for cut := range len(key) {
		last := &tail{}
		noise := strings.Repeat("as ever ", tailSize)[:tailSize-len(key)+cut]
		for _, b := range []string{key, noise} {
			_, _ = last.Write([]byte(b))
		}
		got := last.text()
		tried++
		for _, part := range []string{line[:12], line[26:38], line[52:], "lastpart"} {
			if strings.Contains(got, part) {
				t.Errorf("with %d bytes cut off, %q is left in %q", cut, part, got[:100])
			}
		}
		if !strings.Contains(got, "as ever as") {
			t.Errorf("with %d bytes cut off, nothing is left", cut)
		}
	}
	t.Logf("tried %d cuts", tried)
}

func TestLinesAreBounded(t *testing.T) {
	t.Parallel()
	var got []string
	l := &lines{each: func(b []byte) { got = append(got, string(b)) }}
	for _, piece := range []string{"a", "b\nc\n\n", strings.Repeat("x", 10<<10), strings.Repeat("x", 10<<10), "\nd", "\ne"} {
		if n, err := l.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
	}
	if s := strings.Join(got, " "); s != "ab c d" || string(l.last()) != "d" {
		t.Errorf("lines %q, last %q", s, l.last())
	}
}

func TestTailIsBounded(t *testing.T) {
	t.Parallel()
	last := &tail{}
	for i := range 3000 {
		fmt.Fprintf(last, "line %d\n", i)
	}
	fmt.Fprint(last, strings.Repeat("z ", 4000)+"\nthe end\n\n")
	if len(last.text()) > tailSize || last.lastLine() != "the end" {
		t.Errorf("%d bytes, ending in %q", len(last.text()), last.lastLine())
	}
}

package planeprovision

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzProgress: however a child's output is cut into pieces, the same whole
// lines are heard, each of bounded length; and what is told of its end holds no
// more than that.
func FuzzProgress(f *testing.F) {
	f.Add([]byte("{\"stage\":\"ready\"}\nnot json\n{\"stage\":\"failed\",\"reason\":\"token: abcdefgh\"}\n"), 7)
	f.Add([]byte("{\"stage\":1}\n\n\nnull\n[]\n{\"stage\":\"\\u0000\"}"), 1)
	f.Add(append(bytes.Repeat([]byte("x"), longest+1), '\n'), 1000)
	f.Fuzz(func(t *testing.T, output []byte, piece int) {
		if piece < 1 || piece > 1<<16 {
			t.Skip()
		}
		inPieces, atOnce := heard(t, output, piece), heard(t, output, len(output)+1)
		if strings.Join(inPieces, "\n") != strings.Join(atOnce, "\n") {
			t.Errorf("in pieces %.300q, at once %.300q", inPieces, atOnce)
		}
		c := &child{reports: make(chan report, 16), last: &tail{}}
		c.progress = &lines{each: c.hear}
		_, _ = c.progress.Write(output)
		_, _ = c.last.Write(output)
		for len(c.reports) > 0 {
			if r := <-c.reports; r.Stage == "" || r.Stage == "failed" {
				t.Errorf("%+v was handed on", r)
			}
		}
		if text := c.last.text(); !utf8.ValidString(text) || len(text) > 3*tailSize+100 {
			t.Errorf("the end is %d bytes: %.300q", len(text), text)
		}
		if err := c.why(); !utf8.ValidString(err.Error()) || len(err.Error()) > 4*longest {
			t.Errorf("%d bytes say why: %.300q", len(err.Error()), err)
		}
	})
}

func heard(t *testing.T, output []byte, piece int) (out []string) {
	t.Helper()
	l := &lines{each: func(b []byte) {
		if len(b) > longest || bytes.ContainsRune(b, '\n') || len(b) == 0 {
			t.Errorf("heard a line of %d bytes", len(b))
		}
		out = append(out, string(b))
	}}
	for begin := 0; begin < len(output); begin += piece {
		part := output[begin:min(len(output), begin+piece)]
		if n, err := l.Write(part); n != len(part) || err != nil {
			t.Fatalf("took %d of %d: %v", n, len(part), err)
		}
	}
	return out
}

// FuzzScrub: what was scrubbed is scrubbed, and nothing that looks like a
// secret is left.
func FuzzScrub(f *testing.F) {
	for _, s := range []string{"", "-----BEGIN X-----\nabc", "abcdef.0123456789abcdef", "password: hunter2hunter2", "Bearer abcdefghijkl", strings.Repeat("A", 64), `"token":"x"`, "secret=\xff\xff\xff\xff\xff\xff\xff\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		out := scrub(text)
		if strings.Contains(out, "-----BEGIN") {
			t.Errorf("%q became %q", text, out)
		}
		if found := secrets.FindString(out); found != "" && !strings.Contains(found, "[redacted]") {
			t.Errorf("%q became %q, which still holds %q", text, out, found)
		}
	})
}

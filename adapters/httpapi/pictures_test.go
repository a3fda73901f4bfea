package httpapi_test

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// form is a body with a file in it.
type form string

const (
	formType = "multipart/form-data; boundary=7d1f"
	formEnd  = "\r\n--7d1f--\r\n"
)

func formOf(file string) form {
	return form("--7d1f\r\nContent-Disposition: form-data; name=\"file\"; filename=\"me.png\"\r\nContent-Type: image/png\r\n\r\n" + file + formEnd)
}

// redSquare is a small picture.
var redSquare = square(40, 20)

func square(w, h int) string {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for x := range w {
		for y := range h {
			m.Set(x, y, color.NRGBA{R: 200, A: 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		panic(err)
	}
	return b.String()
}

func TestAPictureIsKeptSmallAndShownToWhoeverHasItsAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.as(userEmail)
	at := ada.do("POST", "/api/console/me/avatar", formOf(square(600, 300))).want(200, "").text("avatar_url")
	if got := ada.do("GET", "/api/console/me", nil).text("user", "avatar_url"); got != at || !strings.HasPrefix(at, "/avatars/usr_") {
		t.Errorf("served at %q, and the account says %q", at, got)
	}
	r := w.anybody().do("GET", at, nil).want(200, "")
	for name, want := range map[string]string{
		"Content-Type": "image/png", "Cache-Control": "public, max-age=31536000, immutable",
		"Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'", "X-Content-Type-Options": "nosniff",
	} {
		if got := r.Header().Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	if m, err := png.Decode(r.Body); err != nil || m.Bounds() != image.Rect(0, 0, 256, 128) {
		t.Errorf("%v, %v", m.Bounds(), err)
	}
	next := ada.do("POST", "/api/console/me/avatar", formOf(redSquare)).want(200, "").text("avatar_url")
	w.anybody().do("GET", at, nil).want(404, "not_found")
	w.anybody().do("HEAD", next, nil).want(200, "")
	for _, other := range []string{strings.ToUpper(next), strings.Replace(next, ".png", "", 1), next + "/", strings.Replace(next, "usr_", "key_", 1), "/avatars/x/y.png", "/avatars/"} {
		if r := w.anybody().do("GET", other, nil); r.Code != 404 {
			t.Errorf("%s: %d", other, r.Code)
		}
	}
	w.anybody().do("DELETE", next, nil).want(405, "method_not_allowed")
	w.store.setError(fault.Unavailable.New("store_busy", "Busy."))
	w.anybody().do("GET", next, nil).want(503, "store_busy")
	w.store.setError(nil)
	ada.do("DELETE", "/api/console/me", map[string]any{"password": password}).want(204, "")
	w.anybody().do("GET", next, nil).want(404, "not_found")
}

func TestWhatIsNoFormWithAPictureIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.as(userEmail)
	const at = "/api/console/me/avatar"
	full := 2 << 20
	for name, c := range map[string]struct {
		body     any
		status   int
		code, is string
	}{
		"no body":       {nil, 415, "unsupported_media_type", ""},
		"JSON":          {map[string]any{"file": "x"}, 415, "unsupported_media_type", ""},
		"an empty form": {form("--7d1f--\r\n"), 400, "validation_failed", "body.file"},
		"no form":       {form("x"), 400, "validation_failed", "body.file"},
		"two files":     {form(strings.TrimSuffix(string(formOf(redSquare)), "--\r\n") + "\r\n" + strings.TrimPrefix(string(formOf(redSquare)), "--7d1f\r\n")), 400, "validation_failed", "body"},
		"another field": {form(strings.Replace(string(formOf(redSquare)), "file", "elif", 1)), 400, "validation_failed", "body"},
		"text":          {formOf("hello"), 400, "validation_failed", "body.file"},
		"SVG":           {formOf(`<svg xmlns="http://www.w3.org/2000/svg"/>`), 400, "validation_failed", "body.file"},
		"too wide":      {formOf(square(4097, 1)), 400, "validation_failed", "body.file"},
		"the most":      {formOf(redSquare + strings.Repeat("x", full-len(redSquare))), 200, "", ""},
		"one more":      {formOf(redSquare + strings.Repeat("x", full-len(redSquare)+1)), 413, "body_too_large", ""},
		"far more":      {formOf(redSquare + strings.Repeat("x", full+32<<10)), 413, "body_too_large", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := ada.do("POST", at, c.body).want(c.status, c.code)
			if c.is == "" {
				return
			}
			first, _ := r.list("errors")[0].(map[string]any)
			if first["location"] != c.is {
				t.Errorf("the fault is at %v", first)
			}
		})
	}
}

// TestPicturesArePaced: each costs much to look at.
func TestPicturesArePaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *httpapi.Config) { c.AuthLimit = httpapi.Limit{Window: time.Hour, Burst: 2} })
	ada := w.as(userEmail)
	for range 2 {
		ada.do("POST", "/api/console/me/avatar", formOf(redSquare)).want(200, "")
	}
	ada.do("POST", "/api/console/me/avatar", formOf(redSquare)).want(429, "rate_limited")
	w.as(otherEmail).do("POST", "/api/console/me/avatar", formOf(redSquare)).want(200, "")
}

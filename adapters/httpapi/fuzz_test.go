package httpapi_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/kernel/id"
)

var oddBodies = []string{
	"", "null", "{}", "[]", `""`, "0", "true", "{", "}", "\x00", "\xff\xfe", "{}{}", "[[[[", `{"name":{}}`, `{"name":[]}`, `{"name":1e999}`, `{"name":"\u0000"}`,
	`{"name":"\ud800"}`, `{"name":"a","name":"b"}`, `{"NAME":"a"}`, `{"name":"a","Name":1}`, `{"":1}`, `{"a.b[0]":1}`, `{"$schema":"x"}`, `{"__proto__":{}}`,
	`{"name":"a","workload_cpu_limit_milli_cores":9223372036854775808}`, `{"name":"a","workload_cpu_limit_milli_cores":-0}`, `{"name":"a","workload_cpu_limit_milli_cores":1.0}`,
	`{"password":null}`, `{"password":{}}`, `{"ttl_seconds":1e3}`, `{"ttl_seconds":99999999999999999999}`, `{"timeout_seconds":1e3}`, `{"email":"a@b","password":"x","captcha_token":null}`,
	strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000), "\ufeff{}", `{"name":"` + strings.Repeat("a", 100_000) + `"}`,
}

// TestOddBodiesAreTheClientsFault: whatever is sent, the answer is documented
// and never a 5xx.
func TestOddBodiesAreTheClientsFault(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t)
	n := w.node(i, "worker-1")
	for _, body := range oddBodies {
		for _, target := range []string{
			"POST /api/auth/login", "PUT /api/console/me", "POST /api/console/clusters", "PUT /api/console/clusters/" + i, "POST /api/console/clusters/" + i + "/join-token",
			"POST /api/console/clusters/" + i + "/kubeconfig", "POST /api/console/nodes/" + n + "/drain", "POST /api/auth/logout", "POST /api/console/nodes/" + n + "/cordon",
		} {
			method, path, _ := strings.Cut(target, " ")
			c := ada
			if strings.HasPrefix(path, "/api/auth/") {
				c = w.anybody()
			}
			if r := c.do(method, path, body); r.Code >= 500 {
				t.Errorf("%s with %.100q: %d %s", target, body, r.Code, r.Body)
			}
		}
	}
}

// FuzzRequest: no path, query or body makes the server fail.
func FuzzRequest(f *testing.F) {
	for _, b := range oddBodies {
		f.Add("POST", "/api/console/clusters?limit=1", b)
	}
	for _, p := range []string{"/join?token=%zz", "/api/console/nodes?cursor=%00&limit=-", "/api/console/nodes/%2f/drain", "/api/join/clusters/%/script", "/docs/assets/..%2f", "/api/console/activities?category=%ff"} {
		f.Add("GET", p, "")
	}
	w := newWorld(f)
	cookie := w.as(userEmail).header.Get("Cookie")
	f.Fuzz(func(t *testing.T, method, target, body string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+host+"/", strings.NewReader(body))
		if err != nil {
			t.Skip()
		}
		if r.URL, err = r.URL.Parse(target); err != nil || r.URL.Host != host {
			t.Skip()
		}
		r.RemoteAddr = peerAddr
		r.Header.Set("Cookie", cookie)
		if a := w.serve(r); a.Code >= 500 {
			t.Errorf("%d %s\n%s", a.Code, a.Body, w.log)
		}
	})
}

// FuzzCursor: a cursor that is taken is the one that was given out.
func FuzzCursor(f *testing.F) {
	for _, s := range []string{"", "x", "Y2xf", base64.RawURLEncoding.EncodeToString([]byte("cl_06evjm9m80zy3f60rzw2n56twg")), "cl_06evjm9m80zy3f60rzw2n56twg", "Y2xfMDZldmptOW04MHp5M2Y2MHJ6dzJuNTZ0d2d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := operation.Query[id.ClusterKind](operation.Paged{Cursor: text})
		if err != nil || text == "" {
			return
		}
		if again := operation.Cursor(q.Before); again == nil || *again != text {
			t.Errorf("%q was taken for %q", text, q.Before)
		}
	})
}

// FuzzCredentials: no cookie or authorization header that was not given out
// lets anybody in or makes the server fail.
func FuzzCredentials(f *testing.F) {
	f.Add("kubebyon_session=x", "")
	f.Add(`kubebyon_session="kbs_"; kubebyon_session=`, "Bearer ")
	f.Add("", "Bearer kbk_\x00")
	f.Add("=;;=", "bearer  kbk_x")
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, cookie, authorization string) {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/api/auth/me", nil)
		r.RemoteAddr = peerAddr
		r.Header["Cookie"] = []string{cookie}
		if authorization != "" {
			r.Header["Authorization"] = []string{authorization}
		}
		if a := w.serve(r); a.Code != 401 {
			t.Errorf("%d %s", a.Code, a.Body)
		}
	})
}

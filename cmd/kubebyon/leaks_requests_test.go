package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"strings"
	"time"
)

// send is call with headers.
func (r *leakRun) send(c *client, method, at string, body []byte, headers ...string) (int, object, error) {
	ctx := r.t.Context()
	if strings.HasPrefix(at, "?") {
		ctx, at = context.WithValue(ctx, probeKey{}, true), at[1:]
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+at, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	out := object{}
	if json.Unmarshal(text, &out) != nil {
		out["text"] = string(text)
	}
	return resp.StatusCode, out, err
}

// repeat sends a request twice under one key and sees that the answers are one.
func (r *leakRun) repeat(at string, body object) object {
	r.t.Helper()
	in, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	var first object
	for range 2 {
		status, out, err := r.send(r.admin, "POST", at, in, "Idempotency-Key", "once-"+path.Base(at))
		if err != nil || status != http.StatusCreated {
			r.t.Fatalf("POST %s: %d %v %v", at, status, out, err)
		}
		if first != nil && fmt.Sprint(first) != fmt.Sprint(out) {
			r.t.Fatalf("POST %s: a repeated request got another answer", at)
		}
		first = out
	}
	return first
}

// refusals sends every kind of rubbish that holds a secret where it does not belong.
func (r *leakRun) refusals(id, token, key string) {
	r.t.Helper()
	c, n := r.client(), 0
	secrets := []string{r.adminPassword(), r.session, token, key, "kbt_" + text(20), "kbs_" + text(43), "kbk_" + text(30)}
	for i, s := range secrets {
		if i >= 4 {
			r.ledger.keep(madeUpCredential, s)
		}
		quoted, err := json.Marshal(s)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, body := range []string{
			`{` + string(quoted) + `:1}`, `{"name":{` + string(quoted) + `:[]}}`, `{"name":` + string(quoted), string(quoted), `[` + string(quoted) + `]`,
			`{"name":"x\u0000` + s + `"}`, `{"name":"x","kubernetes_version":` + string(quoted) + `}`, `{"name":"x","vcluster_name":"` + strings.ToUpper(s) + `"}`,
			`{"name":"x","control_plane_host":"_` + s + `"}`, `{"name":"x","namespace":` + string(quoted) + `}`, `{"ttl_seconds":` + string(quoted) + `}`,
		} {
			for _, at := range []string{"/api/auth/login", "/api/console/clusters", "/api/console/clusters/" + id + "/join-token", "/api/console/me"} {
				method := "POST"
				if at == "/api/console/me" {
					method = "PUT"
				}
				n += r.refused(r.admin, method, at, []byte(body), "Accept", s)
			}
		}
		for _, at := range []string{
			"/" + s, "/api/console/clusters/" + s, "/api/console/nodes/" + s + "/cordon", "/join/" + s, "/docs/" + s, "/api/join/clusters/" + s + "/script?token=" + token[:30],
			"/api/console/clusters?cursor=" + s, "/api/console/activities?cursor=" + s, "/api/console/clusters/" + id + "?token=" + s, "/api/console/nodes?cluster_id=" + s, "/api/console/node-events?type=" + s,
		} {
			n += r.refused(r.admin, "GET", at, nil)
			n += r.refused(c, "DELETE", at, nil)
		}
		for _, header := range []string{"Authorization", "Cookie", "Origin", "Referer", "Host", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "If-Match", "Content-Type", "Accept", "Idempotency-Key", "Access-Control-Request-Method"} {
			for _, value := range []string{s, "Bearer x" + s, "kubebyon_session=" + s + "x", "http://" + s, "for=" + s} {
				n += r.refused(c, "POST", "/api/console/clusters", []byte("{}"), header, value)
			}
		}
		if i > 0 { // a trusted proxy's name for a request cannot be told from a password
			n += r.refused(c, "GET", "/api/console/me", nil, "X-Request-Id", s)
		}
		r.rawRequests(s)
	}
	if status, _, err := r.send(r.admin, "POST", "?/api/console/clusters", []byte("{}"), "Origin", "http://evil.example", "Authorization", ""); err != nil || status < 400 {
		r.t.Errorf("a foreign origin: %d %v", status, err)
	}
	r.t.Logf("%s: sent %d requests with secrets where none belong", r.name, n)
}

func (r *leakRun) refused(c *client, method, at string, body []byte, headers ...string) int {
	r.t.Helper()
	status, _, err := r.send(c, method, "?"+strings.ReplaceAll(at, " ", "%20"), body, headers...)
	if status >= 500 {
		r.t.Errorf("%s with rubbish: %d", method, status)
	}
	_ = err // the client itself refuses some
	return 1
}

// rawRequests are broken where no client breaks them.
func (r *leakRun) rawRequests(s string) {
	r.t.Helper()
	for _, request := range []string{
		"GET /join?token=" + s + " HTTP/9.9\r\n\r\n", "GET /join?token=" + s + "\r\n\r\n", s + " / HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\n" + s + "\r\n\r\n", "GET / HTTP/1.1\r\nHost: " + s + "/\x01\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nA: \x00" + s + "\r\n\r\n",
		"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: " + s + "\r\n\r\n", "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + s + "\r\n\r\n",
		"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"password\":\"" + s, "GET %zz" + s + " HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		conn, err := new(net.Dialer).DialContext(r.t.Context(), "tcp", r.addr)
		if err != nil {
			r.t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = io.WriteString(conn, request)
		if err == nil {
			err = conn.(*net.TCPConn).CloseWrite()
		}
		answer, _ := io.ReadAll(conn)
		_ = conn.Close()
		if err != nil {
			r.t.Logf("%s: a raw request broke off: %v", r.name, err)
		}
		r.ledger.record("answer to a broken request", r.name, answer)
	}
}

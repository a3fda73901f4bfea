package httpapi_test

import (
	"strings"
	"testing"
)

// TestThinPath signs in, makes a cluster, and gets the script to join it.
func TestThinPath(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.as(adminEmail)
	admin.do("GET", "/api/auth/me", nil).want(200, "")
	cluster := admin.cluster("demo", true)
	r := admin.do("POST", "/api/console/clusters/"+cluster+"/join-token", nil).want(201, "")
	value := r.text("token", "value")
	if want := `curl -sfL "http://` + host + `/join?token=` + value + `" | sh -`; r.text("token", "join_command") != want {
		t.Errorf("join command %q, want %q", r.text("token", "join_command"), want)
	}
	script := w.anybody().do("GET", "/join?token="+value, nil).want(200, "")
	if !strings.HasPrefix(script.Body.String(), "#!/bin/sh") || script.Header().Get("X-KubeBYON-Join-Error") != "" {
		t.Errorf("got %v %s", script.Header(), script.Body)
	}
	refused := w.anybody().do("GET", "/join?token=kbt_nonsense", nil).want(200, "")
	if refused.Header().Get("X-KubeBYON-Join-Error") != "token_unknown" || !strings.Contains(refused.Body.String(), "exit 1") {
		t.Errorf("got %v %s", refused.Header(), refused.Body)
	}
	admin.do("POST", "/api/auth/logout", nil).want(204, "")
	admin.do("GET", "/api/auth/me", nil).want(401, "unauthenticated")
}

package app_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const settingsPath = "/api/console/admin/system-settings"

// TestSettingsAreInUseOnAllServersInTwoSeconds, each server having gone by others
// before; and clients are made anew from them.
func TestSettingsAreInUseOnAllServersInTwoSeconds(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.start("a"), s.start("b")
	p := s.person(adminAddress)
	for _, at := range s.servers { // both have settings before they change
		if got := p.must(at, "GET", "/api/auth/providers", nil, http.StatusOK); got["registration_enabled"] != false || len(objects(got["providers"])) != 0 {
			t.Fatalf("at first: %v", got)
		}
	}
	provider := object{
		"name": "github", "display_name": "GitHub", "type": "github", "client_id": "first", "client_secret": "secret", "client_secret_changed": true, "enabled": true,
	}
	p.must(a, "PUT", settingsPath, object{"settings": object{
		"public_base_url": "http://kubebyon.example.com", "join_base_url": "http://join.example.com", "registration_enabled": true,
		"oauth": object{"providers": []object{provider}}, "hcaptcha": object{"enabled": true, "site_key": "site", "secret_key": "secret", "secret_key_changed": true},
	}}, http.StatusOK)
	began := time.Now()
	seen := func(at *server) bool {
		got := p.must(at, "GET", "/api/auth/providers", nil, http.StatusOK)
		return got["registration_enabled"] == true && len(objects(got["providers"])) == 1 && got["hcaptcha"].(object)["site_key"] == "site"
	}
	if !seen(a) {
		t.Error("the server that was told does not go by it at once")
	}
	eventually(t, time.Minute, "the other server goes by the settings", func() bool { return seen(b) })
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the other server took %v", took)
	}
	for _, at := range s.servers {
		to := signInAt(t, at, "github")
		if to.Query().Get("client_id") != "first" || !strings.HasPrefix(to.Query().Get("redirect_uri"), "http://kubebyon.example.com/") {
			t.Errorf("%s sends people to %s", at.name, to)
		}
	}

	p.must(b, "PUT", settingsPath, object{"settings": object{"oauth": object{"providers": []object{{"name": "github", "client_id": "second"}}}}}, http.StatusOK)
	began = time.Now()
	for _, at := range s.servers {
		eventually(t, time.Minute, "a client is made anew", func() bool { return signInAt(t, at, "github").Query().Get("client_id") == "second" })
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("an old client was in use for %v", took)
	}

	p.must(a, "PUT", settingsPath, object{"settings": object{"oauth": object{"providers": []object{{"name": "github", "enabled": false}}}}}, http.StatusOK)
	eventually(t, 2*time.Second, "a provider that is off is not offered", func() bool {
		return len(objects(p.must(b, "GET", "/api/auth/providers", nil, http.StatusOK)["providers"])) == 0
	})
}

// signInAt begins a sign-in and returns where the browser is sent.
func signInAt(t *testing.T, at *server, provider string) *url.URL {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at.http.URL+"/api/auth/sso/"+provider+"/login", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := at.http.Client().Transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		t.Fatalf("%s answers %d: %v", at.name, resp.StatusCode, err)
	}
	return to
}

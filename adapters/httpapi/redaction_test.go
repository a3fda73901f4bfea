package httpapi_test

import (
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/adapters/httpapi/session"
)

// TestNoSecretIsLogged runs through every call, well and ill, and looks through
// all that was logged and all that is on record.
func TestNoSecretIsLogged(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t, func(c *httpapi.Config) { c.TrustedProxyCIDRs = prefixes("192.0.2.0/24") })
	admin, key := w.as(adminEmail), w.withKey(otherEmail, nil)
	const typo = "hunter2-hunter2"
	w.anybody().do("POST", "/api/auth/login", map[string]any{"email": userEmail, "password": typo})
	w.anybody().do("POST", "/api/auth/login", map[string]any{"email": typo, "password": password})
	w.anybody().do("POST", "/api/auth/login", `{"email":"`+typo+`","password":"`+password)
	_, value := ada.token(i)
	var seen []string
	for _, r := range []answer{
		w.anybody().do("GET", "/join?token="+value, nil), w.anybody().do("HEAD", "/join?token="+value, nil),
		w.anybody().do("GET", "/api/join/clusters/"+i+"/script?token="+value, nil), w.anybody().do("GET", "/api/join/clusters/x/script?token="+value, nil),
		w.anybody().do("GET", "/join/"+value, nil), w.anybody().do("PUT", "/join?token="+value, nil), w.anybody().do("GET", "/"+value+"?"+value, nil),
		ada.do("POST", "/api/console/clusters/"+i+"/kubeconfig", map[string]any{"password": typo}),
		ada.do("POST", "/api/console/clusters/"+i+"/kubeconfig", map[string]any{"password": password}),
		ada.do("POST", "/api/console/clusters/"+i+"/kubeconfig?password="+typo, map[string]any{"passwort": typo}),
		key.do("GET", "/api/auth/me", nil), w.anybody().with("Authorization", "Basic "+typo).do("GET", "/api/auth/me", nil),
		w.anybody().with("X-Request-Id", "x "+typo, "Origin", "https://"+typo, "Cookie", session.CookieName+"="+typo).do("PUT", "/api/console/me", map[string]any{"name": typo}),
		admin.do("GET", "/api/console/admin/activities?limit=500", nil), admin.do("GET", "/api/console/clusters/"+i+"/operations", nil),
	} {
		if r.what != "POST /api/console/clusters/"+i+"/kubeconfig" && !strings.Contains(r.what, "script?") && !strings.HasPrefix(r.what, "GET /join?") {
			seen = append(seen, r.Body.String())
		}
	}
	w.tenants.Cluster(w.clusterID(i)).SetReachable(false)
	w.anybody().do("GET", "/join?token="+value, nil).want(200, "")
	boot := w.tenants.Cluster(w.clusterID(i)).Tokens()[0]
	everything := w.log.String() + strings.Join(seen, "\n")
	for what, secret := range map[string]string{
		"password": password, "mistyped password": typo, "session": strings.TrimPrefix(ada.header.Get("Cookie"), session.CookieName+"="),
		"API key": keyValue, "join token": value, "join token's body": value[10:], "bootstrap secret": boot.Secret.Reveal(), "kubeconfig": "kubeconfig-secret-material",
		"password hash": "hash of ",
	} {
		if n := strings.Index(everything, secret); n >= 0 {
			t.Errorf("the %s came out: …%s…", what, everything[max(0, n-200):min(len(everything), n+100)])
		}
	}
	if !strings.Contains(w.log.String(), `"route":"/api/join/clusters/{clusterID}/script"`) {
		t.Error("the access log lacks a route")
	}
}

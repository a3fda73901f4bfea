package main_test

import "net/http"

// systemSettings sets every secret that there is among the settings, with what
// JSON and shells have to quote in those that may have it, and sends each where
// it is refused.
func (r *leakRun) systemSettings() {
	r.t.Helper()
	made := func(prefix string) string {
		s := prefix + text(24)
		r.ledger.keep(settingSecret, s)
		return s
	}
	set := func(settings object, status int) {
		r.admin.must("PUT", "/api/console/admin/system-settings", object{"settings": settings}, status)
	}
	whole := func(changed bool) object {
		return object{
			"managed_workload_ingress_dns": object{"cloudflare": object{"api_token": made("dns-"), "api_token_changed": changed}},
			"oauth": object{"providers": []object{{
				"name": "company", "display_name": "The company", "type": "oidc", "issuer": "https://id.example.com", "client_id": "kubebyon",
				"client_secret": made("sso-"), "client_secret_changed": changed, "enabled": true,
			}}},
			"hcaptcha": object{"site_key": "site", "secret_key": made("captcha-"), "secret_key_changed": changed},
			"stripe": object{
				"secret_key": made("sk_live_"), "secret_key_changed": changed, "webhook_secret": made("whsec_"), "webhook_secret_changed": changed,
			},
			"smtp": object{"host": "mail.example.com", "username": "kubebyon", "password": made(`mail "\ä<&>/%+ `), "password_changed": changed},
		}
	}
	set(whole(true), http.StatusOK)
	set(whole(true), http.StatusOK) // others in their place
	set(whole(false), http.StatusBadRequest)
	for name, section := range whole(true) {
		set(object{name: object{made("field-"): section}}, http.StatusBadRequest)
		set(object{name: []any{made("list-")}}, http.StatusBadRequest)
	}
	set(object{"smtp": object{"password": object{made("inside-"): 1}}}, http.StatusBadRequest)
	set(object{"smtp": object{"host": made("host "), "from": made("from "), "tls": made("tls "), "username": made("user\n")}}, http.StatusBadRequest)
	set(object{"stripe": object{"secret_key": made("sk_live_") + " ", "secret_key_changed": true}}, http.StatusBadRequest)
	set(object{"public_base_url": "https://" + made("a:") + "@example.com", "join_base_url": "http://example.com/" + made("path-")}, http.StatusBadRequest)
}

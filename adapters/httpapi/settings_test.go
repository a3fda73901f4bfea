package httpapi_test

import (
	"encoding/json"
	"strings"
	"testing"
)

const settingsPath = "/api/console/admin/system-settings"

// wholeSettings set all that there is.
const wholeSettings = `{"settings":{
	"public_base_url":"https://kubebyon.example.com","join_base_url":"http://203.0.113.7:8080","registration_enabled":true,
	"managed_workload_ingress_base_domain":"apps.example.com",
	"managed_workload_ingress_dns":{"enabled":true,"active_provider":"cloudflare","record_target_hostname":"ingress.example.com",
		"cloudflare":{"zone_id":"023e105f4ecef8ad9ca31a8372d0c353","api_token":"hunter2-dns","api_token_changed":true}},
	"oauth":{"providers":[{"name":"company","display_name":"The company","type":"oidc","issuer":"https://id.example.com","client_id":"kubebyon",
		"client_secret":"hunter2-sso","client_secret_changed":true,"enabled":true}]},
	"hcaptcha":{"enabled":true,"site_key":"site","secret_key":"hunter2-captcha","secret_key_changed":true},
	"stripe":{"enabled":true,"secret_key":"hunter2-stripe","secret_key_changed":true,"webhook_secret":"hunter2-webhook","webhook_secret_changed":true},
	"smtp":{"enabled":true,"host":"mail.example.com","port":465,"username":"kubebyon","password":"hunter2-mail","password_changed":true,
		"from":"KubeBYON <noreply@example.com>","tls":"tls"}}}`

// shownSettings are what is read then, but for when.
const shownSettings = `{"settings":{
	"public_base_url":"https://kubebyon.example.com","join_base_url":"http://203.0.113.7:8080","registration_enabled":true,
	"managed_workload_ingress_base_domain":"apps.example.com",
	"managed_workload_ingress_dns":{"enabled":true,"active_provider":"cloudflare","record_target_hostname":"ingress.example.com",
		"cloudflare":{"zone_id":"023e105f4ecef8ad9ca31a8372d0c353","api_token_configured":true}},
	"oauth":{"providers":[{"name":"company","display_name":"The company","type":"oidc","issuer":"https://id.example.com","client_id":"kubebyon",
		"client_secret_configured":true,"enabled":true}]},
	"hcaptcha":{"enabled":true,"site_key":"site","secret_key_configured":true},
	"stripe":{"enabled":true,"secret_key_configured":true,"webhook_secret_configured":true},
	"smtp":{"enabled":true,"host":"mail.example.com","port":465,"username":"kubebyon","password_configured":true,
		"from":"KubeBYON <noreply@example.com>","tls":"tls"},
	"unreadable_sections":[],"updated_at":"2026-04-23T07:50:00.000Z"}}`

// sameJSON compares whatever the order of names and the spaces.
func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal([]byte(got), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	one, _ := json.Marshal(a)
	other, _ := json.Marshal(b)
	if string(one) != string(other) {
		t.Errorf("got\n%s\nwant\n%s", one, other)
	}
}

// TestSystemSettings: they are set, shown without secrets, and what was read may
// be sent back, which changes nothing.
func TestSystemSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.as(adminEmail)
	fresh := admin.do("GET", settingsPath, nil).want(200, "").Body.String()
	sameJSON(t, fresh, `{"settings":{"public_base_url":null,"join_base_url":null,"registration_enabled":false,"managed_workload_ingress_base_domain":null,
		"managed_workload_ingress_dns":{"enabled":false,"active_provider":null,"record_target_hostname":null,"cloudflare":{"zone_id":null,"api_token_configured":false}},
		"oauth":{"providers":[]},"hcaptcha":{"enabled":false,"site_key":null,"secret_key_configured":false},
		"stripe":{"enabled":false,"secret_key_configured":false,"webhook_secret_configured":false},
		"smtp":{"enabled":false,"host":null,"port":587,"username":null,"password_configured":false,"from":null,"tls":"starttls"},
		"unreadable_sections":[],"updated_at":null}}`)
	sameJSON(t, admin.do("PUT", settingsPath, fresh).want(200, "").Body.String(), fresh)

	sameJSON(t, admin.do("PUT", settingsPath, wholeSettings).want(200, "").Body.String(), shownSettings)
	w.clock.advance(1e9)
	read := admin.do("GET", settingsPath, nil).want(200, "").Body.String()
	sameJSON(t, read, shownSettings)
	sameJSON(t, admin.do("PUT", settingsPath, read).want(200, "").Body.String(), read)

	one := admin.do("PUT", settingsPath, `{"settings":{"smtp":{"username":"other"},"public_base_url":""}}`).want(200, "")
	if one.at("settings", "smtp", "username") != "other" || one.at("settings", "public_base_url") != nil || one.at("settings", "smtp", "password_configured") != true ||
		one.text("settings", "join_base_url") != "http://203.0.113.7:8080" || one.text("settings", "updated_at") != "2026-04-23T07:50:01.000Z" {
		t.Errorf("after changing two fields: %s", one.Body)
	}
	cleared := admin.do("PUT", settingsPath, `{"settings":{"stripe":{"enabled":false,"secret_key_changed":true}}}`).want(200, "")
	if cleared.at("settings", "stripe", "secret_key_configured") != false || cleared.at("settings", "stripe", "webhook_secret_configured") != true {
		t.Errorf("after clearing a secret: %s", cleared.Body)
	}
	if log := w.log.String(); strings.Contains(log, "hunter2") {
		t.Error("the log has a secret")
	}
}

func TestSystemSettingsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.as(adminEmail)
	for _, who := range []string{userEmail, operatorMail} {
		w.as(who).do("GET", settingsPath, nil).want(403, "forbidden")
		w.as(who).do("PUT", settingsPath, wholeSettings).want(403, "forbidden")
	}
	for body, at := range map[string]string{
		`{"settings":{"smpt":{}}}`:                                                                          "body.settings",
		`{"settings":{"smtp":{"hots":"a"}}}`:                                                                "body.settings.smtp",
		`{"settings":{"smtp":{"Host":"a"}}}`:                                                                "body",
		`{"settings":{"smtp":{"port":"25"}}}`:                                                               "body.settings.smtp.port",
		`{"settings":{"smtp":{"port":0}}}`:                                                                  "body.settings.smtp.port",
		`{"settings":{"smtp":{"tls":"ssl"}}}`:                                                               "body.settings.smtp.tls",
		`{"settings":{"smtp":{"password":"hunter2"}}}`:                                                      "body.settings.smtp.password",
		`{"settings":{"smtp":{"enabled":true}}}`:                                                            "body.settings.smtp.host",
		`{"settings":{"oauth":{"providers":[{"display_name":"x"}]}}}`:                                       "body.settings.oauth.providers[0]",
		`{"settings":{"oauth":{"providers":[{"name":"x","display_name":"x","type":"hunter2"}]}}}`:           "body.settings.oauth.providers[0].type",
		`{"settings":{"oauth":{"providers":[{"name":"x","display_name":"x","type":"oidc","issuer":"x"}]}}}`: "body.settings.oauth.providers[0].issuer",
		`{"settings":{"public_base_url":"https://example.com/hunter2"}}`:                                    "body.settings.public_base_url",
		`{"settings":{"registration_enabled":"hunter2"}}`:                                                   "body.settings.registration_enabled",
		`{"settings":[]}`: "body.settings",
		`{}`:              "body",
	} {
		a := admin.do("PUT", settingsPath, body).want(400, "validation_failed")
		first, _ := a.list("errors")[0].(map[string]any)
		if got, _ := first["location"].(string); !strings.HasPrefix(got, at) || strings.Contains(a.Body.String(), "hunter2") {
			t.Errorf("%s: %s, want it at %s", body, a.Body, at)
		}
	}
	if got := admin.do("GET", settingsPath, nil).want(200, "").at("settings", "updated_at"); got != nil {
		t.Errorf("something was written at %v", got)
	}
}

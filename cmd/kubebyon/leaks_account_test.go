package main_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// code is what the oldest letter of a subject to somebody asks to be typed in.
func (r *accountRun) code(to, subject string) string {
	r.t.Helper()
	l := r.mail.await(r.t, to, subject)
	r.keepLetter(l)
	return l.code(r.t)
}

func (r *accountRun) keepLetter(l letter) {
	r.t.Helper()
	r.ledger.keepCode(l.code(r.t))
	r.ledger.record("letter", l.subject, []byte(l.text))
}

// captcha is the token of a puzzle that somebody has solved. Nobody asks for one
// here, but consoles send it all the same.
func (r *accountRun) captcha() string {
	token := "P1_" + text(40)
	r.ledger.keep(captchaWord, token)
	return token
}

// keepSession remembers the session that has just begun.
func (p *person) keepSession() {
	p.t.Helper()
	p.run.ledger.keepCredential(sessionValue, p.cookie("kubebyon_session"))
}

// keepWay remembers what a way to the provider has begun with: what the address
// shows, and what the cookie holds, which only the server's key opens.
func (p *person) keepWay(address string) {
	p.t.Helper()
	r, cookie := p.run, p.cookie("kubebyon_sso")
	u, err := url.Parse(address)
	if err != nil {
		p.t.Fatal(err)
	}
	r.ledger.keep(wayState, u.Query().Get("state"))
	r.ledger.keep(wayState, u.Query().Get("nonce"))
	r.ledger.keep(wayCookie, cookie)
	sealed, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil {
		p.t.Fatal(err)
	}
	master, err := keyseal.FromText(secret.New(r.master))
	if err != nil {
		p.t.Fatal(err)
	}
	ring, err := keyseal.Unwrap(p.t.Context(), master, r.database.ring(r.t))
	if err != nil {
		p.t.Fatal(err)
	}
	plain, err := ring.Open(p.t.Context(), "signon", sealed)
	if err != nil {
		p.t.Fatal(err)
	}
	var way struct{ V string }
	if err := json.Unmarshal(plain, &way); err != nil || len(way.V) < 43 {
		p.t.Fatalf("the cookie's verifier has %d characters: %v", len(way.V), err)
	}
	r.ledger.keep(wayVerifier, way.V)
}

// channels sets up every channel for messages, with secrets of all kinds, and
// turns none on: nothing is to be sent to their services. Some it sends where they
// are refused.
func (r *accountRun) channels(admin *person) {
	made := func(kind secretKind, prefix string) string {
		s := prefix + text(24)
		r.ledger.keep(kind, s)
		return s
	}
	set := func(delivery object, status int) {
		admin.must("PUT", "/api/console/admin/notifications/config", object{"config": object{"notification_delivery": delivery}}, status)
	}
	whole := func(changed bool) object {
		return object{
			"slack_webhook_url": "https://hooks.slack.com/services/T00000000/B00000000/" + made(channelSecret, ""), "slack_webhook_url_changed": changed,
			"slack_bot_token": made(channelSecret, "xoxb-"), "slack_bot_token_changed": changed, "slack_channel": "C012AB3CD",
			"telegram_bot_token": "123456789:" + made(channelSecret, "AAAAAAAAAAA"), "telegram_bot_token_changed": changed, "telegram_chat_id": "-1001234567890",
			"webhook_url": "https://hooks.example.com/" + made(hookAddress, "kubebyon-"), "webhook_secret": made(channelSecret, ""), "webhook_secret_changed": changed,
			"webhook_headers": object{"X-Token": made(channelSecret, "")}, "webhook_headers_changed": changed,
		}
	}
	set(whole(true), http.StatusOK)
	set(whole(true), http.StatusOK) // others in their place
	set(whole(false), http.StatusBadRequest)
	for name, value := range map[string]string{
		"slack_webhook_url": "http://127.0.0.1/", "slack_bot_token": "xoxb ", "telegram_bot_token": "a b", "webhook_secret": strings.Repeat("long", 200),
	} {
		set(object{name: value + made(channelSecret, ""), name + "_changed": true}, http.StatusBadRequest)
	}
	set(object{"webhook_url": "http://127.0.0.1/" + made(hookAddress, "")}, http.StatusBadRequest)
	set(object{"webhook_headers": object{made(channelSecret, "X ") + "\n": "x"}, "webhook_headers_changed": true}, http.StatusBadRequest)
	set(object{made(channelSecret, "field-"): true}, http.StatusBadRequest)
	admin.must("PUT", "/api/console/admin/system-settings", object{"settings": object{
		"hcaptcha": object{"site_key": "site", "secret_key": made(settingSecret, "0x"), "secret_key_changed": true},
	}}, http.StatusOK)
}

// moreCodes has others ask for codes: one alone may be met by chance.
func (r *accountRun) moreCodes() {
	someone := r.someone()
	someone.must("POST", "/api/auth/register/send-code", object{"email": "bea@kubebyon.test", "captcha_token": r.captcha()}, http.StatusAccepted)
	someone.must("POST", "/api/auth/reset-password/send-code", object{"email": adminEmail}, http.StatusAccepted)
	r.code("bea@kubebyon.test", "Your KubeBYON verification code")
	r.code(adminEmail, "Reset your KubeBYON password")
}

// judge looks for every secret of the run in all that it has left: what was
// answered, logged, counted, written down.
func (r *accountRun) judge(admin *person, ada string) {
	for _, at := range []string{
		"/api/auth/providers", "/api/console/me", "/api/console/api-keys", "/api/console/activities", "/api/console/admin/users", "/api/console/admin/users/" + ada,
		"/api/console/admin/system-settings", "/api/console/admin/notifications/config", "/api/console/admin/notifications/deliveries", "/healthz",
	} {
		admin.must("GET", at, nil, http.StatusOK)
	}
	for i, p := range append(r.servers, r.others...) {
		admin.url = "http://" + r.metrics[i]
		admin.client.must("GET", "/metrics", nil, http.StatusOK)
		p.stop(r.t)
		out := p.log.tail()
		if len(out) == tailSize {
			r.t.Errorf("the log of %s is longer than what is kept of it", p.cmd.Args)
		}
		r.ledger.record("log of "+filepath.Base(p.cmd.Path), p.addr, []byte(out))
	}
	r.database.keepHashes(r.t, r.ledger)
	values := r.database.dump(r.t, r.ledger, r.t.Name())
	if r.data != "" {
		r.ledger.sweep(r.t, r.t.Name(), r.data, dataFile)
	}
	if r.t.Failed() {
		return // what a broken run leaves says nothing of a whole one
	}
	texts := r.ledger.lookAtEvidence()
	r.ledger.judge(r.t, map[string]bool{"account": true})
	r.t.Logf("looked at %d texts and %d values, bytes by place: %v", texts, values, r.ledger.searched)
}

package main_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// An account from the first code to a ban that is lifted, as its owner and an
// administrator go through it, wherever accounts can live: whatever is done by one
// server counts at once in all.
func TestTheWholeLifeOfAnAccount(t *testing.T) {
	t.Parallel()
	for _, w := range accountWorlds() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			newAccountRun(t, w.open).all()
		})
	}
}

func (r *accountRun) all() {
	admin := r.someone()
	r.awaitServers()
	admin.must("POST", "/api/auth/login", object{"email": adminEmail, "password": r.password, "captcha_token": r.captcha()}, http.StatusOK)
	admin.keepSession()
	r.open(admin)
	r.channels(admin)
	newcomer, id := r.register()
	usual := r.signIn(r.first)
	robot := r.key(usual)
	linked := r.someone()
	r.byProvider(linked, id)
	r.reset([]*person{newcomer, usual, linked}, robot)
	r.ban(admin, id, robot)
	r.lookBack(admin, id)
	r.moreCodes()
	r.judge(admin, id)
}

func (r *accountRun) awaitServers() {
	for _, s := range r.servers {
		s.awaitCheck(r.t, "database", "ok")
	}
}

// open lets people register, after they could not: all servers have gone by the
// old settings before they go by the new ones.
func (r *accountRun) open(admin *person) {
	stranger := r.someone()
	for range r.servers {
		stranger.refused("/api/auth/register/send-code", object{"email": adaEmail}, http.StatusForbidden, "registration_closed")
		stranger.refused("/api/auth/reset-password/send-code", object{"email": adaEmail}, http.StatusServiceUnavailable, "mail_not_configured")
	}
	if at := stranger.visitProvider(); at != "/login?error=sso_provider_unknown" {
		r.t.Errorf("a provider that there is not sends people to %s", at)
	}
	admin.must("PUT", "/api/console/admin/system-settings", object{"settings": object{
		"public_base_url": r.servers[0].url, "registration_enabled": true, "smtp": r.mail.settings(),
		"oauth": object{"providers": []object{{
			"name": "company", "display_name": "The company", "type": "oidc", "issuer": r.provider.Issuer, "client_id": clientName,
			"client_secret": r.secret, "client_secret_changed": true, "enabled": true,
		}}},
	}}, http.StatusOK)
	for _, s := range r.servers {
		s.await(r.t, "/api/auth/providers", "what was set", func(a answer) bool {
			offered, _ := a.body["providers"].([]any)
			return a.body["registration_enabled"] == true && len(offered) == 1
		})
	}
	sample := object{"channel": "email", "target": "grace@kubebyon.test", "template": "welcome"}
	admin.must("POST", "/api/console/admin/notifications/test", sample, http.StatusOK)
	r.mail.await(r.t, "grace@kubebyon.test", "Welcome to KubeBYON")
}

// register makes an account with a code from the mail.
func (r *accountRun) register() (ada *person, id string) {
	ada = r.someone()
	ada.must("POST", "/api/auth/register/send-code", object{"email": adaEmail, "captcha_token": r.captcha()}, http.StatusAccepted)
	code := r.code(adaEmail, "Your KubeBYON verification code")
	with := func(code string) object {
		return object{"email": adaEmail, "password": r.first, "name": "Ada", "email_verification_code": code, "captcha_token": r.captcha()}
	}
	ada.refused("/api/auth/register", with(r.wrong(code)), http.StatusBadRequest, "verification_code_invalid")
	out := ada.must("POST", "/api/auth/register", with(code), http.StatusCreated)
	ada.keepSession()
	ada.refused("/api/auth/register", with(code), http.StatusBadRequest, "verification_code_invalid")
	if l := r.mail.await(r.t, adaEmail, "Welcome to KubeBYON"); !strings.Contains(l.text, "Ada") || !strings.Contains(l.text, r.servers[0].url) {
		r.t.Errorf("the welcome is:\n%s", l.text)
	}
	id = out["user"].(object)["id"].(string)
	if me := ada.is(http.StatusOK); me["id"] != id || me["email"] != adaEmail {
		r.t.Fatalf("who registered is %v", me)
	}
	return ada, id
}

// wrong is a code that is not code.
func (r *accountRun) wrong(code string) string {
	wrong := string('0'+(code[0]-'0'+1)%10) + code[1:]
	r.ledger.keepCode(wrong)
	return wrong
}

// signIn is Ada in one more browser.
func (r *accountRun) signIn(password string) *person {
	ada := r.someone()
	ada.must("POST", "/api/auth/login", object{"email": adaEmail, "password": password, "captcha_token": r.captcha()}, http.StatusOK)
	ada.keepSession()
	ada.is(http.StatusOK)
	return ada
}

// key makes an API key, with which a program is its owner.
func (r *accountRun) key(ada *person) *person {
	made := ada.must("POST", "/api/console/api-keys", object{"name": "robot"}, http.StatusCreated)["api_key"].(object)
	r.ledger.keepCredential(apiKeyValue, made["value"].(string))
	robot := r.robot(made["value"].(string))
	if me := robot.is(http.StatusOK); me["email"] != adaEmail {
		r.t.Fatalf("the key is %v's", me)
	}
	return robot
}

// byProvider signs Ada in at the provider, which opens the account that has the
// address.
func (r *accountRun) byProvider(ada *person, id string) {
	if at := ada.visitProvider(); at != "/clusters" {
		r.t.Fatalf("the provider's word leads to %s\n%s", at, r.servers[0].log.tail())
	}
	me := ada.is(http.StatusOK)
	if me["id"] != id || me["has_password"] != true || fmt.Sprint(me["sso_providers"]) != "[company]" {
		r.t.Errorf("by the provider's word it is %v, want %s", me, id)
	}
}

// reset sets another password with a code from the mail.
func (r *accountRun) reset(before []*person, robot *person) {
	forgetful := r.someone()
	forgetful.must("POST", "/api/auth/reset-password/send-code", object{"email": adaEmail}, http.StatusAccepted)
	l := r.mail.await(r.t, adaEmail, "Reset your KubeBYON password")
	r.keepLetter(l)
	if !strings.Contains(l.text, r.servers[0].url+"/reset-password") {
		r.t.Errorf("the letter leads nowhere:\n%s", l.text)
	}
	with := func(code string) object {
		return object{"email": adaEmail, "email_verification_code": code, "new_password": r.second}
	}
	forgetful.refused("/api/auth/reset-password", with(r.wrong(l.code(r.t))), http.StatusBadRequest, "verification_code_invalid")
	for _, p := range before {
		p.is(http.StatusOK)
	}
	forgetful.must("POST", "/api/auth/reset-password", with(l.code(r.t)), http.StatusNoContent)
	for _, p := range before {
		p.is(http.StatusUnauthorized)
	}
	robot.is(http.StatusOK)
	for range r.servers {
		forgetful.refused("/api/auth/login", object{"email": adaEmail, "password": r.first}, http.StatusUnauthorized, "invalid_credentials")
	}
}

// ban keeps Ada out and lets her in again.
func (r *accountRun) ban(admin *person, id string, robot *person) {
	at := "/api/console/admin/users/" + id + "/status"
	usual, linked := r.signIn(r.second), r.someone()
	r.byProvider(linked, id)

	admin.must("PUT", at, object{"status": "banned"}, http.StatusOK)
	for _, p := range []*person{usual, linked, robot} {
		p.is(http.StatusUnauthorized)
	}
	outside := r.someone()
	for range r.servers {
		outside.refused("/api/auth/login", object{"email": adaEmail, "password": r.second}, http.StatusForbidden, "account_banned")
		if at := outside.visitProvider(); at != "/login?error=account_banned" {
			r.t.Errorf("the provider's word leads somebody who is banned to %s", at)
		}
	}

	admin.must("PUT", at, object{"status": "active"}, http.StatusOK)
	usual.is(http.StatusUnauthorized)
	linked.is(http.StatusUnauthorized)
	robot.is(http.StatusOK)
	r.signIn(r.second)
	r.byProvider(outside, id)
}

// lookBack compares what was written down with what happened.
func (r *accountRun) lookBack(admin *person, id string) {
	var ways []string
	for _, l := range admin.must("GET", "/api/console/admin/users/"+id+"/login-history", nil, http.StatusOK)["logins"].([]any) {
		ways = append(ways, fmt.Sprint(l.(object)["method"], " ", l.(object)["result"]))
	}
	slices.Reverse(ways)
	want := []string{"register success", "password success", "sso:company success"}
	for range r.servers {
		want = append(want, "password invalid_credentials")
	}
	want = append(want, "password success", "sso:company success")
	for range r.servers {
		want = append(want, "password account_banned", "sso:company account_banned")
	}
	want = append(want, "password success", "sso:company success")
	if !slices.Equal(ways, want) {
		r.t.Errorf("the sign-ins are\n%q, want\n%q", ways, want)
	}
	told := map[any]bool{}
	for _, e := range admin.must("GET", "/api/console/admin/activities?limit=500", nil, http.StatusOK)["activities"].([]any) {
		told[e.(object)["type"]] = true
	}
	for _, kind := range []string{"system_settings_update", "user_register", "session_login", "api_key_create", "user_reset_password", "user_ban", "user_activate"} {
		if !told[kind] {
			r.t.Errorf("no activity is %s; there are %v", kind, told)
		}
	}
	for _, d := range admin.must("GET", "/api/console/admin/notifications/deliveries", nil, http.StatusOK)["deliveries"].([]any) {
		if d.(object)["status"] != "delivered" {
			r.t.Errorf("a letter is %v", d)
		}
	}
}

package oidcpeer

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
)

// SignIn plays a browser: it opens an address at the provider, fills in the
// login page, and returns the address under backTo that the provider sends it
// to in the end.
func (p *Peer) SignIn(ctx context.Context, address, backTo, username, password string) (string, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	browser := &http.Client{Jar: jar, Transport: transport, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), backTo) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	page, _, err := visit(ctx, browser, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	form := url.Values{"id": {page.Query().Get("authRequestID")}, "username": {username}, "password": {password}}
	_, back, err := visit(ctx, browser, http.MethodPost, p.Issuer+"/login/username", form)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(back, backTo) {
		return "", fmt.Errorf("the login page did not let %s go on", username)
	}
	return back, nil
}

// visit returns where the browser got to, and where it was sent on to from there.
func visit(ctx context.Context, browser *http.Client, method, address string, form url.Values) (page *url.URL, next string, err error) {
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := browser.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("%s %s: status %d", method, r.URL.Path, resp.StatusCode)
	}
	return resp.Request.URL, resp.Header.Get("Location"), err
}

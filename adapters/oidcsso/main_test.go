package oidcsso_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/oidcsso"
	"github.com/kubebyon/kubebyon/adapters/oidcsso/oidcpeer"
)

func TestMain(m *testing.M) {
	oidcpeer.Main()
	goleak.VerifyTestMain(m)
}

// recorder is a transport that keeps the tokens that come by.
type recorder struct {
	http.RoundTripper

	mu     sync.Mutex
	tokens []string
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	resp.Body = readCloser{io.MultiReader(bytes.NewReader(body), resp.Body), resp.Body}
	var said struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		IDToken      string `json:"id_token"`
	}
	if json.Unmarshal(body, &said) == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.tokens = append(r.tokens, said.AccessToken, said.RefreshToken, said.IDToken)
	}
	if err != nil { // the client shall meet it itself
		resp.Body = readCloser{io.MultiReader(bytes.NewReader(body), failing{err}), resp.Body}
	}
	return resp, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func (r *recorder) Tokens() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.tokens...)
}

// connector returns a Connector with a connection pool of its own, and what it
// has been told.
func connector(t *testing.T, patience time.Duration) (*oidcsso.Connector, *recorder) {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	r := &recorder{RoundTripper: transport}
	return connectorBy(t, r, time.Now, patience), r
}

func connectorBy(t *testing.T, transport http.RoundTripper, now func() time.Time, patience time.Duration) *oidcsso.Connector {
	t.Helper()
	c, err := oidcsso.New(oidcsso.Options{Client: &http.Client{Transport: transport}, Now: now, Patience: patience})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

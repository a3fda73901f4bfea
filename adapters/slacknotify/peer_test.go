package slacknotify_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/kubebyon/kubebyon/ports/notify/notifytest"
)

const (
	token   = "xoxb-1234567890-hunter2hunter2"
	hook    = "/services/T0001/B0001/hunter3hunter3"
	person  = "U0123ABCD"
	channel = "C0123ABCD"
)

// peer speaks the two parts of Slack's API that matter here, in their documented
// form: chat.postMessage takes a form and answers 200 with ok in JSON; incoming
// webhooks take JSON and answer in plain text, with a status that tells.
type peer struct {
	*httptest.Server
	mu        sync.Mutex
	behaviour notifytest.Behaviour
	answer    func(rw http.ResponseWriter) // instead of all others
	got       []notifytest.Received
	extras    []map[string]string
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	p := &peer{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/chat.postMessage", p.postMessage)
	mux.HandleFunc("POST "+hook, p.webhook)
	p.Server = httptest.NewTLSServer(mux)
	t.Cleanup(p.Server.Close)
	return p
}

func (p *peer) Behave(b notifytest.Behaviour) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behaviour = b
	if b == notifytest.Away {
		p.Server.Close()
	}
}

func (p *peer) Received() []notifytest.Received {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got
}

// common are the behaviours that both calls share; it reports whether it answered.
func (p *peer) common(rw http.ResponseWriter, req *http.Request) bool {
	p.mu.Lock()
	b, answer := p.behaviour, p.answer
	p.mu.Unlock()
	switch {
	case answer != nil:
		answer(rw)
	case b == notifytest.BusyFor:
		rw.Header().Set("Retry-After", "42")
		rw.WriteHeader(http.StatusTooManyRequests)
	case b == notifytest.Fails:
		http.Error(rw, "<html>"+token+hook, http.StatusBadGateway)
	case b == notifytest.Hangs:
		_, _ = io.Copy(io.Discard, req.Body) // or the server does not see that the client has gone
		<-req.Context().Done()
	case b == notifytest.Drops || b == notifytest.Away:
		panic(http.ErrAbortHandler)
	default:
		return false
	}
	return true
}

func (p *peer) postMessage(rw http.ResponseWriter, req *http.Request) {
	if p.common(rw, req) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	reply := func(v map[string]any) {
		rw.Header().Set("Content-Type", "application/json; charset=utf-8")
		_ = json.NewEncoder(rw).Encode(v)
	}
	switch {
	case p.behaviour == notifytest.Busy:
		reply(map[string]any{"ok": false, "error": "service_unavailable"})
	case p.behaviour == notifytest.Refuses:
		reply(map[string]any{"ok": false, "error": "channel_not_found", "response_metadata": map[string]any{"messages": []string{token}}})
	case p.behaviour == notifytest.Babbles:
		_, _ = io.WriteString(rw, `{"ok": fal`+token)
	case p.behaviour == notifytest.Locks || req.FormValue("token") != token && req.Header.Get("Authorization") != "Bearer "+token:
		reply(map[string]any{"ok": false, "error": "invalid_auth"})
	default:
		p.got = append(p.got, notifytest.Received{To: req.FormValue("channel"), Text: shown(req.FormValue("text"))})
		p.extras = append(p.extras, map[string]string{"mrkdwn": req.FormValue("mrkdwn"), "parse": req.FormValue("parse"), "link_names": req.FormValue("link_names"), "unfurl_links": req.FormValue("unfurl_links"), "unfurl_media": req.FormValue("unfurl_media")})
		reply(map[string]any{"ok": true, "channel": req.FormValue("channel"), "ts": "1503435956.000247"})
	}
}

func (p *peer) webhook(rw http.ResponseWriter, req *http.Request) {
	if p.common(rw, req) {
		return
	}
	var m struct {
		Text   string
		Mrkdwn *bool
	}
	err := json.NewDecoder(req.Body).Decode(&m)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.behaviour == notifytest.Busy:
		http.Error(rw, "rollup_error", http.StatusInternalServerError)
	case p.behaviour == notifytest.Refuses:
		http.Error(rw, "channel_is_archived", http.StatusGone)
	case p.behaviour == notifytest.Locks:
		http.Error(rw, "invalid_token", http.StatusForbidden)
	case err != nil || m.Text == "" || m.Mrkdwn == nil || *m.Mrkdwn || req.Header.Get("Content-Type") != "application/json":
		http.Error(rw, "invalid_payload", http.StatusBadRequest)
	default:
		p.got = append(p.got, notifytest.Received{Text: shown(m.Text)})
		_, _ = io.WriteString(rw, "ok")
	}
}

// shown is what Slack shows of a text without markdown. A < that is not escaped
// begins a mention or a link, which nobody would see as it was written.
func shown(text string) string {
	if strings.ContainsAny(text, "<>") {
		return "(a mention or a link)"
	}
	return strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(text)
}

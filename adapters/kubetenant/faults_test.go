package kubetenant_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubebyon/kubebyon/adapters/kubetenant"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// quick has short patience, for servers that have none to reward.
func quick() kubetenant.Config {
	return kubetenant.Config{
		CallTimeout: 2 * time.Second, DialTimeout: 2 * time.Second, TokenTimeout: time.Second,
		PingAfter: time.Second, PingTimeout: time.Second,
	}
}

// impostor is a server in an API server's place.
func impostor(t *testing.T, h http.HandlerFunc) (tenant.Tenant, *httptest.Server) {
	t.Helper()
	return impostorWith(t, quick(), h)
}

func impostorWith(t *testing.T, c kubetenant.Config, h http.HandlerFunc) (tenant.Tenant, *httptest.Server) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return open(t, c, s.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})), s
}

func open(t *testing.T, c kubetenant.Config, server string, authority []byte) tenant.Tenant {
	t.Helper()
	connector := kubetenant.New(c)
	t.Cleanup(connector.Close)
	return must(connector.Connect(t.Context(), newCluster(), kubeconfigOf(t, server, authority)))(t)
}

func kubeconfigOf(t *testing.T, server string, authority []byte) secret.Text {
	t.Helper()
	return secret.New(string(must(clientcmd.Write(api.Config{
		CurrentContext: "c",
		Contexts:       map[string]*api.Context{"c": {Cluster: "c", AuthInfo: "u"}},
		Clusters:       map[string]*api.Cluster{"c": {Server: server, CertificateAuthorityData: authority}},
		AuthInfos:      map[string]*api.AuthInfo{"u": {Token: "confidential"}},
	}))(t)))
}

func status(code int, reason, more string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"`+reason+`","message":"no","code":`+strconv.Itoa(code)+more+`}`)
	}
}

func text(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func TestOddAnswersAreExplained(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		code   string
	}{
		"500":         {status(500, "InternalError", ""), "cluster_unreachable"},
		"503":         {status(503, "ServiceUnavailable", ""), "cluster_unreachable"},
		"504":         {status(504, "Timeout", ""), "cluster_unreachable"},
		"a gateway":   {text(502, "<html>Bad Gateway</html>"), "cluster_unreachable"},
		"no code":     {text(500, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no"}`), "cluster_unreachable"},
		"429":         {status(429, "TooManyRequests", `,"details":{"retryAfterSeconds":7}`), "cluster_unreachable"},
		"401":         {status(401, "Unauthorized", ""), "cluster_access_refused"},
		"403":         {status(403, "Forbidden", ""), "cluster_access_refused"},
		"a web site":  {text(200, "<html>welcome</html>"), "cluster_unreachable"},
		"another 404": {text(404, "404 page not found"), "cluster_unreachable"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.0.0.1:1/", http.StatusFound)
		}, "cluster_unreachable"},
		"an empty JSON": {text(200, "{}"), "cluster_unreachable"},
		"silence":       {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "cluster_unreachable"},
		"half a word":   {func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, "cluster_unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, _ := impostor(t, c.answer)
			_, probe := in.Probe(t.Context())
			_, cordon := in.SetUnschedulable(t.Context(), "a", true)
			_, drain := in.Drain(t.Context(), "a", tenant.DrainOptions{Timeout: 10 * time.Second})
			for what, err := range map[string]error{
				"Probe": probe, "SetUnschedulable": cordon, "Drain": drain, "PrepareJoin": in.PrepareJoin(t.Context()),
				"Watch": in.Watch(t.Context(), func(tenant.Change) error { return nil }),
			} {
				if name == "an empty JSON" && what != "Probe" {
					continue // a patch may well be answered so
				}
				if !errors.Is(err, fault.Unavailable) || fault.CodeOf(err) != c.code {
					t.Errorf("%s: %v, want %s", what, err, c.code)
				} else if strings.Contains(err.Error(), "confidential") {
					t.Errorf("%s: the error holds the kubeconfig's token: %v", what, err)
				}
			}
		})
	}
}

func TestBusyTellsWhenToTryAgain(t *testing.T) {
	t.Parallel()
	in, _ := impostor(t, status(429, "TooManyRequests", `,"details":{"retryAfterSeconds":7}`))
	_, err := in.SetUnschedulable(t.Context(), "a", true)
	if f, ok := errors.AsType[*fault.Error](err); !ok || f.RetryAfter != 7*time.Second {
		t.Errorf("%v, want RetryAfter 7 s", err)
	}
}

func TestNotReadyTellsWhichChecksFail(t *testing.T) {
	t.Parallel()
	in, _ := impostor(t, text(500, "[+]ping ok\n[-]etcd failed: reason withheld\n[-]poststarthook/rbac failed: reason withheld\nreadyz check failed\n"))
	_, err := in.Probe(t.Context())
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Msg != "The cluster's API server is not ready: etcd, poststarthook/rbac." {
		t.Errorf("Probe: %v", err)
	}
}

func TestNoAnswerIsExplained(t *testing.T) {
	t.Parallel()
	_, server := impostor(t, text(200, ""))
	good := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for want, to := range map[string]string{
		"refuses connections": "https://127.0.0.1:1",
		"does not trust":      strings.Replace(server.URL, "127.0.0.1", "localhost", 1),
		"cannot be found":     "https://no-such-host.invalid",
	} {
		_, err := open(t, quick(), to, good).Probe(t.Context())
		if f, ok := errors.AsType[*fault.Error](err); !ok || f.Kind != fault.Unavailable || !strings.Contains(f.Msg, want) {
			t.Errorf("%s: %v, want …%s…", to, err, want)
		}
	}
}

func TestACallersDeadlineIsToldApart(t *testing.T) {
	t.Parallel()
	in, _ := impostor(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := in.Probe(ctx); !errors.Is(err, fault.Unavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Probe: %v; want both fault.Unavailable and the deadline", err)
	}
}

package joinscript_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// serveAPI stands for a tenant's API server: a real TLS server on loopback with
// a certificate of ca, valid from and until.
func serveAPI(t testing.TB, ca authority, from, until time.Time, answer http.HandlerFunc) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: from, NotAfter: until, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(answer)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "https://")
}

func clusterInfo(skew time.Duration, ids ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/namespaces/kube-public/configmaps/cluster-info" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Date", time.Now().Add(skew).UTC().Format(http.TimeFormat))
		_, _ = io.WriteString(w, `{"data":{"jws-kubeconfig-`+strings.Join(ids, `":"x","jws-kubeconfig-`)+`":"x"}}`)
	}
}

// The questions to the cluster with the real curl: what it says of TLS, and how
// it ends, is the library's matter and not a stub's.
func TestRealCurl(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		missing(t, "curl")
	}
	now := time.Now()
	ca := newAuthority()
	for name, c := range map[string]struct {
		ca          authority
		from, until time.Time
		answer      http.HandlerFunc
		rc          string
		status      int
		says        string
	}{
		"all is well":      {ca, now.Add(-time.Hour), now.Add(time.Hour), clusterInfo(0, "zzzzzz", tokenID), "", 0, "is a Ready node"},
		"another one's CA": {makeAuthority(), now.Add(-time.Hour), now.Add(time.Hour), clusterInfo(0, tokenID), "", 1, "does not show a certificate of the cluster's own authority"},
		"another one's CA and a ~/.curlrc that checks nothing": {
			makeAuthority(), now.Add(-time.Hour), now.Add(time.Hour), clusterInfo(0, tokenID), "insecure\n", 1, "does not show a certificate of the cluster's own authority",
		},
		"from the future":  {ca, now.Add(30 * time.Minute), now.Add(time.Hour), clusterInfo(0, tokenID), "", 1, "does not fit this machine's clock"},
		"of the past":      {ca, now.Add(-time.Hour), now.Add(-time.Minute), clusterInfo(0, tokenID), "", 1, "does not fit this machine's clock"},
		"a clock ahead":    {ca, now.Add(-time.Hour), now.Add(time.Hour), clusterInfo(-10*time.Minute, tokenID), "", 1, "This machine's clock is 60"},
		"a clock behind":   {ca, now.Add(-time.Hour), now.Add(time.Hour), clusterInfo(400*24*time.Hour, tokenID), "", 1, "seconds behind"},
		"another token":    {ca, now.Add(-time.Hour), now.Add(time.Hour), clusterInfo(0, "zzzzzz"), "", 1, "does not know the token"},
		"no cluster-info":  {ca, now.Add(-time.Hour), now.Add(time.Hour), http.NotFound, "", 1, "not prepared for nodes to join yet (status 404)"},
		"a broken API":     {ca, now.Add(-time.Hour), now.Add(time.Hour), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, "", 1, "it answered with status 503"},
		"nobody answering": {ca, now, now, nil, "", 1, "does not answer: Failed to connect to 127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newHollowMachine(t, shells(t)[0])
			m.without("curl")
			m.must(os.Symlink(curl, m.bin+"/curl"))
			m.file("home/.curlrc", c.rc)
			m.p.Server = "127.0.0.1:" + freePort(t)
			if c.answer != nil {
				m.p.Server = serveAPI(t, c.ca, c.from, c.until, c.answer)
			}
			var args []string
			if c.status != 0 {
				args = []string{"--timeout=1"} // some wait for what does not come
			}
			o := m.join(args...)
			o.says(t, c.status, c.says)
			if c.status != 0 {
				o.called(t, "!localplane")
			}
		})
	}
}

// The script's arithmetic on dates, against Go's.
func TestDatesAreReadRight(t *testing.T) {
	t.Parallel()
	const days = 60
	var script, want strings.Builder
	moment := time.Date(2023, time.December, 3, 8, 9, 7, 0, time.UTC)
	for range days {
		script.WriteString("epoch_of '" + moment.Format(http.TimeFormat) + "'\n")
		want.WriteString(strconv.FormatInt(moment.Unix(), 10) + "\n")
		moment = moment.Add(29*24*time.Hour + 5*time.Hour + 7*time.Minute + 59*time.Second)
	}
	for _, bad := range []string{"", "today", "Wed, 1 Foo 2024 00:00:00 GMT", "Wed, 01 Jan 2024 00:00:00 CET", "Wed, $(id) Jan a[$(id)] 00:00:00 GMT"} {
		script.WriteString("epoch_of '" + bad + "'\n")
	}
	whole := strings.Replace(render(t, params()), `main "$@" </dev/null`, script.String(), 1)
	for _, sh := range shells(t) {
		got, err := run(sh, whole).CombinedOutput()
		if err != nil || string(got) != want.String() {
			t.Errorf("%s: %v: got\n%s\nwant\n%s", sh, err, got, want.String())
		}
	}
}

// Without a prefix the way up from a missing directory ends at nothing.
func TestDirectoriesWithoutPrefix(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := strings.Replace(render(t, params()), `main "$@" </dev/null`, `root='' state=$1; make_dir ''; make_dir "$1/a/b"; cat "$1/manifest"`, 1)
	if err := os.WriteFile(dir+"/manifest", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, sh := range shells(t)[:1] {
		got, err := run(sh, script, dir).CombinedOutput()
		if want := "dir\t" + dir + "/a\ndir\t" + dir + "/a/b\n"; err != nil || string(got) != want {
			t.Errorf("%s: %v: got %q, want %q", sh, err, got, want)
		}
	}
}

package browser_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

// internet is all that the browser can reach: some hosts are the program behind a
// proxy, all others have an empty page. Every host has it at /page.
type internet struct {
	plain, secure net.Listener
	key           string // the hash by which the browser knows the certificate
	servers       []*http.Server
	proxies       map[string]http.Handler
}

// The addresses from which proxies ask the program. It trusts the first only.
const trustedProxy, untrustedProxy, rewritingProxy = "127.0.0.2", "127.0.0.3", "127.0.0.4"

func newInternet() *internet {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"*.kubebyon.test", "*.other.test"},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	must(err)
	sum := sha256.Sum256(public)
	n := &internet{plain: listen(), key: base64.StdEncoding.EncodeToString(sum[:])}
	n.secure = tls.NewListener(listen(), &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}})
	return n
}

func listen() net.Listener {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	must(err)
	return l
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// secure and plain are the origins of a host.
func secure(host string) string { return origin("https", host, shared.net.secure) }
func plain(host string) string  { return origin("http", host, shared.net.plain) }

func origin(scheme, host string, l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return scheme + "://" + net.JoinHostPort(host, port)
}

func join(origins ...string) string { return strings.Join(origins, ",") }

// serve opens the hosts.
func (n *internet) serve(closed, open string) {
	n.proxies = map[string]http.Handler{
		"api.kubebyon.test":     proxy(closed, trustedProxy, false),
		"open.kubebyon.test":    proxy(open, trustedProxy, false),
		"proxied.kubebyon.test": proxy(closed, untrustedProxy, false),
		"public.kubebyon.test":  proxy(open, rewritingProxy, true),
	}
	for _, l := range []net.Listener{n.plain, n.secure} {
		s := &http.Server{Handler: n, ReadHeaderTimeout: 10 * time.Second}
		n.servers = append(n.servers, s)
		go func() { _ = s.Serve(l) }()
	}
}

func (n *internet) close() {
	for _, s := range n.servers {
		_ = s.Close()
	}
	for _, p := range n.proxies {
		p.(*httputil.ReverseProxy).Transport.(*http.Transport).CloseIdleConnections()
	}
}

func (n *internet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, _ := strings.Cut(r.Host, ":")
	p, ok := n.proxies[host]
	if ok && r.URL.Path != "/page" {
		p.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, `<!doctype html><link rel="icon" href="data:,"><title>page</title>`)
}

// proxy passes requests on from an address of its own, as proxies do: it says who
// asked and how, whatever the client says of that.
func proxy(to, from string, rewriteHost bool) http.Handler {
	target := &url.URL{Scheme: "http", Host: to}
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	return &httputil.ReverseProxy{
		Transport: &http.Transport{DialContext: dialer.DialContext},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			r.SetXForwarded()
			if !rewriteHost {
				r.Out.Host = r.In.Host
			}
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, fmt.Sprint(err), http.StatusBadGateway)
		},
	}
}

package amqpbus

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// TestTLS: RabbitMQ behind somebody who speaks TLS for it, which also sees what
// the connection is called.
func TestTLS(t *testing.T) {
	t.Parallel()
	certificate, ca := selfSigned(t)
	_, otherCA := selfSigned(t)
	w := newWorld(t, standard(t), Config{})
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := url.Parse(w.config.URL.Reveal())
	if err != nil {
		t.Fatal("bad URL")
	}
	var heard notebook
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(func() { l.Close() })
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", plain.Host)
			if err != nil {
				client.Close()
				continue
			}
			copyTo := func(to interface{ Write([]byte) (int, error) }, from net.Conn) {
				defer client.Close()
				defer server.Close()
				buf := make([]byte, 4096)
				for {
					n, err := from.Read(buf)
					if err != nil {
						return
					}
					if _, err := to.Write(buf[:n]); err != nil {
						return
					}
				}
			}
			running.Go(func() { copyTo(both{server, &heard}, client) })
			running.Go(func() { copyTo(client, server) })
		}
	})
	at := *plain
	at.Scheme, at.Host = "amqps", l.Addr().String()
	try := func(t *testing.T, query string) *world {
		at := at
		at.RawQuery = query
		c := w.config
		c.URL, c.Name = secret.New(at.String()), "worker-7"
		return &world{Bus: start(t, c)}
	}
	good := try(t, "cacertfile="+ca)
	good.eventually(t, "it is connected", func() bool { return good.Ping(t.Context()) == nil })
	good.insist(t, msg("1"))
	for _, name := range []string{"worker-7 publish", "worker-7 consume"} {
		if !strings.Contains(heard.String(), name) {
			t.Errorf("no connection is called %q", name)
		}
	}
	for _, query := range []string{"", "cacertfile=" + otherCA, "cacertfile=/nowhere", "cacertfile=/dev/null", "certfile=/nowhere&keyfile=/nowhere"} {
		b := try(t, query)
		b.eventually(t, "TLS is refused with "+query, func() bool { return fault.CodeOf(b.Ping(t.Context())) == "broker_tls" })
	}
}

type both struct {
	to    net.Conn
	heard *notebook
}

func (b both) Write(p []byte) (int, error) {
	_, _ = b.heard.Write(p)
	return b.to.Write(p)
}

func selfSigned(t *testing.T) (c tls.Certificate, path string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

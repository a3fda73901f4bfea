package smtpnotify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/notify/notifytest"
)

const (
	user     = "mailer"
	password = "hunter2-hunter2"
)

// authority signs certificates of the tests' mail servers.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	key, cert := sign(t, template, nil)
	return authority{key, cert}
}

func sign(t *testing.T, template *x509.Certificate, by *authority) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by = &authority{key, template}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

func (a authority) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func (a authority) serve(t *testing.T, template x509.Certificate) *tls.Config {
	t.Helper()
	template.SerialNumber = big.NewInt(2)
	key, cert := sign(t, &template, &a)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
}

// peer is a mail server that keeps the mail.
type peer struct {
	*smtp.Server
	listener net.Listener
	mechs    []string

	mu        sync.Mutex
	behaviour notifytest.Behaviour
	got       []notifytest.Received
	raw       []string
	tls       []bool // whether each mail came by TLS
	conns     map[net.Conn]struct{}
}

func newPeer(t *testing.T, mode string, config *tls.Config) *peer {
	t.Helper()
	p := &peer{mechs: []string{"PLAIN", "LOGIN"}, conns: map[net.Conn]struct{}{}}
	p.Server = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &session{peer: p, conn: c}, nil }))
	p.Domain, p.EnableSMTPUTF8, p.AllowInsecureAuth, p.ErrorLog = "localhost", true, mode == notify.TLSNone, log.New(io.Discard, "", 0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.listener = listener{l, p}
	if mode == notify.TLSStart {
		p.TLSConfig = config
	}
	if mode == notify.TLSImplicit {
		p.listener = tls.NewListener(p.listener, config)
	}
	var done sync.WaitGroup
	done.Go(func() { _ = p.Serve(p.listener) })
	t.Cleanup(func() {
		p.Behave(notifytest.Away)
		_ = p.Server.Close()
		done.Wait()
	})
	return p
}

func (p *peer) port() int { return p.listener.Addr().(*net.TCPAddr).Port }

func (p *peer) Behave(b notifytest.Behaviour) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behaviour = b
	if b == notifytest.Away {
		_ = p.listener.Close()
		for c := range p.conns {
			_ = c.Close()
		}
	}
}

func (p *peer) now() notifytest.Behaviour {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.behaviour
}

func (p *peer) Received() []notifytest.Received {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got
}

// listener lets a server be silent, or say what is not SMTP, before it greets.
type listener struct {
	net.Listener
	peer *peer
}

func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.peer.mu.Lock()
	defer l.peer.mu.Unlock()
	l.peer.conns[conn] = struct{}{}
	if l.peer.behaviour == notifytest.Babbles {
		_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
	}
	return conn, nil
}

type session struct {
	peer *peer
	conn *smtp.Conn
	to   string
}

func (s *session) AuthMechanisms() []string { return s.peer.mechs }

func (s *session) Auth(mech string) (sasl.Server, error) {
	check := func(_, name, word string) error {
		if name != user || word != password || s.peer.now() == notifytest.Locks {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "Wrong password " + word + " for " + name}
		}
		return nil
	}
	if mech == sasl.Login {
		return &login{check: check}, nil
	}
	return sasl.NewPlainServer(check), nil
}

// login is the server's side of LOGIN, which go-sasl has not.
type login struct {
	name  string
	step  int
	check func(_, name, word string) error
}

func (l *login) Next(response []byte) ([]byte, bool, error) {
	l.step++
	switch l.step {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.name = string(response)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check("", l.name, string(response))
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

func (s *session) Mail(string, *smtp.MailOptions) error {
	switch s.peer.now() { //nolint:exhaustive // the others come later
	case notifytest.Busy, notifytest.BusyFor:
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "Greylisted, try again\n" + password}
	case notifytest.Hangs:
		_, _ = s.conn.Conn().Read(make([]byte, 1)) // until the client is gone
	}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	if s.peer.now() == notifytest.Refuses {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such user here, said " + password}
	}
	return nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	got, err := read(raw)
	if err != nil {
		return &smtp.SMTPError{Code: 554, Message: err.Error()}
	}
	got.To = s.to
	switch s.peer.now() { //nolint:exhaustive // the others came earlier
	case notifytest.Fails:
		return &smtp.SMTPError{Code: 452, Message: "Insufficient system storage"}
	case notifytest.Drops:
		_ = s.conn.Conn().Close()
		return io.ErrUnexpectedEOF
	}
	s.peer.mu.Lock()
	defer s.peer.mu.Unlock()
	_, secured := s.conn.TLSConnectionState()
	s.peer.got, s.peer.raw, s.peer.tls = append(s.peer.got, got), append(s.peer.raw, string(raw)), append(s.peer.tls, secured)
	return nil
}

// read takes a mail apart like a mail program.
func read(raw []byte) (notifytest.Received, error) {
	var got notifytest.Received
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return got, err
	}
	if got.Subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
		return got, err
	}
	got.ID = m.Header.Get("Message-ID")
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		return got, err
	}
	if !strings.HasPrefix(kind, "multipart/") {
		got.Text, err = decode(m.Body)
		return got, err
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		text, err := decode(part)
		if err != nil {
			return got, err
		}
		if strings.HasPrefix(part.Header.Get("Content-Type"), "text/html") {
			got.HTML = text
		} else {
			got.Text = text
		}
	}
}

func decode(r io.Reader) (string, error) {
	text, err := io.ReadAll(quotedprintable.NewReader(r))
	return strings.ReplaceAll(string(text), "\r\n", "\n"), err
}

func settings(p *peer, mode string) notify.SMTP {
	return notify.SMTP{
		Host: "127.0.0.1", Port: p.port(), TLS: mode, From: "KubeBYON <noreply@kubebyon.example.com>",
		Username: user, Password: secret.New(password),
	}
}

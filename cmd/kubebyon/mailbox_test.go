package main_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// mailServer keeps the mail that it takes. It speaks STARTTLS, and takes nothing
// from anybody who has not signed in behind it.
type mailServer struct {
	addr      *net.TCPAddr
	authority string // a file with the certificate of who vouches for it
	password  string
	smtp      *smtp.Server

	mu      sync.Mutex
	letters []letter
	came    chan struct{} // closed by the next letter
}

const mailer = "kubebyon-mailer"

// letter is what a mail program shows of one.
type letter struct{ to, subject, text string }

func newMailServer(t *testing.T) *mailServer {
	t.Helper()
	m := &mailServer{password: "mail-" + text(24), authority: filepath.Join(t.TempDir(), "authority.pem"), came: make(chan struct{})}
	m.smtp = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailSession{server: m}, nil }))
	m.smtp.Domain, m.smtp.ErrorLog = "localhost", log.New(io.Discard, "", 0)
	m.smtp.TLSConfig = &tls.Config{Certificates: []tls.Certificate{selfSigned(t, m.authority)}, MinVersion: tls.VersionTLS12}
	l, err := listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.addr = l.Addr().(*net.TCPAddr)
	var served sync.WaitGroup
	served.Go(func() { _ = m.smtp.Serve(l) })
	t.Cleanup(func() {
		_ = m.smtp.Close()
		served.Wait()
	})
	return m
}

// selfSigned is a certificate for this machine that vouches for itself.
func selfSigned(t *testing.T, file string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// settings are those with which mail goes there.
func (m *mailServer) settings() object {
	return object{
		"enabled": true, "host": "127.0.0.1", "port": m.addr.Port, "tls": "starttls", "from": "KubeBYON <noreply@kubebyon.test>",
		"username": mailer, "password": m.password, "password_changed": true,
	}
}

// await returns the oldest letter to somebody with that subject, and takes it out.
func (m *mailServer) await(t *testing.T, to, subject string) letter {
	t.Helper()
	late := time.After(time.Minute)
	for {
		m.mu.Lock()
		i := slices.IndexFunc(m.letters, func(l letter) bool { return l.to == to && l.subject == subject })
		if i >= 0 {
			l := m.letters[i]
			m.letters = slices.Delete(m.letters, i, i+1)
			m.mu.Unlock()
			return l
		}
		came := m.came
		m.mu.Unlock()
		select {
		case <-came:
		case <-late:
			t.Fatalf("no letter %q to %s came within a minute; there are %v", subject, to, m.subjects())
		}
	}
}

func (m *mailServer) subjects() (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.letters {
		out = append(out, l.to+": "+l.subject)
	}
	return out
}

var mailedCode = regexp.MustCompile(`: (\d{6})\n`)

// code is what the letter asks to be typed in.
func (l letter) code(t *testing.T) string {
	t.Helper()
	m := mailedCode.FindStringSubmatch(l.text)
	if m == nil {
		t.Fatalf("the letter to %s has no code:\n%s", l.to, l.text)
	}
	return m[1]
}

type mailSession struct {
	server   *mailServer
	signedIn bool
	to       string
}

func (s *mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, name, password string) error {
		if s.signedIn = name == mailer && password == s.server.password; !s.signedIn {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "Wrong password " + password}
		}
		return nil
	}), nil
}

func (s *mailSession) Mail(string, *smtp.MailOptions) error {
	if !s.signedIn {
		return smtp.ErrAuthRequired
	}
	return nil
}

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return nil
}

func (s *mailSession) Data(r io.Reader) error {
	l, err := readLetter(r)
	if err != nil {
		return &smtp.SMTPError{Code: 554, Message: err.Error()}
	}
	l.to = s.to
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.letters = append(s.server.letters, l)
	close(s.server.came)
	s.server.came = make(chan struct{})
	return nil
}

func (s *mailSession) Reset()        {}
func (s *mailSession) Logout() error { return nil }

// readLetter takes a letter apart as a mail program does that shows no HTML.
func readLetter(r io.Reader) (l letter, err error) {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return l, err
	}
	if l.subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
		return l, err
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		return l, err
	}
	for parts := multipart.NewReader(m.Body, params["boundary"]); ; {
		part, err := parts.NextRawPart()
		if err != nil {
			return l, errors.Join(errors.New("the letter has no text"), err)
		}
		if !strings.HasPrefix(part.Header.Get("Content-Type"), "text/plain") {
			continue
		}
		raw, err := io.ReadAll(quotedprintable.NewReader(part))
		l.text = string(bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n")))
		return l, err
	}
}

package httpapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"net/http"
	"strconv"
	"strings"

	"github.com/kubebyon/kubebyon/adapters/httpapi/edge"
	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
)

// broken are what net/http answers itself, because what came was no request
// that a handler could be given. It does so in one write, in plain text and
// without the headers that every answer has.
var broken = map[string]struct{ code, detail string }{ //nolint:gochecknoglobals // a constant table
	"400": {"malformed_request", "This is not an HTTP request."},
	"417": {"expectation_failed", "The server expects nothing but 100-continue."},
	"431": {"header_too_large", "The header of the request is too large."},
	"501": {"not_implemented", "The server does not know this transfer encoding."},
	"505": {"http_version_not_supported", "The server speaks HTTP/1.1."},
}

const (
	statusLine = "HTTP/1.1 "
	headerEnd  = "\r\n\r\n"
)

// mend makes a problem document of an answer that net/http made by itself, and
// reports false of any other.
func mend(b []byte) ([]byte, bool) {
	if !bytes.HasPrefix(b, []byte(statusLine)) || len(b) < len(statusLine)+3 {
		return nil, false
	}
	status := string(b[len(statusLine) : len(statusLine)+3])
	is, ok := broken[status]
	if !ok || !bytes.Contains(b, []byte(headerEnd)) {
		return nil, false
	}
	n, _ := strconv.Atoi(status)
	id := strings.ToLower(rand.Text()[:16])
	return rendered(id, problem.New(problem.WithRequest(context.Background(), id), n, is.code, is.detail)), true
}

// rendered is an answer as it goes over the line. The connection ends with it.
func rendered(id string, p *problem.Problem) []byte {
	out := &paper{header: http.Header{}}
	edge.Secure(out.header, id)
	problem.Write(out, p)
	out.header.Set("Connection", "close")
	out.header.Set("Content-Length", strconv.Itoa(out.body.Len()))
	var b bytes.Buffer
	b.WriteString(statusLine + strconv.Itoa(p.Status) + " " + http.StatusText(p.Status) + "\r\n")
	_ = out.header.Write(&b) // a buffer takes all
	b.WriteString("\r\n")
	b.Write(out.body.Bytes())
	return b.Bytes()
}

// paper is an http.ResponseWriter that keeps what is written.
type paper struct {
	header http.Header
	body   bytes.Buffer
}

func (p *paper) Header() http.Header         { return p.header }
func (p *paper) WriteHeader(int)             {}
func (p *paper) Write(b []byte) (int, error) { return p.body.Write(b) }

package httpapi

import (
	"cmp"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Limits keep slow and greedy clients from holding the server up. What is not
// set takes its default.
type Limits struct {
	Header      time.Duration // for a request's header to arrive; default 10 s
	Read        time.Duration // for a whole request to arrive; default 30 s
	Write       time.Duration // for an answer to leave; default 60 s
	Idle        time.Duration // between two requests on one connection; default 120 s
	HeaderBytes int           // default 32 KiB
	// Connections may be open at once; default 4096. One more takes the place of
	// the one that has been idle longest; while none is idle, it waits.
	Connections int
	// PerClient is how many of them one client may have, so that no single one
	// can take them all; default a quarter. One more takes the place of one of
	// the client's own that is idle; while none is, it is closed.
	PerClient int
	// Proxies have as many as they need: theirs are many clients'.
	Proxies []netip.Prefix
}

func (l Limits) withDefaults() Limits {
	l.Header = cmp.Or(l.Header, 10*time.Second)
	l.Read = cmp.Or(l.Read, 30*time.Second)
	l.Write = cmp.Or(l.Write, 60*time.Second)
	l.Idle = cmp.Or(l.Idle, 120*time.Second)
	l.HeaderBytes = cmp.Or(l.HeaderBytes, 32<<10)
	l.Connections = cmp.Or(l.Connections, 4096)
	l.PerClient = cmp.Or(l.PerClient, max(1, l.Connections/4))
	return l
}

// HTTPServer is an http.Server that bounds how many connections are open. It
// speaks HTTP/1 only: in clear, HTTP/2 would bring nothing but another parser.
type HTTPServer struct {
	*http.Server
	gate *gate
}

// NewServer returns a server for h with limits. Calls that may take longer than
// those say so themselves.
func NewServer(h http.Handler, log *slog.Logger, limits Limits) *HTTPServer {
	l := limits.withDefaults()
	g := newGate(l, log)
	return &HTTPServer{gate: g, Server: &http.Server{
		Handler:           handled(h),
		ConnContext:       known,
		ReadHeaderTimeout: l.Header,
		ReadTimeout:       l.Read,
		WriteTimeout:      l.Write,
		IdleTimeout:       l.Idle,
		MaxHeaderBytes:    l.HeaderBytes,
		ConnState:         g.note,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what clients do wrong on the wire
		// OPTIONS * is answered like all else, with all the headers.
		DisableGeneralOptionsHandler: true,
	}}
}

// Serve serves what comes in by l, within the limits.
func (s *HTTPServer) Serve(l net.Listener) error { return s.Server.Serve(s.gate.guard(l)) }

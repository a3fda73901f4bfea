package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/app"
)

// Listen takes an address; flag is the one that names another.
func Listen(ctx context.Context, addr, flag string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; name another address with --%s", addr, err, flag)
	}
	return l, nil
}

// Serve answers requests until ctx ends or the listener breaks; then requests in
// flight get time to finish. The platform has started; Stop must follow.
func Serve(ctx context.Context, log *slog.Logger, a *app.App, limits httpapi.Limits, l net.Listener, started func()) error {
	s := listen(a.Handler, log, limits, l)
	started()
	return s.until(ctx, log, a, 0)
}

// server answers on a listener, or on none.
type server struct {
	http   *httpapi.HTTPServer
	failed chan error
	last   atomic.Bool // each answer is the last of its connection
}

func listen(h http.Handler, log *slog.Logger, limits httpapi.Limits, l net.Listener) *server {
	s := &server{failed: make(chan error, 1)}
	if l == nil {
		return s
	}
	s.http = httpapi.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.last.Load() {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	}), log, limits)
	go func() { s.failed <- fmt.Errorf("serve HTTP: %w", s.http.Serve(l)) }() // ends with close
	return s
}

// until ends as a process should: first nobody sends new requests, and others may
// go on with what this one worked on; then those that are here are answered.
func (s *server) until(ctx context.Context, log *slog.Logger, a *app.App, delay time.Duration) error {
	select {
	case err := <-s.failed:
		return err
	case <-ctx.Done():
	}
	log.Info("stopping: jobs are given back, requests in flight may finish")
	a.Drain()
	if s.http == nil {
		return nil
	}
	s.last.Store(true)
	if delay > 0 {
		time.Sleep(delay)
	}
	return s.shutdown(ctx)
}

// shutdownTimeout is how long requests in flight may take.
const shutdownTimeout = 30 * time.Second

func (s *server) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return s.http.Close()
	}
	return err
}

func (s *server) close() error {
	if s.http == nil {
		return nil
	}
	return s.http.Close()
}

// Probes answers for a platform that serves no API.
func Probes(c app.Config, a *app.App) http.Handler {
	conf := c.Edge()
	conf.Log, conf.Ready = c.Log.With("part", "http"), a.Ready
	return httpapi.Probes(conf, httpapi.NotServed())
}

package process

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/app"
)

// Service is a process that listens at once, and whose platform comes up as soon
// as what it needs is there.
type Service struct {
	Log *slog.Logger
	// Build makes a platform that has not started. It is called again after a
	// start that failed, for a platform starts once.
	Build func() (*app.App, error)
	// Serve is what answers once the platform runs.
	Serve    func(*app.App) http.Handler
	HTTP     httpapi.Config // of the answers until then
	Limits   httpapi.Limits
	Listener net.Listener   // nil: nobody is answered
	Started  func(*app.App) // called when the platform runs; nil: nobody is told

	StartTimeout  time.Duration // how long to wait for what is away; 0: for ever
	ShutdownDelay time.Duration // how long requests are taken after readiness has gone
}

// Run returns when ctx has ended and all is given back, when the listener breaks,
// or with what kept the platform from starting that waiting does not mend.
func (s Service) Run(ctx context.Context) (err error) {
	w := &waiting{log: s.Log}
	conf := s.HTTP
	conf.Log, conf.Ready = s.Log.With("part", "http"), w.ready
	front := httpapi.NewFront(conf)
	srv := listen(front, s.Log, s.Limits, s.Listener)
	defer func() { err = errors.Join(err, srv.close()) }()

	a, err := s.start(ctx, w, srv)
	if a == nil || err != nil {
		return err
	}
	defer func() { err = errors.Join(err, Stop(ctx, a)) }()
	front.Open(s.Serve(a))
	if s.Started != nil {
		s.Started(a)
	}
	return srv.until(ctx, s.Log, a, s.ShutdownDelay)
}

// start tries until the platform runs, and returns none when ctx ends first.
func (s Service) start(ctx context.Context, w *waiting, srv *server) (a *app.App, err error) {
	err = w.until(ctx, s.StartTimeout, srv.failed, func(ctx context.Context) (err error) {
		a, err = s.try(ctx)
		return err
	})
	if err != nil && ctx.Err() != nil {
		return nil, nil //nolint:nilnil,nilerr // it was asked to stop before it had begun
	}
	return a, err
}

// try starts a platform; one that does not start is gone when it returns.
func (s Service) try(ctx context.Context) (*app.App, error) {
	a, err := s.Build()
	if err != nil {
		return nil, err
	}
	if err := a.Start(ctx); err != nil {
		return nil, errors.Join(err, Stop(ctx, a))
	}
	return a, nil
}

const stopTimeout = 60 * time.Second

// Stop ends a platform also when ctx has ended, within a minute.
func Stop(ctx context.Context, a *app.App) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return a.Stop(ctx)
}

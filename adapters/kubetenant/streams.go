package kubetenant

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// pods are where logs are.
var pods = tenant.Kind{Version: "v1", Resource: "pods", Namespaced: true} //nolint:gochecknoglobals // a constant

// logRoom is what an API server may send beyond what it was asked for: it
// counts lines whole.
const logRoom = 1 << 20

var errLate = errors.New("a log does not begin in time")

// Logs opens a log. It must begin within a call's time; one that is followed
// may then last as long as its connection lives, which is asked often enough.
func (t *cluster) Logs(ctx context.Context, q tenant.LogQuery) (io.ReadCloser, error) {
	to, err := one(pods, q.Namespace, q.Pod)
	if err != nil {
		return nil, err
	}
	room, end := t.config.MaxLogBytes+logRoom, t.config.ListTimeout
	if q.Follow {
		room, end = math.MaxInt64, 0
	}
	within, cancel := context.WithCancelCause(withRoom(quiet(ctx), room))
	late := time.AfterFunc(t.config.CallTimeout, func() { cancel(errLate) })
	l := &log{ctx: ctx, within: within, done: sync.OnceFunc(func() { late.Stop(); cancel(nil) })}
	if end > 0 {
		over := time.AfterFunc(end, func() { cancel(errLate) })
		l.done = sync.OnceFunc(func() { late.Stop(); over.Stop(); cancel(nil) })
	}
	r := t.objects.Get().AbsPath(append(to, "log")...).SetHeader("Accept", "*/*")
	for key, value := range logParams(q, t.config.MaxLogBytes) {
		r.Param(key, value)
	}
	l.ReadCloser, err = r.Stream(within)
	if err != nil {
		defer l.done()
		return nil, l.fault("read a log", objectFault("read a log", err))
	}
	late.Stop()
	l.let = t.hold()
	return l, nil
}

func logParams(q tenant.LogQuery, most int64) map[string]string {
	out := map[string]string{}
	if q.Container != "" {
		out["container"] = q.Container
	}
	if q.TailLines > 0 {
		out["tailLines"] = strconv.FormatInt(q.TailLines, 10)
	}
	if q.Since > 0 {
		out["sinceSeconds"] = strconv.FormatInt(int64(math.Ceil(q.Since.Seconds())), 10)
	}
	for key, is := range map[string]bool{"previous": q.Previous, "timestamps": q.Timestamps, "follow": q.Follow} {
		if is {
			out[key] = "true"
		}
	}
	if !q.Follow {
		out["limitBytes"] = strconv.FormatInt(most, 10)
	}
	return out
}

// log is one that is being read.
type log struct {
	io.ReadCloser
	ctx, within context.Context //nolint:containedctx // of the stream that this is
	done        func()
	let         func()
	closed      sync.Once
}

// Read says why there is no more to read.
func (l *log) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = l.fault("read a log", err)
	}
	return n, err
}

// Close may be called more than once.
func (l *log) Close() (err error) {
	l.closed.Do(func() {
		l.done()
		err = l.ReadCloser.Close()
		l.let()
	})
	return err
}

func (l *log) fault(step string, err error) error {
	if errors.Is(context.Cause(l.within), errLate) && l.ctx.Err() == nil {
		return unreachable("The cluster's API server does not answer in time.", step, errors.Join(errLate, err))
	}
	return explain(l.ctx, step, err)
}

// Passage speaks HTTP/1.1, over connections of its own: requests of one person
// do not wait for those of another, and can be upgraded. Answers are not
// unpacked on the way.
func (t *cluster) Passage(ctx context.Context) (*url.URL, http.RoundTripper, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	base, err := url.Parse(t.server)
	if err != nil {
		return nil, nil, fault.Invalid.New("kubeconfig_invalid", "The kubeconfig's server must be an https address.")
	}
	return base, passing{t.passage, t}, nil
}

// passing counts what is under way, so that its connections are kept.
type passing struct {
	http.RoundTripper
	t *cluster
}

// RoundTrip hands on the answer as it comes.
func (p passing) RoundTrip(r *http.Request) (*http.Response, error) {
	defer p.t.hold()()
	return p.RoundTripper.RoundTrip(r)
}

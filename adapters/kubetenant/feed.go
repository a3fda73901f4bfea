package kubetenant

import (
	"context"
	"math/rand/v2"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// feed follows a kind of object by list and watch, like client-go's reflector,
// but ends when the API server is gone: whether and when to try again is for
// the caller, who has to tell people meanwhile.
//
// It never continues a broken watch; it lists again. That costs one list more
// and saves every question about expired versions, and lists again anyway from
// time to time heal what a watch may have missed.
type feed[T runtime.Object] struct {
	t     *cluster
	what  string // for errors
	list  func(context.Context) (items []T, version string, err error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)

	listed func(context.Context, []T) error
	saw    func(context.Context, T) error
	gone   func(context.Context, T) error
}

// relistTimeout bounds the list after a broken watch: with the pings that
// notice the break it stays under the 15 seconds of tenant.Health.
const relistTimeout = 6 * time.Second

// shortest keeps an API server that ends every watch at once from being asked
// without pause.
const shortest = time.Second

// refresh hands a full list to listed and returns the version to watch from.
func (f *feed[T]) refresh(ctx context.Context, within time.Duration) (version string, err error) {
	var items []T
	err = f.t.call(ctx, "list "+f.what, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		items, version, err = f.list(ctx)
		return err
	})
	if err != nil {
		return "", err
	}
	return version, f.listed(ctx, items)
}

// follow hands on every change after version, until ctx ends, the API server
// stops answering, or one of the handlers fails.
func (f *feed[T]) follow(ctx context.Context, version string) error {
	for {
		began := time.Now()
		if err := f.stream(ctx, version); err != nil {
			return err
		}
		var err error
		if version, err = f.refresh(ctx, relistTimeout); err != nil {
			return err
		}
		if time.Since(began) < shortest {
			pause(ctx, jittered(shortest))
		}
	}
}

// stream is one watch. It ends without an error when it is time to list again,
// for whatever reason.
func (f *feed[T]) stream(ctx context.Context, version string) error {
	due := jittered(f.t.config.Resync)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seconds := int64(due.Seconds()) + 1
	w, err := f.watch(quiet(ctx), metav1.ListOptions{ResourceVersion: version, TimeoutSeconds: &seconds})
	if err != nil {
		// A version that is too old is no failure, and the list that follows says
		// what is, but for an end of ctx.
		return ctx.Err()
	}
	defer w.Stop()
	// The server ends the watch in time; this is for one that forgets to.
	late := time.NewTimer(due + 10*time.Second)
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return nil
		case e, ok := <-w.ResultChan():
			if !ok || e.Type == watch.Error {
				return ctx.Err()
			}
			if err := f.handle(ctx, e); err != nil {
				return err
			}
		}
	}
}

func (f *feed[T]) handle(ctx context.Context, e watch.Event) error {
	item, ok := e.Object.(T)
	if !ok {
		return nil
	}
	if e.Type == watch.Deleted {
		return f.gone(ctx, item)
	}
	if e.Type == watch.Added || e.Type == watch.Modified {
		return f.saw(ctx, item)
	}
	return nil
}

// jittered keeps a thousand tenants from being asked in the same moment.
func jittered(d time.Duration) time.Duration {
	return d + time.Duration(rand.Int64N(int64(d)/5+1)) //nolint:gosec // spreads load; nothing secret about it
}

// pause reports whether ctx lasted.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

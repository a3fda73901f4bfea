package kubetenant

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	most  int    // objects of a list that are taken in
	list  func(context.Context, metav1.ListOptions) (items []T, about metav1.ListMeta, err error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)

	begin  func() // of a list, and again when it has to be begun anew
	listed func(context.Context, T) error
	whole  func(ctx context.Context, all bool) error // the list is in; not all of it when there is too much
	saw    func(context.Context, T) error
	gone   func(context.Context, T) error
	sooner func() bool // to list again earlier than Resync; nil: never
}

// relistTimeout bounds the list after a broken watch: with the pings that
// notice the break it stays under the 15 seconds of tenant.Health.
const relistTimeout = 6 * time.Second

// shortest keeps an API server that ends every watch at once from being asked
// without pause.
const shortest = time.Second

// longest is between two lists of one that does so over and over, and between
// two looks whether there is room for what there was none for.
const longest = 30 * time.Second

// refresh hands on a full list, page by page, and returns the version to watch
// from.
func (f *feed[T]) refresh(ctx context.Context, within time.Duration) (version string, err error) {
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, f.t.config.ListTimeout)
	defer cancel()
	f.begin()
	o := metav1.ListOptions{Limit: int64(f.t.config.PageSize)}
	for pages, taken := 0, 0; ; pages++ {
		if pages > 4*f.most {
			return "", explain(outer, "list "+f.what, errEndless)
		}
		items, about, err := f.page(ctx, within, o)
		switch {
		case errors.Is(err, errTooLarge) && o.Limit > 1:
			o.Limit = max(1, o.Limit/8)
			continue
		case apierrors.IsResourceExpired(err) && o.Continue != "": // the list took too long: from the start
			o.Continue, taken = "", 0
			f.begin()
			continue
		case err != nil:
			return "", err
		}
		for _, item := range items[:min(len(items), f.most-taken)] {
			if err := f.listed(ctx, item); err != nil {
				return "", err
			}
		}
		whole := about.Continue == "" && taken+len(items) <= f.most
		taken += min(len(items), f.most-taken)
		if about.Continue == "" || taken == f.most {
			return about.ResourceVersion, f.whole(ctx, whole)
		}
		o.Continue = about.Continue
	}
}

func (f *feed[T]) page(ctx context.Context, within time.Duration, o metav1.ListOptions) (items []T, about metav1.ListMeta, err error) {
	err = f.t.call(ctx, "list "+f.what, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		items, about, err = f.list(ctx, o)
		return err
	})
	return items, about, err
}

// follow hands on every change after version, until ctx ends, the API server
// stops answering, or one of the handlers fails.
func (f *feed[T]) follow(ctx context.Context, version string) error {
	wait := shortest
	for {
		began := time.Now()
		if err := f.stream(ctx, version); err != nil {
			return err
		}
		lasted := time.Since(began)
		var err error
		if version, err = f.refresh(ctx, relistTimeout); err != nil {
			return err
		}
		if lasted >= shortest {
			wait = shortest
			continue
		}
		pause(ctx, jittered(wait))
		wait = min(2*wait, longest)
	}
}

// stream is one watch. It ends without an error when it is time to list again,
// for whatever reason.
func (f *feed[T]) stream(outer context.Context, version string) error {
	due := jittered(f.t.config.Resync)
	ctx, cancel := context.WithCancel(outer)
	defer cancel()
	seconds := int64(due.Seconds()) + 1
	// A server may tell when to ask again, and client-go waits for that long.
	opening := time.AfterFunc(f.t.config.CallTimeout, cancel)
	w, err := f.watch(quiet(ctx), metav1.ListOptions{ResourceVersion: version, TimeoutSeconds: &seconds})
	if err != nil {
		// A version that is too old is no failure, and the list that follows says
		// what is, but for an end of ctx.
		return outer.Err()
	}
	defer w.Stop()
	if !opening.Stop() {
		return outer.Err()
	}
	// The server ends the watch in time; this is for one that forgets to.
	late := time.NewTimer(due + 10*time.Second)
	defer late.Stop()
	crowded := time.NewTicker(longest)
	defer crowded.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return nil
		case <-crowded.C:
			if f.sooner != nil && f.sooner() {
				return nil
			}
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

package kubetenant

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// TestFeedPausesBetweenSlowLists: how long a list takes says nothing of how
// long the watch before it lasted.
func TestFeedPausesBetweenSlowLists(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const slow = 2 * time.Second
		lists := 0
		f := &feed[*corev1.Node]{
			t: &cluster{config: Config{}.withDefaults()}, what: "nodes", most: 10,
			list: func(context.Context, metav1.ListOptions) ([]*corev1.Node, metav1.ListMeta, error) {
				lists++
				time.Sleep(slow)
				return nil, metav1.ListMeta{ResourceVersion: "1"}, nil
			},
			watch: func(context.Context, metav1.ListOptions) (watch.Interface, error) {
				w := watch.NewFake()
				w.Stop() // it has ended already
				return w, nil
			},
			begin: func() {},
			whole: func(context.Context, bool) error { return nil },
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := f.follow(ctx, "1"); err == nil {
			t.Error("it ended without an error")
		}
		if lists > 30 {
			t.Errorf("%d lists of %v in ten minutes", lists, slow)
		}
	})
}

package notifications_test

import (
	"context"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/ports/notify"
)

// TestHowDeliveriesEndIsObserved by channel, each once.
func TestHowDeliveriesEndIsObserved(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var mu sync.Mutex
		var begun int
		ended := map[string]int{}
		w.observe.Begun = func(channel string) func(notifications.Outcome) {
			mu.Lock()
			defer mu.Unlock()
			begun++
			return func(o notifications.Outcome) {
				mu.Lock()
				defer mu.Unlock()
				ended[channel+" "+string(o)]++
			}
		}
		tries := 0
		w.out.fails(func(ctx context.Context, _ string, m notify.Message) error {
			switch tries++; tries {
			case 1:
				return notify.Passing("The mail server", "busy", 0)
			case 2:
				return nil
			case 3:
				return notify.Refused("The mail server", "no such user")
			}
			<-ctx.Done()
			return ctx.Err()
		})
		stop := w.run("a")
		w.welcome("passes")
		pass(time.Minute)
		w.welcome("refused")
		pass(time.Second)
		w.welcome("hangs")
		pass(time.Second)
		stop()
		w.out.fails(nil)
		c := w.cluster()
		w.change(c.ID, lose)
		w.change(c.ID, reach) // before anybody has heard of it
		stop = w.run("b")
		pass(10 * time.Minute)
		stop()
		want := map[string]int{"email retried": 1, "email delivered": 2, "email dead": 1, "email interrupted": 1, "email dropped": 1}
		if !reflect.DeepEqual(ended, want) || begun != 6 {
			t.Errorf("%d began, and ended %v; want %v", begun, ended, want)
		}
	})
}

package app_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/fx"

	"github.com/kubebyon/kubebyon/app"
)

// What had started when the time for the start was over is stopped, with time of
// its own to do so.
func TestAStartThatComesTooLateLeavesNothingOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, startsTooLate)
}

func startsTooLate(t *testing.T) {
	var stopped []error
	p, err := app.New(app.Config{StartTimeout: 50 * time.Millisecond}, inMemory(t), fx.Invoke(func(lc fx.Lifecycle) {
		lc.Append(fx.Hook{OnStart: func(context.Context) error { return nil }, OnStop: func(ctx context.Context) error {
			stopped = append(stopped, ctx.Err())
			return nil
		}})
		lc.Append(fx.Hook{OnStart: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}})
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the start ended with %v", err)
	}
	synctest.Wait() // whoever is still stopping it does not get help
	stop(t, p)
	if len(stopped) != 1 || stopped[0] != nil {
		t.Errorf("what had started was stopped %d times, in contexts that had ended with %v", len(stopped), stopped)
	}
}

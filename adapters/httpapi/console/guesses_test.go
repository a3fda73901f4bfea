package console

import (
	"context"
	"errors"
	"testing"
)

func TestWhoeverHasGoneWaitsForNoTurn(t *testing.T) {
	t.Parallel()
	g := newGuesses()
	unlock, err := g.lock(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	waiting := make(chan error)
	go func() {
		_, err := g.lock(gone, "ann")
		waiting <- err
	}()
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("it waited on: %v", err)
	}
	unlock()
	if unlock, err = g.lock(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	unlock()
}

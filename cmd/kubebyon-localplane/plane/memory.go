package plane

import (
	"context"
	"os"
	"runtime/debug"
	"time"
)

// While a tenant starts it builds what stays, and as much again that does not: collecting rarely
// saves a fifth of the processor time. Afterwards it is one of many on its machine.
const (
	startingGCPercent = 400
	settledGCPercent  = 100

	// settleAfter lets the controllers finish their first round.
	settleAfter = 3 * time.Second
)

// collectRarely holds until settle; whoever sets GOGC knows better than both.
func collectRarely() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(startingGCPercent)
	}
}

// settle gives the memory of the start back to the machine.
func settle(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(settleAfter):
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(settledGCPercent)
	}
	debug.FreeOSMemory()
}

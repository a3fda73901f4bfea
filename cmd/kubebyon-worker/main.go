// Kubebyon-worker will run cluster jobs that a message broker hands out. There
// is no broker backend yet: kubebyon dev runs its jobs itself, and this program
// only tells its version.
package main

import (
	"fmt"
	"os"
	"runtime"
)

// Set by the linker; see the Makefile.
var (
	version = "dev"
	commit  = "unknown"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Printf("kubebyon-worker %s (commit %s, %s)\n", version, commit, runtime.Version())
		return
	}
	fmt.Fprintln(os.Stderr, "kubebyon-worker: this release has no message broker to take jobs from; kubebyon dev runs its jobs itself")
	os.Exit(1)
}

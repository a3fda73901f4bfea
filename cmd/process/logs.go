package process

import (
	"log/slog"
	"os"

	"k8s.io/klog/v2"

	"github.com/kubebyon/kubebyon/cmd/settings"
)

// Logger is the program's log, into which also goes what libraries write that
// were given none: those of the standard library's kind and Kubernetes'.
func Logger(l *settings.Log) *slog.Logger {
	log := l.Logger(os.Stderr)
	others := log.With("part", "library")
	slog.SetDefault(others)
	klog.SetSlogLogger(others)
	return log
}

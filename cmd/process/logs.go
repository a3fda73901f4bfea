package process

import (
	"log/slog"
	"os"

	"k8s.io/klog/v2"

	"github.com/kubebyon/kubebyon/app/telemetry"
	"github.com/kubebyon/kubebyon/cmd/settings"
)

// Logger is the program's log, into which also goes what libraries write that
// were given none: those of the standard library's kind and Kubernetes'. A line
// that belongs to a trace says so.
func Logger(l *settings.Log) *slog.Logger {
	log := slog.New(telemetry.Log(l.Logger(os.Stderr).Handler()))
	others := log.With("part", "library")
	slog.SetDefault(others)
	klog.SetSlogLogger(others)
	return log
}

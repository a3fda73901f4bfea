// Package logfile sends what the Kubernetes components, etcd and gRPC log to one file of bounded
// size, so that standard output carries progress only and standard error stays quiet.
//
// From verbosity 6 on Kubernetes logs requests, from 8 on their bodies, and with them secrets:
// MaxLevel keeps clear of both.
package logfile

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"gopkg.in/natefinch/lumberjack.v2"
	"k8s.io/klog/v2"
)

// MaxLevel is the highest verbosity that writes nothing secret.
const MaxLevel = 5

const (
	megabytes = 2
	backups   = 2
)

// Log is an open log file.
type Log struct {
	file   *lumberjack.Logger
	stderr *stderr
}

// Open starts logging to path at a verbosity from 0 to MaxLevel. The stack of a crash goes
// beside it, to crash.log.
func Open(path string, level int) (*Log, error) {
	if level < 0 || level > MaxLevel {
		return nil, fmt.Errorf("log level %d is not within 0 and %d", level, MaxLevel)
	}
	if err := keepCrash(filepath.Join(filepath.Dir(path), "crash.log")); err != nil {
		return nil, err
	}
	l := &Log{file: &lumberjack.Logger{Filename: path, MaxSize: megabytes, MaxBackups: backups}}
	if err := sendKlog(l.file, level); err != nil {
		return nil, err
	}
	var err error
	if l.stderr, err = captureStderr(l.file); err != nil {
		return nil, err
	}
	return l, nil
}

// Close flushes what is buffered and closes the file.
func (l *Log) Close() error {
	klog.Flush()
	return errors.Join(l.stderr.release(), l.file.Close())
}

// Zap is a logger for etcd into the same file. When etcd gives up it does so from deep inside,
// with a fatal or panicking log line: dying is called with that line instead.
func (l *Log) Zap(level zapcore.Level, dying func(line string)) *zap.Logger {
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.ISO8601TimeEncoder
	core := zapcore.NewCore(zapcore.NewConsoleEncoder(encoder), zapcore.AddSync(l.file), level)
	end := lastLine(dying)
	return zap.New(core, zap.WithFatalHook(end), zap.WithPanicHook(end)).Named("etcd")
}

type lastLine func(line string)

func (f lastLine) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	line := []string{entry.Message}
	for _, field := range fields {
		if err, ok := field.Interface.(error); ok && field.Type == zapcore.ErrorType {
			line = append(line, err.Error())
		}
	}
	f(strings.Join(line, ": "))
}

func sendKlog(w io.Writer, level int) error {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{
		"v": strconv.Itoa(level), "logtostderr": "false", "alsologtostderr": "false",
		"stderrthreshold": "FATAL", "one_output": "true",
	} {
		if err := flags.Set(name, value); err != nil {
			return fmt.Errorf("set the log's %s: %w", name, err)
		}
	}
	klog.SetOutput(w)
	return nil
}

func keepCrash(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the crash log: %w", err)
	}
	defer f.Close() //nolint:errcheck // the runtime keeps a copy of it
	if err := debug.SetCrashOutput(f, debug.CrashOptions{}); err != nil {
		return fmt.Errorf("keep the crash log: %w", err)
	}
	return nil
}

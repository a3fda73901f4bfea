// Package dev is the set of backends with which one machine is enough: SQLite,
// messages inside the process, and real control planes as child processes.
// Importing it links all of them.
package dev

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"go.uber.org/fx"

	"github.com/kubebyon/kubebyon/adapters/argonpass"
	"github.com/kubebyon/kubebyon/adapters/bunstore"
	"github.com/kubebyon/kubebyon/adapters/gobus"
	"github.com/kubebyon/kubebyon/adapters/kubetenant"
	"github.com/kubebyon/kubebyon/adapters/planeprovision"
	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/app/keys"
	"github.com/kubebyon/kubebyon/app/outside"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/passwords"
)

// Config says where everything is kept.
type Config struct {
	DataDir     string      // made if it is not there, mode 0700
	DatabaseURL string      // empty: SQLite in DataDir
	SecretKey   secret.Text // empty: a key file in DataDir, made if it is not there
	Localplane  string      // the kubebyon-localplane binary
	PlaneBind   string      // the address that control planes listen on; empty: 127.0.0.1
	PlaneHost   string      // where clients and machines find them; empty: 127.0.0.1
	Log         *slog.Logger
	Now         func() time.Time
}

// DatabaseURL is where the state of a data folder is.
func DatabaseURL(dataDir string) string { return "sqlite:" + filepath.Join(dataDir, "kubebyon.db") }

// PasswordFile is where the first administrator's password is written.
func PasswordFile(dataDir string) string { return filepath.Join(dataDir, "initial-admin-password") }

// Prepare makes the data folder and takes it for this process until it ends:
// two servers on one folder would start every control plane twice.
func Prepare(dataDir string) (release func() error, err error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dataDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the data folder: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another kubebyon is running on the data folder %s; stop it or name another folder with --data-dir", dataDir), lock.Close())
	}
	return lock.Close, nil
}

// Modules backs every port.
func Modules(c Config) (fx.Option, error) {
	master, err := loadKey(c)
	if err != nil {
		return nil, err
	}
	hasher, err := argonpass.New(runtime.GOMAXPROCS(0) - 1) // passwords may keep all cores busy but one
	if err != nil {
		return nil, err
	}
	others, err := outside.Modules(outside.Config{Now: c.Now, OnThisMachine: true, Log: c.Log.With("part", "tenant")})
	if err != nil {
		return nil, err
	}
	url := c.DatabaseURL
	if url == "" {
		url = DatabaseURL(c.DataDir)
	}
	return fx.Options(
		fx.Supply(bunstore.Config{URL: url, Log: c.Log.With("part", "store"), Sole: true}), bunstore.Module,
		fx.Supply(planeprovision.Config{
			Dir: filepath.Join(c.DataDir, "planes"), Binary: c.Localplane, Bind: c.PlaneBind, Host: c.PlaneHost, Log: c.Log.With("part", "planes"), Now: c.Now,
		}), planeprovision.Module,
		kubetenant.Module(kubetenant.Config{Log: c.Log.With("part", "tenant"), Now: c.Now}),
		gobus.Module,
		keys.Module(master, c.Log), others,
		app.Use[passwords.Hasher](hasher),
	), nil
}

func loadKey(c Config) (keys.Master, error) {
	if !c.SecretKey.IsZero() {
		return keys.FromText(keys.Variable, c.SecretKey)
	}
	return keys.FromFile(strings.TrimPrefix(DatabaseURL(c.DataDir), "sqlite:"), c.Log)
}

package storetest

import (
	"context"
	"fmt"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/store"
)

func settingSubject() subject[store.Setting] {
	return subject[store.Setting]{
		name:   "Setting",
		sample: func(w *world) store.Setting { return w.newSetting(fmt.Sprint("section ", w.number())) },
		insert: func(ctx context.Context, tx store.Tx, s store.Setting) error {
			s.Version = 0
			return tx.Settings().Put(ctx, &s)
		},
		get: func(ctx context.Context, tx store.Tx, s store.Setting) (store.Setting, error) {
			return settingNamed(ctx, tx, s.Name)
		},
		update: func(ctx context.Context, tx store.Tx, s store.Setting) error { return tx.Settings().Put(ctx, &s) },
		sets:   []string{"Version"},
		keeps:  []string{"Name"},
	}
}

func settingNamed(ctx context.Context, tx store.Tx, name string) (store.Setting, error) {
	all, err := tx.Settings().All(ctx)
	for _, s := range all {
		if s.Name == name {
			return s, err
		}
	}
	if err == nil {
		err = fault.NotFound.New("setting_not_found", "It is not there.")
	}
	return store.Setting{}, err
}

func (w *world) newSetting(name string) store.Setting {
	s := finish(w, store.Setting{Name: name}, nil)
	s.Version = 0
	return s
}

func (w *world) setting(name string) store.Setting {
	w.Helper()
	s := w.newSetting(name)
	w.must(w.putSetting(&s))
	return s
}

func (w *world) putSetting(s *store.Setting) error {
	return w.try(func(ctx context.Context, tx store.Tx) error { return tx.Settings().Put(ctx, s) })
}

var settings = checks{
	"SettingsAreAllRead": func(w *world) {
		w.read(func(ctx context.Context, tx store.Tx) error {
			none, err := tx.Settings().All(ctx)
			is(w, "settings of nobody", len(none), 0)
			return err
		})
		want := map[string]store.Setting{"smtp": w.setting("smtp"), "hcaptcha": w.setting("hcaptcha"), "oauth": w.setting("oauth")}
		w.read(func(ctx context.Context, tx store.Tx) error {
			all, err := tx.Settings().All(ctx)
			var names []string
			for _, s := range all {
				names = append(names, s.Name)
				same(w, s, want[s.Name])
			}
			is(w, "names", fmt.Sprint(names), "[hcaptcha oauth smtp]")
			return err
		})
	},
	"SettingStaleVersionIsConflict": func(w *world) {
		first := w.setting("smtp")
		is(w, "Version", first.Version, 1)
		second, none, ahead := first, w.newSetting("smtp"), first
		first.Value = []byte("first")
		w.must(w.putSetting(&first))
		is(w, "Version", first.Version, 2)
		ahead.Version = 3
		for _, s := range []*store.Setting{&second, &none, &ahead} {
			version := s.Version
			w.stale(w.putSetting(s))
			is(w, "Version after a refusal", s.Version, version)
		}
		fresh := w.newSetting("hcaptcha")
		fresh.Version = 1
		w.stale(w.putSetting(&fresh)) // it was never written
		w.read(func(ctx context.Context, tx store.Tx) error {
			got, err := settingNamed(ctx, tx, "smtp")
			same(w, got, first)
			return err
		})
	},
	"SettingIsWrittenOnceAtOnce": func(w *world) {
		for _, version := range []int64{0, 1} {
			w.oneWins(atOnce(8, func(int) error {
				s := w.newSetting("smtp")
				s.Version = version
				return w.putSetting(&s)
			}), "stale_version")
		}
	},
}

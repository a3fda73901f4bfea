package keys

import (
	"bytes"
	"context"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/store"
)

// TestSettingsAreSealedAnew with a new data key, but for those whose key has gone
// already; nothing else of them changes.
func TestSettingsAreSealedAnew(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s store.Store) {
		t.Helper()
		k := started(t, s, 1)
		lost, err := keyseal.New([32]byte{9}).Seal(t.Context(), "settings/lost", []byte("lost"))
		if err != nil {
			t.Fatal(err)
		}
		smtp, err := k.Seal(t.Context(), "settings/smtp", []byte("secret"))
		if err != nil {
			t.Fatal(err)
		}
		putSettings(t, s, store.Setting{Name: "general", Value: []byte("{}")},
			store.Setting{Name: "lost", Value: []byte("{}"), Sealed: lost}, store.Setting{Name: "smtp", Value: []byte("{1}"), Sealed: smtp})
		for range 2 {
			before := settingsOf(t, s)
			if out, err := process(s, 1).Rotate(t.Context()); err != nil || out.Anew != 1 {
				t.Fatalf("%+v, %v", out, err)
			}
			after := settingsOf(t, s)
			for _, name := range []string{"general", "lost"} {
				if !bytes.Equal(after[name].Sealed, before[name].Sealed) || after[name].Version != before[name].Version {
					t.Errorf("%s was written", name)
				}
			}
			now := after["smtp"]
			plain, err := k.Open(t.Context(), "settings/smtp", now.Sealed)
			if err != nil || string(plain) != "secret" || string(now.Value) != "{1}" || now.Version != before["smtp"].Version+1 {
				t.Errorf("%q, %v, %q, version %d", plain, err, now.Value, now.Version)
			}
			if r, err := k.ring(); err != nil || !r.IsNewest(now.Sealed) || bytes.Equal(now.Sealed, before["smtp"].Sealed) {
				t.Error("it is not sealed with the new key", err)
			}
		}
	})
}

// TestSettingsThatAreWrittenMeanwhileAreSealedAnewToo, unless somebody never
// stops.
func TestSettingsThatAreWrittenMeanwhileAreSealedAnewToo(t *testing.T) {
	t.Parallel()
	for times, want := range map[int]string{2: "", settingsTries: "stale_version"} {
		s := migrated(t, "sqlite:"+t.TempDir()+"/kubebyon.db")
		k := started(t, s, 1)
		smtp, err := k.Seal(t.Context(), "settings/smtp", []byte("secret"))
		if err != nil {
			t.Fatal(err)
		}
		putSettings(t, s, store.Setting{Name: "smtp", Value: []byte("{}"), Sealed: smtp})
		if _, err := process(s, 1).Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		older := settingsOf(t, s)["smtp"]
		older.Sealed = smtp // by a process that has not learned of the new key
		putSettings(t, s, older)
		busy := &interrupted{Store: s, times: times}
		_, err = process(busy, 1).settingsAnewOf(t)
		if got := codeOf(err); got != want {
			t.Errorf("written %d times meanwhile: %v", times, err)
		}
	}
}

func codeOf(err error) string {
	if err == nil {
		return ""
	}
	return fault.CodeOf(err)
}

func (k *Keyring) settingsAnewOf(t *testing.T) (int, error) {
	t.Helper()
	if err := k.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return k.settingsAnew(t.Context())
}

// interrupted is a store of which another process is always a step ahead.
type interrupted struct {
	store.Store
	times int
}

func (i *interrupted) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	return i.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return do(ctx, interruptedTx{tx, i}) })
}

type interruptedTx struct {
	store.Tx
	by *interrupted
}

func (t interruptedTx) Settings() store.Settings { return interruptedSettings{t.Tx.Settings(), t.by} }

type interruptedSettings struct {
	store.Settings
	by *interrupted
}

func (s interruptedSettings) Put(ctx context.Context, rec *store.Setting) error {
	if s.by.times > 0 {
		s.by.times--
		return fault.Conflict.New("stale_version", "Somebody else wrote it.")
	}
	return s.Settings.Put(ctx, rec)
}

func putSettings(t *testing.T, s store.Store, all ...store.Setting) {
	t.Helper()
	err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		for _, one := range all {
			if err := tx.Settings().Put(ctx, &one); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func settingsOf(t *testing.T, s store.Store) map[string]store.Setting {
	t.Helper()
	out := map[string]store.Setting{}
	err := s.View(t.Context(), func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Settings().All(ctx)
		for _, one := range all {
			out[one.Name] = one
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

package argonpass

import (
	"strings"
	"testing"

	"github.com/alexedwards/argon2id"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// FuzzHash: a stored hash, however damaged, costs no more than a bounded one,
// and matches nothing but its own password.
func FuzzHash(f *testing.F) {
	small := argon2id.Params{Memory: 8, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}
	hash, err := argon2id.CreateHash("right", &small)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{
		hash, "", "$", "$argon2id$v=19$m=1,t=1,p=1$$", strings.Replace(hash, "m=8", "m=4294967295", 1), strings.Replace(hash, "t=1", "t=4294967295", 1),
		strings.Replace(hash, "t=1", "t=0", 1), strings.Replace(hash, "p=1", "p=0", 1), strings.Replace(hash, "p=1", "p=255", 1), strings.Replace(hash, "v=19", "v=16", 1), strings.Replace(hash, "argon2id", "argon2i", 1),
	} {
		f.Add(s, "right")
		f.Add(s, "wrong")
	}
	h, err := newWith(small, 4)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text, password string) {
		if p, salt, _, err := argon2id.DecodeHash(text); err == nil && bounded(p, salt) && (p.Memory > 4096 || p.Iterations > 4) {
			t.Skip("it takes long, as it may")
		}
		ok, _, err := h.Matches(t.Context(), text, secret.New(password))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if ok && password != "right" && strings.Contains(text, hash[strings.LastIndex(hash, "$"):]) {
			t.Errorf("%q matches %q", password, text)
		}
	})
}

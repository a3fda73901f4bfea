package main_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/proto/aes_gcm_go_proto"
	"github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"google.golang.org/protobuf/proto"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// rotateKeys replaces the data key on each database, and the master key of the
// data folder; it remembers all that there are then.
func (r *leakRun) rotateKeys() {
	r.t.Helper()
	if _, err := r.command("", "rotate-key"); err != nil {
		r.t.Fatal(err)
	}
	if r.name == "sqlite" {
		write(r.t, r.in("person", "next.key"), newKey())
		if _, err := r.command("", "rotate-key", "--new-key-file", r.in("person", "next.key")); err != nil {
			r.t.Fatal(err)
		}
	}
	r.keepDataKeys(r.masterKey())
}

// masterKey is the one that the server has by now, as text.
func (r *leakRun) masterKey() string {
	r.t.Helper()
	for _, line := range r.settings {
		if key, ok := strings.CutPrefix(line, "KUBEBYON_SECRET_KEY="); ok {
			return key
		}
	}
	text, err := os.ReadFile(r.in("data", "secret.key"))
	if err != nil {
		r.t.Fatal(err)
	}
	key := strings.TrimSpace(string(text))
	r.ledger.keepServerKey(r.t, key)
	return key
}

// keepDataKeys looks into the ring, which only the master key opens.
func (r *leakRun) keepDataKeys(master string) {
	r.t.Helper()
	key, err := keyseal.FromText(secret.New(master))
	if err != nil {
		r.t.Fatal(err)
	}
	plain, err := key.Open(r.t.Context(), "key-ring", r.database.ring(r.t))
	if err != nil {
		r.t.Fatal(err)
	}
	var ring struct{ Root, Keys []byte }
	var keys tink_go_proto.Keyset
	if err := json.Unmarshal(plain, &ring); err != nil {
		r.t.Fatal(err)
	}
	if err := proto.Unmarshal(ring.Keys, &keys); err != nil || len(keys.GetKey()) != 2 || len(ring.Root) != 32 {
		r.t.Fatalf("the ring has %d data keys: %v", len(keys.GetKey()), err)
	}
	r.ledger.keepBytes(serverKey, ring.Root)
	for _, k := range keys.GetKey() {
		var one aes_gcm_go_proto.AesGcmKey
		if err := proto.Unmarshal(k.GetKeyData().GetValue(), &one); err != nil || len(one.GetKeyValue()) != 32 {
			r.t.Fatalf("a data key has %d bytes: %v", len(one.GetKeyValue()), err)
		}
		r.ledger.keepBytes(dataKey, one.GetKeyValue())
	}
}

// ring is the data keys of the installation, as they are kept.
func (d database) ring(t *testing.T) []byte {
	t.Helper()
	read := "SELECT lower(hex(value)) FROM facts WHERE name = 'key-ring'"
	if d.postgres {
		read = "SELECT encode(value, 'hex') FROM facts WHERE name = 'key-ring'"
	}
	wrapped, err := hex.DecodeString(strings.Join(d.texts(t, read), ""))
	if err != nil {
		t.Fatal(err)
	}
	return wrapped
}

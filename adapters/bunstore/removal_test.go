package bunstore

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// refer are the tables whose rows outlive the account that they name.
var refer = []string{"users", "clusters", "operations", "tokens", "nodes", "node_events", "audit_events", "search_texts"} //nolint:gochecknoglobals // a constant

// TestARemovedPersonIsInNoTable but as an identifier. It looks through all tables
// that there are, so that one which is forgotten shows.
func TestARemovedPersonIsInNoTable(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB) *Store{"SQLite": openSQLite, "Postgres": openPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			r := newRecords()
			ann := r.Users[0].ID
			r.mark(ann, "mark5ann")
			r.keep(t, s)
			before := found(t, s, "mark5ann")
			for _, table := range []string{"users", "sessions", "api_keys", "codes", "sso_identities", "sign_ins", "avatars", "preferences", "deliveries", "replies"} {
				if before[table] == 0 {
					t.Errorf("%s has nothing in it that could be forgotten", table)
				}
			}
			err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error { return tx.Users().Remove(ctx, ann, keptAt) })
			if err != nil {
				t.Fatal(err)
			}
			if left := found(t, s, "mark5ann"); len(left) > 0 {
				t.Errorf("rows that still tell who it was: %v", left)
			}
			for table, n := range found(t, s, ann.String()) {
				if !slices.Contains(refer, table) {
					t.Errorf("%s has %d rows of the account", table, n)
				}
			}
			t.Logf("was in %v", before)
		})
	}
}

// found tells how many rows of each table hold a text, also as bytes.
func found(t testing.TB, s *Store, text string) map[string]int {
	t.Helper()
	out := map[string]int{}
	for table, rows := range rowsOf(t, s, nil) {
		for _, row := range rows.text {
			if strings.Contains(row, text) || strings.Contains(row, hex.EncodeToString([]byte(text))) {
				out[table]++
			}
		}
	}
	return out
}

// mark puts a text into one record of each kind that is an account's own.
func (r *keptRecords) mark(u id.User, mark string) {
	r.Users[0].Email, r.Users[0].Name, r.Users[0].AvatarURL, r.Users[0].PasswordHash = mark+"@example.com", mark, mark, mark
	r.Sessions[0].UserAgent = mark
	r.APIKeys[0].Name = mark
	r.Codes[0].Address = mark + "@example.com"
	r.Identities[0].Provider = mark
	r.SignIns[0].UserAgent = mark
	r.Avatars[0].Body = []byte(mark)
	r.Preferences[0].UserID, r.Preferences[0].SlackTarget = u, mark
	r.Deliveries[0].Target, r.Deliveries[0].Sealed = mark, []byte(mark)
	r.Replies[0].Sealed = []byte(mark)
}

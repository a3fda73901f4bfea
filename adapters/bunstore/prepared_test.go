package bunstore

import (
	"context"
	"fmt"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// What every request reads is prepared once for each connection, unless the
// database's address says how statements shall be run: some poolers cannot
// take prepared ones.
func TestWhatIsReadOftenIsPreparedUnlessToldOtherwise(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]int{"": 1, "&default_query_exec_mode=exec": 0} {
		s := open(t, inSchema(postgresURL(t), schemas.take(t))+mode)
		s.reader.SetMaxOpenConns(1) // so that all asks the same server process
		for i := range 3 {
			err := s.View(t.Context(), func(ctx context.Context, tx store.Tx) error {
				_, _, err := tx.Sessions().ByTokenHash(ctx, fmt.Appendf(nil, "%d", i))
				return err
			})
			if fault.CodeOf(err) != "session_not_found" {
				t.Errorf("%q: %v", mode, err)
			}
		}
		err := s.View(t.Context(), func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Clusters().Get(ctx, store.OwnedBy(id.User{}), id.Cluster{})
			return err
		})
		if fault.CodeOf(err) != "cluster_not_found" {
			t.Errorf("%q: %v", mode, err)
		}
		for table, of := range map[string]string{"sessions": "token_hash", "clusters": "owner_user_id"} {
			var n int
			err := s.reader.NewRaw("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE ?", `%"`+table+`"%`+of+" = $%").Scan(t.Context(), &n)
			if err != nil || n != want {
				t.Errorf("%q: %d prepared statements read %s, want %d: %v", mode, n, table, want, err)
			}
		}
	}
}

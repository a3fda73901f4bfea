package keys

import (
	"context"
	"slices"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

// TestReplacedKeysAreInTheAuditStream, once each, by their names.
func TestReplacedKeysAreInTheAuditStream(t *testing.T) {
	t.Parallel()
	s := memstore.New()
	data, err := process(s, 1).Rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to change
		if _, err := process(s, 1).ChangeMaster(t.Context(), master(3)); err != nil {
			break // the first key is none any more
		}
	}
	var got []string
	err = s.View(t.Context(), func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Audit().List(ctx, store.AuditFilter{}, page.Query{})
		for _, e := range all.Items {
			if e.ActorType != "system" || !e.Security || e.Result != "success" {
				t.Errorf("%+v", e)
			}
			got = append(got, e.ResourceType+"/"+e.Action+" "+e.ResourceID)
		}
		return err
	})
	want := []string{"encryption_key/rotate_master_key " + master(3).ID(), "encryption_key/rotate_data_key " + data.Key}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

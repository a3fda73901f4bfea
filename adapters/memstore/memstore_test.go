package memstore_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, storetest.Harness{
		New:    func(*testing.T) store.Store { return memstore.New() },
		Serial: true,
		Why:    "one process has no use for more",
	})
}

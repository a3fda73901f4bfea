package keys

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if crashed() {
		return
	}
	goleak.VerifyTestMain(m)
}

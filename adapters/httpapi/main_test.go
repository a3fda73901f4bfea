package httpapi_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/oidcsso/oidcpeer"
)

func TestMain(m *testing.M) {
	oidcpeer.Main()
	goleak.VerifyTestMain(m)
}

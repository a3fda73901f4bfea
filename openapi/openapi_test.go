package openapi_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/kubebyon/kubebyon/app"
)

// The documents are checked in, so that a change of the API shows in review, and
// clients can be generated without running anything.
func TestDocumentsAreCurrent(t *testing.T) {
	t.Parallel()
	for file, of := range map[string]struct{ api, release string }{
		"console.yaml": {"console", "3.1"}, "console-3.0.yaml": {"console", "3.0"}, "kite.yaml": {"kite", "3.1"},
	} {
		want, err := app.Document(of.api, of.release, "yaml")
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is out of date (%v); run: make generate", file, err)
		}
	}
}

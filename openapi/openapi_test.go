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
	for release, file := range map[string]string{"3.1": "console.yaml", "3.0": "console-3.0.yaml"} {
		want, err := app.Document(release, "yaml")
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is out of date (%v); run: make generate", file, err)
		}
	}
}

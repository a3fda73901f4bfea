package operation

import (
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

// TestFieldRepeatsNothing: what huma says is passed on only where it is known to
// hold nothing of the request.
func TestFieldRepeatsNothing(t *testing.T) {
	t.Parallel()
	for message, kept := range map[string]bool{
		"expected string": true, "expected number <= 10000000": true, `expected value to be one of "nodeport, loadbalancer, ingress"`: true,
		"expected required property name to be present": true, "unexpected property": true, "is not valid JSON near byte 7": true,
		"expected string to be RFC 5322 email: mail: missing '@' in s3cr3t": false, "invalid character 's' looking for beginning of value": false,
		"strconv.ParseInt: parsing \"s3cr3t\": invalid syntax": false,
	} {
		f := field(&huma.ErrorDetail{Location: "body.name", Message: message, Value: "s3cr3t"})
		if (f.Message == message) != kept || strings.Contains(f.Message, "s3cr3t") || f.Location != "body.name" {
			t.Errorf("%q became %+v", message, f)
		}
	}
	odd := field(&huma.ErrorDetail{Location: "body.<script>\n" + strings.Repeat("x", 200), Message: "unexpected property"})
	if strings.ContainsAny(odd.Location, "<>\n") || len(odd.Location) > maxLocation+3 {
		t.Errorf("location %q", odd.Location)
	}
}

// TestFieldHidesWhatIsNoName: who pastes a secret where a name belongs does not
// get it back, but a slip of the keyboard is shown.
func TestFieldHidesWhatIsNoName(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"body.control_plane_memory_request_mibs": "body.control_plane_memory_request_mibs", "body.items[3].naem2": "body.items[3].naem2",
		"header.Idempotency-Key": "header.Idempotency-Key", "body.workloadCpuLimit": "body.?", "body.kbt_aaaaaaaaaaaaaaaaaaaaaaaa": "body.?",
		"body.AbCdEfGhIjKlMnOpQrStUvWx": "body.?", "body.correct horse battery": "body.?", "body.x[1].kbs_QUJDQUJDQUJD.y": "body.x[1].?.y",
	} {
		if got := field(&huma.ErrorDetail{Location: location, Message: "unexpected property"}).Location; got != want {
			t.Errorf("%q became %q, want %q", location, got, want)
		}
	}
}

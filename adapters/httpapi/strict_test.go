package httpapi_test

import "testing"

// What encoding/json would take and mend is refused: a name in another case, and
// bytes that are no UTF-8.
func TestBodiesAreTakenByTheLetter(t *testing.T) {
	t.Parallel()
	w, ada, _ := joinable(t, defaults)
	for name, body := range map[string]string{
		"case":       `{"NAME":"other"}`,
		"mixed case": `{"name":"other","Vcluster_Name":"other"}`,
		"no UTF-8":   "{\"name\":\"a\xff\xfeb\"}",
		"unknown":    `{"name":"other","nam":"x"}`,
		"no object":  `["name"]`,
	} {
		w.unchanged(func() {
			if got := ada.do("POST", "/api/console/clusters", body); got.Code != 400 {
				t.Errorf("%s: %d %s", name, got.Code, got.Body)
			}
		})
	}
}

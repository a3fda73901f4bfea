package helmprovision

import (
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// TestARealAPIServerWithoutTheMetricsAPI asks for metrics that no server of an
// extended API serves: a path beside the one that the host in a box has.
func TestARealAPIServerWithoutTheMetricsAPI(t *testing.T) {
	t.Parallel()
	c := hosted(t).config(t)
	h, err := openHost(c.KubeconfigPath, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	_, err = h.client.CoreV1().RESTClient().Get().AbsPath(strings.Replace(podMetrics, "v1beta1", "v0", 1)).DoRaw(t.Context())
	if err = unmeasured(err); fault.CodeOf(err) != "control_planes_not_measured" || !strings.Contains(err.Error(), "has no metrics API") {
		t.Errorf("got %v", err)
	}
	used, err := h.usage(t.Context())
	if err != nil {
		t.Errorf("with the metrics API: %v, %v", used, err)
	}
}

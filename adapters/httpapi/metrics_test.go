package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/ports/store"
)

func TestControlPlaneMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(userEmail)
	id := c.cluster("demo", false)
	path := "/api/console/clusters/" + id + "/control-plane-metrics/history"
	is := func(a answer, want string) {
		t.Helper()
		if got := strings.TrimSpace(a.want(http.StatusOK, "").Body.String()); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", a.what, got, want)
		}
	}
	empty := `{"samples":[],"step_seconds":60,"reason":null}`
	is(c.do("GET", path, nil), empty)

	now := w.clock.now().Truncate(15 * time.Minute)
	w.write(func(ctx context.Context, tx store.Tx) error {
		for age, cpu := range map[time.Duration]int64{0: 100, time.Minute: 201, 3 * time.Hour: 300, 20 * time.Hour: 400, 6 * 24 * time.Hour: 500} {
			_, err := tx.ControlPlaneSamples().Append(ctx, store.ControlPlaneSample{
				ClusterID: w.clusterID(id), At: now.Add(-age), Resolution: time.Minute, Measurements: 1, CPUMilli: cpu, MemoryMiB: 512, PodsReady: 1, PodsTotal: 2,
			})
			if err != nil {
				return err
			}
		}
		return tx.Facts().Set(ctx, "control-plane-metrics/reason", []byte("The host has no metrics API."))
	})
	sample := func(age time.Duration, cpu int) string {
		return fmt.Sprintf(`{"at":%q,"cpu_milli_cores":%d,"memory_mib":512,"pods_ready":1,"pods_total":2}`, now.Add(-age).Format("2006-01-02T15:04:05.000Z"), cpu)
	}
	newest := sample(time.Minute, 201) + "," + sample(0, 100)
	for _, ask := range []struct {
		query, samples string
		step           int
	}{
		{"", newest, 60},
		{"?window=1h", newest, 60},
		{"?window=6h", sample(3*time.Hour, 300) + "," + newest, 60},
		{"?window=24h", sample(20*time.Hour, 400) + "," + sample(3*time.Hour, 300) + "," + sample(5*time.Minute, 201) + "," + sample(0, 100), 300},
	} {
		want := fmt.Sprintf(`{"samples":[%s],"step_seconds":%d,"reason":"The host has no metrics API."}`, ask.samples, ask.step)
		is(c.do("GET", path+ask.query, nil), want)
	}
	for _, query := range []string{"?window=2h", "?window=1H", "?window=7D"} {
		c.do("GET", path+query, nil).want(http.StatusBadRequest, "validation_failed")
	}
	w.as(otherEmail).do("GET", path, nil).want(http.StatusNotFound, "cluster_not_found")
}

package console

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/metering"
)

// ControlPlaneSample is what a control plane used on average in a step.
type ControlPlaneSample struct {
	At            operation.Time `json:"at" doc:"When the step begins."`
	CPUMilliCores int64          `json:"cpu_milli_cores" example:"120"`
	MemoryMiB     int64          `json:"memory_mib" example:"512"`
	PodsReady     int64          `json:"pods_ready" example:"1"`
	PodsTotal     int64          `json:"pods_total" example:"1"`
}

// ControlPlaneMetrics is what a control plane used, oldest first.
type ControlPlaneMetrics struct {
	Samples     []ControlPlaneSample `json:"samples" nullable:"false" maxItems:"360" doc:"A step in which nothing was measured is left out."`
	StepSeconds int64                `json:"step_seconds" example:"60"`
	Reason      *string              `json:"reason" doc:"Why nothing is measured at the moment; null while it is." example:"The host has no metrics API."`
}

type metricsIn struct {
	ClusterRef
	Window string `query:"window" enum:"1h,6h,24h,7d" default:"1h" doc:"How far back." example:"6h"`
}

type metricsOut struct{ Body ControlPlaneMetrics }

func (h console) registerMetrics() {
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "getControlPlaneMetrics", Method: http.MethodGet, Path: "/api/console/clusters/{clusterID}/control-plane-metrics/history", Tags: []string{tagClusters},
		Summary: "See what a control plane used", Description: "Means of what was measured every minute. Where control planes cannot be measured, there are no samples, and the reason is stated.",
	}, []string{"validation_failed", "cluster_not_found"}, func(ctx context.Context, in *metricsIn) (*metricsOut, error) {
		i, err := in.id()
		if err != nil {
			return nil, err
		}
		past, err := h.Metering.History(ctx, i, metering.Window(in.Window))
		return &metricsOut{ControlPlaneMetrics{each(past.Samples, showSample), int64(past.Step.Seconds()), orNull(past.Reason)}}, err
	})
}

func showSample(s metering.Sample) ControlPlaneSample {
	return ControlPlaneSample{operation.At(s.At), s.CPUMilli, s.MemoryMiB, s.PodsReady, s.PodsTotal}
}

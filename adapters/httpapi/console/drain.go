package console

import (
	"context"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/nodes"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// DrainRequest says how to drain a node.
type DrainRequest struct {
	GracePeriodSeconds *int64 `json:"grace_period_seconds,omitempty" minimum:"0" maximum:"3600" doc:"How long pods may take to end. Left out: each pod's own." example:"30"`
	TimeoutSeconds     *int64 `json:"timeout_seconds,omitempty" minimum:"1" maximum:"900" doc:"For the whole drain. Left out: 120." example:"120"`
	DeleteEmptyDirData bool   `json:"delete_emptydir_data,omitempty" doc:"Evict pods with emptyDir volumes too; what is in them is lost." example:"false"`
	Force              bool   `json:"force,omitempty" doc:"Evict pods that no controller will make again." example:"false"`
	DryRun             bool   `json:"dry_run,omitempty" doc:"Change nothing; tell what would happen." example:"false"`
}

// Pod names a pod.
type Pod struct {
	Namespace string `json:"namespace" example:"default"`
	Name      string `json:"name" example:"web-7d4b9c8f6-x2x4z"`
}

// SkippedPod is a pod that a drain leaves alone.
type SkippedPod struct {
	Pod
	Reason string `json:"reason" example:"DaemonSet"`
}

// DrainReport says what a drain did.
type DrainReport struct {
	Node    Node         `json:"node"`
	Evicted []Pod        `json:"evicted" nullable:"false"`
	Skipped []SkippedPod `json:"skipped" nullable:"false"`
}

// DrainTimeoutProblem is a problem that also says how far the drain came.
type DrainTimeoutProblem struct {
	problem.Problem
	DrainReport
	Left []Pod `json:"left" nullable:"false" doc:"Still on the node."`
}

type drainIn struct {
	NodeRef
	Body *DrainRequest
}

type drainOut struct{ Body DrainReport }

func (h console) registerDrain() {
	schema := h.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[DrainTimeoutProblem](), true, "")
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "drainNode", Method: http.MethodPost, Path: "/api/console/nodes/{nodeID}/drain", Tags: []string{tagNodes},
		Summary: "Drain a node", Description: "Cordons the node and moves its pods elsewhere, honouring PodDisruptionBudgets. DaemonSet and mirror pods are left alone. The answer comes when all pods have gone, or the time has run out.",
		Responses: map[string]*huma.Response{"504": {
			Description: "Gateway Timeout",
			Content:     map[string]*huma.MediaType{problem.ContentType: {Schema: schema}},
		}},
		Middlewares: huma.Middlewares{patient},
	}, append([]string{"drain_blocked", "drain_timeout"}, tenantCodes...), h.drain)
}

// patient lets the answer come later than the server otherwise allows.
func patient(ctx huma.Context, next func(huma.Context)) {
	_, w := humachi.Unwrap(ctx)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(nodes.MaxDrainTimeout + time.Minute)) // where there is no deadline, none is in the way
	next(ctx)
}

func (h console) drain(ctx context.Context, in *drainIn) (*drainOut, error) {
	i, err := in.id()
	if err != nil {
		return nil, err
	}
	n, report, err := h.Nodes.Drain(ctx, i, in.Body.options())
	out := DrainReport{Node: showNode(n), Evicted: each(report.Evicted, showPod), Skipped: each(report.Skipped, showSkipped)}
	if fault.KindOf(err) == fault.Timeout {
		return nil, &DrainTimeoutProblem{Problem: *problem.From(ctx, h.api.Log, err), DrainReport: out, Left: each(report.Left, showPod)}
	}
	return &drainOut{out}, err
}

func (d *DrainRequest) options() (o tenant.DrainOptions) {
	if d == nil {
		return o
	}
	if d.GracePeriodSeconds != nil {
		grace := time.Duration(*d.GracePeriodSeconds) * time.Second
		o.GracePeriod = &grace
	}
	if d.TimeoutSeconds != nil {
		o.Timeout = time.Duration(*d.TimeoutSeconds) * time.Second
	}
	o.DeleteEmptyDir, o.Force, o.DryRun = d.DeleteEmptyDirData, d.Force, d.DryRun
	return o
}

func showPod(p tenant.Pod) Pod { return Pod{Namespace: p.Namespace, Name: p.Name} }

func showSkipped(p tenant.SkipPod) SkippedPod { return SkippedPod{showPod(p.Pod), p.Reason} }

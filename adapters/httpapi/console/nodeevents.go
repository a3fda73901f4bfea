package console

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// NodeEvent is one entry of a node's health history.
type NodeEvent struct {
	ID         string         `json:"id" example:"nevt_06evjm9m80zy3f60rzw2n56twg"`
	ClusterID  string         `json:"cluster_id" example:"cl_06evjm9m80zy3f60rzw2n56twg"`
	NodeID     string         `json:"node_id" example:"node_06evjm9m80zy3f60rzw2n56twg"`
	NodeName   string         `json:"node_name" example:"worker-1"`
	Type       string         `json:"type" doc:"joined, ready, not_ready, pending, offline, deleted; there may be more." example:"not_ready"`
	OldStatus  *string        `json:"old_status" example:"ready"`
	NewStatus  *string        `json:"new_status" example:"not_ready"`
	Message    string         `json:"message" example:"Node condition Ready changed to False."`
	ObservedAt operation.Time `json:"observed_at"`
}

// NodeEventList is one page of node events.
type NodeEventList struct {
	Events     []NodeEvent `json:"events" nullable:"false"`
	NextCursor *string     `json:"next_cursor" doc:"null on the last page." example:"bmV2dF8wNmV2am05bTgwenkzZjYwcnp3Mm41NnR3Zw"`
}

type listNodeEventsIn struct {
	ClusterID string `query:"cluster_id" doc:"Only events of this cluster." example:"cl_06evjm9m80zy3f60rzw2n56twg"`
	NodeID    string `query:"node_id" doc:"Only events of this node." example:"node_06evjm9m80zy3f60rzw2n56twg"`
	Type      string `query:"type" doc:"Only events of this type. An unknown one gives an empty list." example:"not_ready"`
	operation.Paged
}

type nodeEventsOut struct{ Body NodeEventList }

func (h console) registerNodeEvents() {
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "listNodeEvents", Method: http.MethodGet, Path: "/api/console/node-events", Tags: []string{tagNodes},
		Summary: "See the health history of nodes", Description: "What happened to nodes and when their health changed, newest first.",
		Parameters: []*huma.Param{operation.LimitParam()},
	}, []string{"validation_failed"}, h.listNodeEvents)
}

func (h console) listNodeEvents(ctx context.Context, in *listNodeEventsIn) (*nodeEventsOut, error) {
	q, err := operation.Query[id.NodeEventKind](in.Paged)
	if err != nil {
		return nil, err
	}
	cluster, err := operation.Filter[id.ClusterKind]("cluster_id", in.ClusterID)
	if err != nil {
		return nil, err
	}
	node, err := operation.Filter[id.NodeKind]("node_id", in.NodeID)
	if err != nil {
		return nil, err
	}
	if err := operation.Text("type", in.Type); err != nil {
		return nil, err
	}
	page, err := h.Nodes.Events(ctx, store.NodeEventFilter{ClusterID: cluster, NodeID: node, Type: in.Type}, q)
	return &nodeEventsOut{NodeEventList{each(page.Items, showNodeEvent), operation.Cursor(page.Next)}}, err
}

func showNodeEvent(e store.NodeEvent) NodeEvent {
	return NodeEvent{
		ID: e.ID.String(), ClusterID: e.ClusterID.String(), NodeID: e.NodeID.String(), NodeName: e.NodeName, Type: e.Type,
		OldStatus: orNull(e.OldStatus), NewStatus: orNull(e.NewStatus), Message: e.Message, ObservedAt: operation.At(e.ObservedAt),
	}
}

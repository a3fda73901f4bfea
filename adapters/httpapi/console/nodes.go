package console

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Node is a machine as last seen.
type Node struct {
	ID                      string            `json:"id" example:"node_06evjm9m80zy3f60rzw2n56twg"`
	ClusterID               string            `json:"cluster_id" example:"cl_06evjm9m80zy3f60rzw2n56twg"`
	Name                    string            `json:"name" example:"worker-1"`
	Status                  string            `json:"status" enum:"pending,ready,not_ready,unknown"`
	Unschedulable           bool              `json:"unschedulable" doc:"Cordoned: takes no new pods." example:"false"`
	InternalIP              *string           `json:"internal_ip" example:"192.0.2.17"`
	PodCIDR                 *string           `json:"pod_cidr" example:"10.244.1.0/24"`
	OSImage                 *string           `json:"os_image" example:"Debian GNU/Linux 12 (bookworm)"`
	KubeletVersion          *string           `json:"kubelet_version" example:"v1.36.3"`
	ContainerRuntimeVersion *string           `json:"container_runtime_version" example:"containerd://2.2.3"`
	Labels                  map[string]string `json:"labels"`
	CPUAllocatableMilli     int64             `json:"cpu_allocatable_milli_cores" example:"4000"`
	MemoryAllocatableBytes  int64             `json:"memory_allocatable_bytes" example:"8326881280"`
	EphemeralStorageBytes   int64             `json:"ephemeral_storage_allocatable_bytes" example:"50306195456"`
	Source                  string            `json:"source" doc:"Where the node came from." example:"byon"`
	LastSeenAt              *operation.Time   `json:"last_seen_at" nullable:"true"`
	ReadyAt                 *operation.Time   `json:"ready_at" nullable:"true"`
	OfflineAt               *operation.Time   `json:"offline_at" nullable:"true"`
	CreatedAt               operation.Time    `json:"created_at"`
	UpdatedAt               operation.Time    `json:"updated_at"`
}

// NodeAnswer holds a node.
type NodeAnswer struct {
	Node Node `json:"node"`
}

// NodeList is one page of nodes.
type NodeList struct {
	Nodes      []Node  `json:"nodes" nullable:"false"`
	NextCursor *string `json:"next_cursor" doc:"null on the last page." example:"bm9kZV8wNmV2am05bTgwenkzZjYwcnp3Mm41NnR3Zw"`
}

func showNode(n store.Node) Node {
	labels := n.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	return Node{
		ID: n.ID.String(), ClusterID: n.ClusterID.String(), Name: n.Name, Status: n.Status, Unschedulable: n.Unschedulable,
		InternalIP: orNull(n.InternalIP), PodCIDR: orNull(n.PodCIDR), OSImage: orNull(n.OSImage),
		KubeletVersion: orNull(n.KubeletVersion), ContainerRuntimeVersion: orNull(n.ContainerRuntimeVersion), Labels: labels,
		CPUAllocatableMilli: n.CPUAllocatableMilli, MemoryAllocatableBytes: n.MemoryAllocatableBytes,
		EphemeralStorageBytes: n.EphemeralStorageAllocatable, Source: n.Source,
		LastSeenAt: operation.MaybeAt(n.LastSeenAt), ReadyAt: operation.MaybeAt(n.ReadyAt), OfflineAt: operation.MaybeAt(n.OfflineAt),
		CreatedAt: operation.At(n.CreatedAt), UpdatedAt: operation.At(n.UpdatedAt),
	}
}

// NodeRef is a path that names a node.
type NodeRef struct {
	NodeID string `path:"nodeID" doc:"The node's id." example:"node_06evjm9m80zy3f60rzw2n56twg"`
}

func (r NodeRef) id() (id.Node, error) {
	i, err := id.Parse[id.NodeKind](r.NodeID)
	if err != nil {
		return i, fault.NotFound.New("node_not_found", "There is no such node.")
	}
	return i, nil
}

type listNodesIn struct {
	ClusterID string `query:"cluster_id" doc:"Only nodes of this cluster." example:"cl_06evjm9m80zy3f60rzw2n56twg"`
	Status    string `query:"status" enum:"pending,ready,not_ready,unknown" doc:"Only nodes in this status."`
	Search    string `query:"search" doc:"Part of the name or the internal address, whatever the case." example:"worker"`
	operation.Paged
}

type nodesOut struct{ Body NodeList }

type nodeOut struct{ Body NodeAnswer }

func (h console) registerNodes() {
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "listNodes", Method: http.MethodGet, Path: "/api/console/nodes", Tags: []string{tagNodes},
		Summary: "List nodes", Description: "The machines of the clusters that the caller may see, newest first.",
		Parameters: []*huma.Param{operation.LimitParam()},
	}, []string{"validation_failed"}, h.listNodes)
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "getNode", Method: http.MethodGet, Path: "/api/console/nodes/{nodeID}", Tags: []string{tagNodes},
		Summary: "Read a node",
	}, []string{"node_not_found"}, func(ctx context.Context, in *NodeRef) (*nodeOut, error) {
		i, err := in.id()
		if err != nil {
			return nil, err
		}
		n, err := h.Nodes.Get(ctx, i)
		return &nodeOut{NodeAnswer{showNode(n)}}, err
	})
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "cordonNode", Method: http.MethodPost, Path: "/api/console/nodes/{nodeID}/cordon", Tags: []string{tagNodes},
		Summary: "Cordon a node", Description: "From now on the node takes no new pods.",
	}, tenantCodes, h.setUnschedulable(true))
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "uncordonNode", Method: http.MethodPost, Path: "/api/console/nodes/{nodeID}/uncordon", Tags: []string{tagNodes},
		Summary: "Uncordon a node", Description: "The node takes new pods again.",
	}, tenantCodes, h.setUnschedulable(false))
	h.registerDrain()
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "deleteNode", Method: http.MethodDelete, Path: "/api/console/nodes/{nodeID}", Tags: []string{tagNodes}, DefaultStatus: noContent,
		Summary: "Remove a node", Description: "Removes the node from its cluster. What runs on the machine is left alone; drain the node first.",
	}, tenantCodes, func(ctx context.Context, in *NodeRef) (*struct{}, error) {
		i, err := in.id()
		if err != nil {
			return nil, err
		}
		return nil, h.Nodes.Delete(ctx, i)
	})
}

// tenantCodes are what may go wrong with a node in its cluster.
var tenantCodes = []string{"node_not_found", "cluster_unreachable", "cluster_access_refused"} //nolint:gochecknoglobals // a constant

func (h console) listNodes(ctx context.Context, in *listNodesIn) (*nodesOut, error) {
	q, err := operation.Query[id.NodeKind](in.Paged)
	if err != nil {
		return nil, err
	}
	cluster, err := operation.Filter[id.ClusterKind]("cluster_id", in.ClusterID)
	if err != nil {
		return nil, err
	}
	if err := operation.Text("search", in.Search); err != nil {
		return nil, err
	}
	page, err := h.Nodes.List(ctx, store.NodeFilter{ClusterID: cluster, Status: in.Status, Search: in.Search}, q)
	return &nodesOut{NodeList{each(page.Items, showNode), operation.Cursor(page.Next)}}, err
}

func (h console) setUnschedulable(unschedulable bool) func(context.Context, *NodeRef) (*nodeOut, error) {
	return func(ctx context.Context, in *NodeRef) (*nodeOut, error) {
		i, err := in.id()
		if err != nil {
			return nil, err
		}
		n, err := h.Nodes.SetUnschedulable(ctx, i, unschedulable)
		return &nodeOut{NodeAnswer{showNode(n)}}, err
	}
}

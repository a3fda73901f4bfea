package console

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

// ClusterSettings are what may be set at any time of a cluster's life.
type ClusterSettings struct {
	ControlPlaneHost             *string `json:"control_plane_host,omitempty" doc:"IP address or DNS name under which the control plane is reached. Empty: the backend's own. With public_access_mode ingress a DNS name is needed." example:"203.0.113.10"`
	WorkloadCPULimitMilliCores   *int64  `json:"workload_cpu_limit_milli_cores,omitempty" minimum:"1" maximum:"10000000" doc:"At first 2000." example:"2000"`
	WorkloadMemoryLimitMiB       *int64  `json:"workload_memory_limit_mib,omitempty" minimum:"1" maximum:"100000000" doc:"At first 4096." example:"4096"`
	ControlPlaneCPURequestMilli  *int64  `json:"control_plane_cpu_request_milli_cores,omitempty" minimum:"1" maximum:"10000000" doc:"At first 100." example:"100"`
	ControlPlaneMemoryRequestMiB *int64  `json:"control_plane_memory_request_mib,omitempty" minimum:"1" maximum:"100000000" doc:"At first 512." example:"512"`
	PublicAccessEnabled          *bool   `json:"public_access_enabled,omitempty" example:"true" doc:"At first true: machines can join only a control plane that they can reach."`
	PublicAccessMode             *string `json:"public_access_mode,omitempty" enum:"nodeport,loadbalancer,ingress" doc:"At first nodeport."`
	ManagedIngressEnabled        *bool   `json:"managed_workload_ingress_enabled,omitempty" example:"false"`
}

// ClusterCreation asks for a cluster.
type ClusterCreation struct {
	Name              string `json:"name" doc:"1 to 63 printable characters." example:"demo"`
	VclusterName      string `json:"vcluster_name,omitempty" doc:"DNS-1123 label of at most 40 characters, unique among live clusters. Empty: made from the name." example:"demo"`
	Namespace         string `json:"namespace,omitempty" doc:"vcluster_name or nothing." example:"demo"`
	KubernetesVersion string `json:"kubernetes_version,omitempty" doc:"One of GET /api/console/kubernetes-versions. Empty: the newest." example:"v1.36.3"`
	ClusterSettings
}

// ClusterUpdate changes a cluster. What is left out stays.
type ClusterUpdate struct{ ClusterSettings }

func (s ClusterSettings) settings() clusters.Settings {
	return clusters.Settings{
		ControlPlaneHost: s.ControlPlaneHost, WorkloadCPULimitMilli: s.WorkloadCPULimitMilliCores,
		WorkloadMemoryLimitMiB: s.WorkloadMemoryLimitMiB, ControlPlaneCPURequestMilli: s.ControlPlaneCPURequestMilli,
		ControlPlaneMemoryRequestMiB: s.ControlPlaneMemoryRequestMiB, PublicAccessEnabled: s.PublicAccessEnabled,
		PublicAccessMode: s.PublicAccessMode, ManagedIngressEnabled: s.ManagedIngressEnabled,
	}
}

// ClusterRef is a path that names a cluster. It is exported for huma, which sees
// no other embedded fields.
type ClusterRef struct {
	ClusterID string `path:"clusterID" doc:"The cluster's id." example:"cl_06evjm9m80zy3f60rzw2n56twg"`
}

// id reads the identifier in a path. Text that is none identifies nothing, so
// it is not found rather than malformed.
func (r ClusterRef) id() (id.Cluster, error) {
	i, err := id.Parse[id.ClusterKind](r.ClusterID)
	if err != nil {
		return i, fault.NotFound.New("cluster_not_found", "There is no such cluster.")
	}
	return i, nil
}

type listClustersIn struct {
	Status string `query:"status" enum:"provisioning,ready,error,deleting,deleted" doc:"Only clusters in this status."`
	Search string `query:"search" doc:"Part of the name, the vcluster_name or the id, whatever the case." example:"demo"`
	operation.Paged
}

type createClusterIn struct {
	operation.IdempotencyKey
	Body ClusterCreation
}

type updateClusterIn struct {
	ClusterRef
	Body ClusterUpdate
}

type clustersOut struct{ Body ClusterList }

type clusterOut struct{ Body ClusterAnswer }

// KubernetesVersions are the versions that a new cluster may have.
type KubernetesVersions struct {
	Versions []KubernetesVersion `json:"versions" nullable:"false" doc:"Newest first; the first is the default."`
}

// KubernetesVersion is one version.
type KubernetesVersion struct {
	Version  string `json:"version" example:"v1.36.3"`
	Emulated bool   `json:"emulated" doc:"A newer release serves this minor version's API." example:"false"`
}

type versionsOut struct{ Body KubernetesVersions }

func (h console) registerClusters() {
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "listClusters", Method: http.MethodGet, Path: "/api/console/clusters", Tags: []string{tagClusters},
		Summary: "List clusters", Description: "The clusters that the caller may see, newest first. Deleted ones are not among them.",
		Parameters: []*huma.Param{operation.LimitParam()},
	}, []string{"validation_failed"}, h.listClusters)
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "createCluster", Method: http.MethodPost, Path: "/api/console/clusters", Tags: []string{tagClusters}, DefaultStatus: http.StatusCreated,
		Summary: "Create a cluster", Description: "Asks for a control plane. The answer comes at once, with the status provisioning; the rest follows, as `GET /api/console/clusters/{clusterID}/operations` tells.",
	}, []string{"namespace_mismatch", "name_taken", "quota_exceeded"}, h.createCluster)
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "getCluster", Method: http.MethodGet, Path: "/api/console/clusters/{clusterID}", Tags: []string{tagClusters},
		Summary: "Read a cluster",
	}, []string{"cluster_not_found"}, h.getCluster)
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "updateCluster", Method: http.MethodPut, Path: "/api/console/clusters/{clusterID}", Tags: []string{tagClusters},
		Summary: "Change a cluster", Description: "What is wanted changes at once; the control plane follows. On a cluster in error, also a change that changes nothing tries again.",
	}, []string{"forbidden", "cluster_not_found", "cluster_not_updatable", "cluster_imported", "stale_version"}, h.updateCluster)
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "deleteCluster", Method: http.MethodDelete, Path: "/api/console/clusters/{clusterID}", Tags: []string{tagClusters}, DefaultStatus: http.StatusAccepted,
		Summary: "Delete a cluster", Description: "Removes the control plane with all its data. Asking again while it goes is fine; afterwards the cluster is not found.",
	}, []string{"forbidden", "cluster_not_found", "cluster_imported", "stale_version"}, h.deleteCluster)
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "listKubernetesVersions", Method: http.MethodGet, Path: "/api/console/kubernetes-versions", Tags: []string{tagClusters},
		Summary: "List the Kubernetes versions on offer",
	}, nil, h.listVersions)
}

func (h console) listClusters(ctx context.Context, in *listClustersIn) (*clustersOut, error) {
	q, err := operation.Query[id.ClusterKind](in.Paged)
	if err != nil {
		return nil, err
	}
	if err := operation.Text("search", in.Search); err != nil {
		return nil, err
	}
	page, err := h.Clusters.List(ctx, store.ClusterFilter{Status: in.Status, Search: in.Search}, q)
	return &clustersOut{ClusterList{each(page.Items, showCluster), operation.Cursor(page.Next)}}, err
}

func (h console) createCluster(ctx context.Context, in *createClusterIn) (*clusterOut, error) {
	c, err := h.Clusters.Create(ctx, clusters.Request{
		Name: in.Body.Name, VclusterName: in.Body.VclusterName, Namespace: in.Body.Namespace,
		KubernetesVersion: in.Body.KubernetesVersion, Settings: in.Body.settings(),
	})
	return &clusterOut{ClusterAnswer{showCluster(c)}}, err
}

func (h console) getCluster(ctx context.Context, in *ClusterRef) (*clusterOut, error) {
	i, err := in.id()
	if err != nil {
		return nil, err
	}
	c, err := h.Clusters.Get(ctx, i)
	return &clusterOut{ClusterAnswer{showCluster(c)}}, err
}

func (h console) updateCluster(ctx context.Context, in *updateClusterIn) (*clusterOut, error) {
	i, err := in.id()
	if err != nil {
		return nil, err
	}
	c, err := h.Clusters.Update(ctx, i, in.Body.settings())
	return &clusterOut{ClusterAnswer{showCluster(c)}}, err
}

func (h console) deleteCluster(ctx context.Context, in *ClusterRef) (*clusterOut, error) {
	i, err := in.id()
	if err != nil {
		return nil, err
	}
	c, err := h.Clusters.Delete(ctx, i)
	return &clusterOut{ClusterAnswer{showCluster(c)}}, err
}

func (h console) listVersions(context.Context, *struct{}) (*versionsOut, error) {
	return &versionsOut{KubernetesVersions{each(h.Clusters.Versions(), func(v provision.Version) KubernetesVersion {
		return KubernetesVersion{Version: v.Name, Emulated: v.Emulated}
	})}}, nil
}

package console

import (
	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Cluster is a hosted control plane.
type Cluster struct {
	ID          string `json:"id" example:"cl_06evjm9m80zy3f60rzw2n56twg"`
	Number      int64  `json:"number" doc:"Unique, rising, never used again." example:"1"`
	OwnerUserID string `json:"owner_user_id" example:"usr_06evjm9m80zy3f60rzw2n56twg"`
	Origin      string `json:"origin" enum:"hosted,imported"`

	Name              string  `json:"name" example:"demo"`
	Namespace         string  `json:"namespace" example:"demo"`
	VclusterName      string  `json:"vcluster_name" example:"demo"`
	ControlPlaneHost  *string `json:"control_plane_host" doc:"null: the backend's own." example:"203.0.113.10"`
	KubernetesVersion string  `json:"kubernetes_version" example:"v1.36.3"`

	WorkloadCPULimitMilliCores   int64 `json:"workload_cpu_limit_milli_cores" example:"2000"`
	WorkloadMemoryLimitMiB       int64 `json:"workload_memory_limit_mib" example:"4096"`
	ControlPlaneCPURequestMilli  int64 `json:"control_plane_cpu_request_milli_cores" example:"100"`
	ControlPlaneMemoryRequestMiB int64 `json:"control_plane_memory_request_mib" example:"512"`

	PublicAccessEnabled bool   `json:"public_access_enabled" example:"true"`
	PublicAccessMode    string `json:"public_access_mode" enum:"nodeport,loadbalancer,ingress"`
	PublicAccessPort    *int   `json:"public_access_port" example:"30443"`

	ManagedIngressEnabled         bool            `json:"managed_workload_ingress_enabled" example:"false"`
	ManagedIngressStatus          string          `json:"managed_workload_ingress_status" enum:"disabled,provisioning,ready,error"`
	ManagedIngressClass           *string         `json:"managed_workload_ingress_class" example:"kubebyon"`
	ManagedIngressLastError       *string         `json:"managed_workload_ingress_last_error" example:"This server has no ingress controller to offer."`
	ManagedIngressCNAMETarget     *string         `json:"managed_workload_ingress_cname_target" example:"cl-1.apps.example.com"`
	ManagedIngressDNSStatus       string          `json:"managed_workload_ingress_dns_status" enum:"not_managed,pending,synced,error"`
	ManagedIngressDNSMessage      *string         `json:"managed_workload_ingress_dns_message" example:"The platform manages no DNS zone."`
	ManagedIngressDNSLastSyncedAt *operation.Time `json:"managed_workload_ingress_dns_last_synced_at" nullable:"true"`
	ManagedIngressDNSLastError    *string         `json:"managed_workload_ingress_dns_last_error" example:"The zone refused the record."`
	ManagedIngressDNSLastErrorAt  *operation.Time `json:"managed_workload_ingress_dns_last_error_at" nullable:"true"`

	APIEndpoint           *string         `json:"api_endpoint" doc:"null until there is one." example:"https://203.0.113.10:30443"`
	Status                string          `json:"status" enum:"provisioning,ready,error,deleting,deleted"`
	ConnectionStatus      string          `json:"connection_status" enum:"pending,kubeconfig_pending,reachable,unreachable,error" doc:"Whether the platform reaches the cluster's API."`
	KubeconfigAvailable   bool            `json:"kubeconfig_available" example:"true"`
	KubeconfigAvailableAt *operation.Time `json:"kubeconfig_available_at" nullable:"true"`
	LastObservedAt        *operation.Time `json:"last_observed_at" nullable:"true" doc:"When the cluster's API last answered."`
	LastErrorMessage      *string         `json:"last_error_message" example:"The control plane does not answer."`
	CreatedAt             operation.Time  `json:"created_at"`
	UpdatedAt             operation.Time  `json:"updated_at"`
}

// ClusterAnswer holds a cluster.
type ClusterAnswer struct {
	Cluster Cluster `json:"cluster"`
}

// ClusterList is one page of clusters.
type ClusterList struct {
	Clusters   []Cluster `json:"clusters" nullable:"false"`
	NextCursor *string   `json:"next_cursor" doc:"null on the last page." example:"Y2xfMDZldmptOW04MHp5M2Y2MHJ6dzJuNTZ0d2c"`
}

func showCluster(c store.Cluster) Cluster {
	out := Cluster{
		ID: c.ID.String(), Number: c.Number, OwnerUserID: c.OwnerUserID.String(), Origin: c.Origin,
		Name: c.Name, Namespace: c.Namespace, VclusterName: c.VclusterName,
		ControlPlaneHost: orNull(c.ControlPlaneHost), KubernetesVersion: c.KubernetesVersion,
		WorkloadCPULimitMilliCores: c.WorkloadCPULimitMilli, WorkloadMemoryLimitMiB: c.WorkloadMemoryLimitMiB,
		ControlPlaneCPURequestMilli: c.ControlPlaneCPURequestMilli, ControlPlaneMemoryRequestMiB: c.ControlPlaneMemoryRequestMiB,
		PublicAccessEnabled: c.PublicAccessEnabled, PublicAccessMode: c.PublicAccessMode,
		ManagedIngressEnabled: c.ManagedIngressEnabled, ManagedIngressStatus: "disabled", ManagedIngressDNSStatus: "not_managed",
		APIEndpoint: orNull(c.APIEndpoint), Status: c.Status, ConnectionStatus: c.ConnectionStatus,
		KubeconfigAvailable: c.KubeconfigAvailableAt != nil, KubeconfigAvailableAt: operation.MaybeAt(c.KubeconfigAvailableAt),
		LastObservedAt: operation.MaybeAt(c.LastObservedAt), LastErrorMessage: orNull(c.LastErrorMessage),
		CreatedAt: operation.At(c.CreatedAt), UpdatedAt: operation.At(c.UpdatedAt),
	}
	if c.PublicAccessPort != 0 {
		out.PublicAccessPort = &c.PublicAccessPort
	}
	if c.ManagedIngressEnabled { // there is no controller that could be given
		out.ManagedIngressStatus, out.ManagedIngressLastError = "error", orNull("This server has no ingress controller to offer.")
	}
	return out
}

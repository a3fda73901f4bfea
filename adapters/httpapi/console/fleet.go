package console

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/fleet"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
)

// FleetMember is a cluster, hosted here or imported.
type FleetMember struct {
	Number              int64           `json:"number" doc:"By which the fleet is ordered. It is never used again." example:"1"`
	ClusterID           string          `json:"cluster_id" example:"cl_06evjm9m80zy3f60rzw2n56twg"`
	Name                string          `json:"name" doc:"Unique: of hosted clusters the vcluster_name." example:"staging"`
	Origin              string          `json:"origin" enum:"hosted,imported"`
	OwnerUserID         string          `json:"owner_user_id" example:"usr_06evjm9m80zy3f60rzw2n56twg"`
	Description         string          `json:"description" example:"staging cluster"`
	PrometheusURL       string          `json:"prometheus_url" example:"http://prometheus.monitoring.svc:9090"`
	Enabled             bool            `json:"enabled" doc:"A disabled cluster is neither watched nor spoken to." example:"true"`
	IsDefault           bool            `json:"is_default" example:"false"`
	Credential          string          `json:"credential" enum:"provisioned,kubeconfig,token,in_cluster" doc:"How it is reached. The credential itself is never told."`
	CredentialExpiresAt *operation.Time `json:"credential_expires_at" nullable:"true" doc:"null where it does not expire, or does not say so."`
	APIServer           string          `json:"api_server" example:"https://203.0.113.10:6443"`
	KubernetesVersion   string          `json:"kubernetes_version" example:"v1.36.3"`
	Status              string          `json:"status" enum:"online,offline,unknown"`
	StatusReason        *string         `json:"status_reason" nullable:"true" example:"The cluster's API does not answer."`
	Nodes               int             `json:"nodes" example:"3"`
	ReadyNodes          int             `json:"ready_nodes" example:"3"`
	Namespaces          int             `json:"namespaces" doc:"As last counted." example:"10"`
	Pods                int             `json:"pods" doc:"As last counted." example:"50"`
	CountedAt           *operation.Time `json:"counted_at" nullable:"true"`
	LastConnectedAt     *operation.Time `json:"last_connected_at" nullable:"true"`
	CreatedAt           operation.Time  `json:"created_at"`
}

// FleetList is one page of the fleet.
type FleetList struct {
	Clusters   []FleetMember `json:"clusters" nullable:"false"`
	NextCursor *string       `json:"next_cursor" doc:"null on the last page." example:"Y2xfMDZldmptOW04MHp5M2Y2MHJ6dzJuNTZ0d2c"`
}

// FleetAnswer is one cluster of the fleet.
type FleetAnswer struct {
	Cluster FleetMember `json:"cluster"`
}

// FleetCredential is one of three ways into a cluster: a kubeconfig, an API server with a token, or in_cluster.
type FleetCredential struct {
	Kubeconfig string `json:"kubeconfig,omitempty" maxLength:"1000000" doc:"YAML or JSON. What runs programs or points to files is refused." example:"apiVersion: v1\nkind: Config\n"`
	Context    string `json:"context,omitempty" doc:"Of the kubeconfig. Empty: its current one." example:"staging"`
	APIServer  string `json:"api_server,omitempty" maxLength:"2048" doc:"With a token." example:"https://k8s.example.com:6443"`
	Token      string `json:"token,omitempty" maxLength:"20000" format:"password" doc:"A bearer token." example:"eyJhbGciOiJSUzI1NiIs"`
	CACert     string `json:"ca_cert,omitempty" maxLength:"100000" doc:"The API server's authority in PEM. Empty: one that the system trusts." example:"-----BEGIN CERTIFICATE-----\n…"`
	InCluster  bool   `json:"in_cluster,omitempty" doc:"The cluster that this server runs in. For administrators." example:"false"`
}

func (c FleetCredential) credential() fleet.Credential {
	return fleet.Credential{
		Kubeconfig: secret.New(c.Kubeconfig), Context: c.Context,
		Server: c.APIServer, CACert: c.CACert, Token: secret.New(c.Token), InCluster: c.InCluster,
	}
}

// FleetRegistration adds a cluster that others run.
type FleetRegistration struct {
	Name          string `json:"name" doc:"1 to 253 printable characters, unique in the fleet." example:"staging"`
	Description   string `json:"description,omitempty" doc:"At most 1000 characters." example:"staging cluster"`
	PrometheusURL string `json:"prometheus_url,omitempty" example:"http://prometheus.monitoring.svc:9090"`
	IsDefault     bool   `json:"is_default,omitempty" example:"false"`

	Credential FleetCredential `json:"credential"`
}

// FleetTrial is a credential to try.
type FleetTrial struct {
	Credential FleetCredential `json:"credential"`
}

// FleetChange changes what the fleet keeps of a cluster. What is left out stays.
type FleetChange struct {
	Name          *string          `json:"name,omitempty" doc:"Of an imported cluster." example:"staging"`
	Description   *string          `json:"description,omitempty" example:"production cluster"`
	PrometheusURL *string          `json:"prometheus_url,omitempty" example:"http://prometheus.monitoring.svc:9090"`
	Enabled       *bool            `json:"enabled,omitempty" example:"true"`
	IsDefault     *bool            `json:"is_default,omitempty" example:"false"`
	Credential    *FleetCredential `json:"credential,omitempty" doc:"Replaces the credential of an imported cluster."`
}

// FleetProbe is what a cluster answered.
type FleetProbe struct {
	KubernetesVersion string `json:"kubernetes_version" example:"v1.36.3"`
	Nodes             int    `json:"nodes" example:"3"`
	Namespaces        int    `json:"namespaces" example:"10"`
	Pods              int    `json:"pods" example:"50"`
	LatencyMillis     int64  `json:"latency_ms" example:"12"`
}

// FleetRef is a path that names a cluster of the fleet. It is exported for huma, as ClusterRef is.
type FleetRef struct {
	Number int64 `path:"number" doc:"The cluster's number." example:"1"`
}

type fleetIn struct {
	Search string `query:"search" doc:"Part of the name or the id, whatever the case." example:"stag"`
	operation.Paged
}

type fleetOut struct{ Body FleetList }

type memberOut struct{ Body FleetAnswer }

type fleetProbeOut struct{ Body FleetProbe }

func (h console) registerFleet() {
	const path = "/api/console/fleet"
	credentials := []string{"validation_failed", "forbidden", "kubeconfig_invalid", "not_in_cluster", "name_taken", "quota_exceeded"}
	reached := []string{"cluster_unreachable", "cluster_access_refused", "credential_unreadable"}
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "listFleet", Method: http.MethodGet, Path: path, Tags: []string{tagFleet},
		Summary: "List the fleet", Description: "Every cluster that the caller may see, hosted and imported, by number.", Parameters: []*huma.Param{operation.LimitParam()},
	}, []string{"validation_failed"}, h.listFleet)
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "registerCluster", Method: http.MethodPost, Path: path, Tags: []string{tagFleet}, DefaultStatus: http.StatusCreated,
		Summary: "Register a cluster that others run", Description: "Nothing is changed in it. Whether it answers, its status tells soon: the registration does not wait for it. For operators and administrators.",
	}, credentials, func(ctx context.Context, in *struct{ Body FleetRegistration }) (*memberOut, error) {
		m, err := h.Fleet.Register(ctx, fleet.Registration{
			Name: in.Body.Name, Description: in.Body.Description, PrometheusURL: in.Body.PrometheusURL, Default: in.Body.IsDefault, Credential: in.Body.Credential.credential(),
		})
		return &memberOut{FleetAnswer{showMember(m)}}, err
	})
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "testNewCluster", Method: http.MethodPost, Path: path + "/test", Tags: []string{tagFleet},
		Summary: "Try a credential", Description: "Asks the cluster whether it answers. The credential is not kept. For operators and administrators.",
	}, append([]string{"validation_failed", "forbidden", "kubeconfig_invalid", "not_in_cluster"}, reached...), func(ctx context.Context, in *struct{ Body FleetTrial }) (*fleetProbeOut, error) {
		p, err := h.Fleet.TestNew(ctx, in.Body.Credential.credential())
		return showProbe(p), err
	})
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "getFleetCluster", Method: http.MethodGet, Path: path + "/{number}", Tags: []string{tagFleet},
		Summary: "Read a cluster of the fleet",
	}, []string{"validation_failed", "cluster_not_found"}, func(ctx context.Context, in *FleetRef) (*memberOut, error) {
		m, err := h.Fleet.Get(ctx, in.Number)
		return &memberOut{FleetAnswer{showMember(m)}}, err
	})
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "updateFleetCluster", Method: http.MethodPut, Path: path + "/{number}", Tags: []string{tagFleet},
		Summary: "Change what the fleet keeps of a cluster", Description: "Of a hosted cluster neither name nor credential can be set. For operators and administrators.",
	}, append([]string{"cluster_not_found", "cluster_hosted", "default_taken", "stale_version"}, credentials...), h.updateFleet)
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "removeFleetCluster", Method: http.MethodDelete, Path: path + "/{number}", Tags: []string{tagFleet}, DefaultStatus: http.StatusNoContent,
		Summary: "Take a cluster out of the fleet", Description: "Forgets an imported cluster and its credential, and leaves the cluster itself alone. A hosted cluster is deleted.",
	}, []string{"validation_failed", "forbidden", "cluster_not_found", "stale_version"}, func(ctx context.Context, in *FleetRef) (*struct{}, error) {
		return nil, h.Fleet.Remove(ctx, in.Number)
	})
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "testFleetCluster", Method: http.MethodPost, Path: path + "/{number}/test", Tags: []string{tagFleet},
		Summary: "Try whether a cluster answers",
	}, append([]string{"validation_failed", "cluster_not_found", "cluster_disabled"}, reached...), func(ctx context.Context, in *FleetRef) (*fleetProbeOut, error) {
		_, p, err := h.Fleet.Test(ctx, in.Number)
		return showProbe(p), err
	})
}

func (h console) listFleet(ctx context.Context, in *fleetIn) (*fleetOut, error) {
	q, err := operation.Query[id.ClusterKind](in.Paged)
	if err != nil {
		return nil, err
	}
	if err := operation.Text("search", in.Search); err != nil {
		return nil, err
	}
	f := store.FleetFilter{Search: in.Search}
	if q.Before != "" {
		if f.After, err = id.Parse[id.ClusterKind](q.Before); err != nil {
			return nil, err
		}
	}
	p, err := h.Fleet.List(ctx, f, 0, q.Limit)
	next := ""
	if n := len(p.Members); n > 0 && p.Total > n {
		next = p.Members[n-1].Cluster.ID.String()
	}
	return &fleetOut{FleetList{each(p.Members, showMember), operation.Cursor(next)}}, err
}

func (h console) updateFleet(ctx context.Context, in *struct {
	FleetRef
	Body FleetChange
},
) (*memberOut, error) {
	to := fleet.Change{
		Name: in.Body.Name, Description: in.Body.Description, PrometheusURL: in.Body.PrometheusURL, Enabled: in.Body.Enabled, Default: in.Body.IsDefault,
	}
	if in.Body.Credential != nil {
		c := in.Body.Credential.credential()
		to.Credential = &c
	}
	m, err := h.Fleet.Change(ctx, in.Number, to)
	return &memberOut{FleetAnswer{showMember(m)}}, err
}

func showMember(m store.Member) FleetMember {
	c, e := m.Cluster, m.Entry
	all, ready := fleet.Nodes(m)
	credential := e.Credential
	if credential == "" {
		credential = "provisioned"
	}
	return FleetMember{
		Number: c.Number, ClusterID: c.ID.String(), Name: c.VclusterName, Origin: c.Origin, OwnerUserID: c.OwnerUserID.String(),
		Description: e.Description, PrometheusURL: e.PrometheusURL, Enabled: !e.Disabled, IsDefault: e.Default,
		Credential: credential, CredentialExpiresAt: operation.MaybeAt(e.CredentialExpiresAt),
		APIServer: c.APIEndpoint, KubernetesVersion: c.KubernetesVersion,
		Status: string(fleet.StatusOf(m)), StatusReason: orNull(c.LastErrorMessage), Nodes: all, ReadyNodes: ready,
		Namespaces: m.Contents.Namespaces, Pods: m.Contents.Pods, CountedAt: operation.MaybeAt(m.Contents.CountedAt),
		LastConnectedAt: operation.MaybeAt(c.LastObservedAt), CreatedAt: operation.At(c.CreatedAt),
	}
}

func showProbe(p fleet.Probe) *fleetProbeOut {
	return &fleetProbeOut{FleetProbe{
		KubernetesVersion: p.Version, Nodes: p.Contents.Nodes, Namespaces: p.Contents.Namespaces, Pods: p.Contents.Pods,
		LatencyMillis: int64(p.Latency / time.Millisecond),
	}}
}

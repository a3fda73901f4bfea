package kite

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/dialect"
	"github.com/kubebyon/kubebyon/core/fleet"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Cluster is a cluster of the fleet.
type Cluster struct {
	ID            int64  `json:"id" required:"true" example:"1"`
	Name          string `json:"name" required:"true" example:"demo-cluster"`
	Description   string `json:"description" required:"true" example:"staging cluster"`
	Enabled       bool   `json:"enabled" required:"true" example:"true"`
	InCluster     bool   `json:"inCluster" required:"true" example:"false"`
	IsDefault     bool   `json:"isDefault" required:"true" example:"true"`
	PrometheusURL string `json:"prometheusURL" required:"true" example:"http://prometheus.monitoring.svc:9090"`
	Config        string `json:"config" required:"true" doc:"Always empty: credentials are never told." example:""`
	Version       string `json:"version,omitempty" doc:"While the cluster answers." example:"v1.31.0"`
	Error         string `json:"error,omitempty" doc:"Why the cluster does not answer." example:"The cluster's API does not answer."`
}

// Creation adds a cluster.
type Creation struct {
	Name          string `json:"name" required:"true" doc:"1 to 253 printable characters, unique." example:"demo-cluster"`
	Description   string `json:"description" example:"staging cluster"`
	Config        string `json:"config" doc:"A kubeconfig; its current context is used. Needed unless inCluster is true. What runs programs or points to files is refused." example:"apiVersion: v1\nkind: Config\n"`
	PrometheusURL string `json:"prometheusURL" example:"http://prometheus.monitoring.svc:9090"`
	InCluster     bool   `json:"inCluster" doc:"The cluster that this server runs in." example:"false"`
	IsDefault     bool   `json:"isDefault" doc:"Takes the default from whichever cluster has it." example:"true"`
}

// Replacement changes a cluster.
type Replacement struct {
	Name          string `json:"name" doc:"Empty or left out: it stays." example:"demo-cluster"`
	Description   string `json:"description" doc:"Left out: it becomes empty." example:"production cluster"`
	Config        string `json:"config" doc:"Empty or left out: it stays." example:"apiVersion: v1\nkind: Config\n"`
	PrometheusURL string `json:"prometheusURL" doc:"Left out: it becomes empty." example:"http://prometheus.monitoring.svc:9090"`
	InCluster     bool   `json:"inCluster" doc:"true: it is reached as the cluster that this server runs in." example:"false"`
	IsDefault     bool   `json:"isDefault" doc:"Left out: it becomes false." example:"false"`
	Enabled       *bool  `json:"enabled" doc:"Left out: it stays." example:"true"`
}

// Import adds all clusters of a kubeconfig.
type Import struct {
	Config    string `json:"config" doc:"A kubeconfig. Needed unless inCluster is true." example:"apiVersion: v1\nkind: Config\n"`
	InCluster bool   `json:"inCluster" example:"false"`
}

// Created tells the number of a new cluster.
type Created struct {
	ID      int64  `json:"id" required:"true" example:"1"`
	Message string `json:"message" required:"true" example:"cluster created successfully"`
}

// Done says that something was done.
type Done struct {
	Message string `json:"message" required:"true" example:"cluster updated successfully"`
}

type createdOut struct{ Body Created }

type doneOut struct{ Body Done }

type listOut struct {
	Body []Cluster `nullable:"false"`
}

// ClusterRef is a path that names a cluster. It is exported for huma.
type ClusterRef struct {
	ID string `path:"id" doc:"The cluster's number." example:"1"`
}

func (c ClusterRef) number() (int64, error) {
	n, err := strconv.ParseInt(c.ID, 10, 64)
	if err != nil || n < 0 {
		return 0, dialect.Invalid("invalid cluster id")
	}
	return n, nil
}

func (h kite) registerClusters() {
	const path = "/api/v1/admin/clusters/"
	op := func(id, method, path, summary, text string) huma.Operation {
		return huma.Operation{OperationID: id, Method: method, Path: path, Tags: []string{tagClusters}, Summary: summary, Description: text, Security: security()}
	}
	created := func(o huma.Operation) huma.Operation { o.DefaultStatus = http.StatusCreated; return o }
	const conflict, bad, missing = http.StatusConflict, http.StatusBadRequest, http.StatusNotFound
	dialect.Register(h.api, op("kiteListClusters", http.MethodGet, path, "List all clusters", "Hosted and imported ones, by number, all at once."),
		nil, h.list)
	dialect.Register(h.api, created(op("kiteCreateCluster", http.MethodPost, path, "Add a cluster",
		"Whether it answers is not waited for: the list tells. Kite stores one that can never be reached; here a kubeconfig that cannot be used is refused.")),
		[]int{conflict}, h.create)
	dialect.Register(h.api, op("kiteUpdateCluster", http.MethodPut, path+"{id}", "Replace what is kept of a cluster",
		"As Kite does: an absent or empty `name` or `config` stays, an absent `enabled` stays, and **any other absent field takes its zero value**: without `isDefault` a default cluster is the default no more. Of a hosted cluster neither name nor config can be set."),
		[]int{missing, conflict}, h.replace)
	dialect.Register(h.api, op("kiteDeleteCluster", http.MethodDelete, path+"{id}", "Delete a cluster",
		"Forgets an imported cluster and leaves it alone; deletes a hosted one. The default cluster cannot be deleted."),
		[]int{bad, missing, conflict}, h.remove)
	dialect.Register(h.api, created(op("kiteImportClusters", http.MethodPost, path+"import", "Add all clusters of a kubeconfig",
		"One for each context; the current one becomes the default. Only while there is no cluster at all.")),
		[]int{conflict}, h.importAll)
}

func (h kite) list(ctx context.Context, _ *struct{}) (*listOut, error) {
	out := &listOut{Body: []Cluster{}}
	var f store.FleetFilter
	for {
		p, err := h.Fleet.List(ctx, f, 0, fleet.MaxPage)
		if err != nil {
			return nil, err
		}
		for _, m := range p.Members {
			out.Body = append(out.Body, show(m))
			f.After = m.Cluster.ID
		}
		if len(p.Members) == 0 || p.Total <= len(p.Members) {
			return out, nil
		}
	}
}

func show(m store.Member) Cluster {
	c := Cluster{
		ID: m.Cluster.Number, Name: m.Cluster.VclusterName, Description: m.Entry.Description, Enabled: !m.Entry.Disabled,
		InCluster: m.Entry.Credential == fleet.InCluster, IsDefault: m.Entry.Default, PrometheusURL: m.Entry.PrometheusURL,
	}
	switch fleet.StatusOf(m) {
	case fleet.Online:
		c.Version = m.Cluster.KubernetesVersion
	case fleet.Offline:
		c.Error = cmp.Or(m.Cluster.LastErrorMessage, "The cluster does not answer.")
	case fleet.Unknown: // disabled, or nobody has looked yet
	}
	return c
}

func credential(config string, inCluster bool) fleet.Credential {
	if inCluster { // it wins, as in Kite
		return fleet.Credential{InCluster: true}
	}
	return fleet.Credential{Kubeconfig: secret.New(config)}
}

func (h kite) create(ctx context.Context, in *struct{ Body Creation }) (*createdOut, error) {
	b := in.Body
	m, err := h.Fleet.Register(ctx, fleet.Registration{
		Name: b.Name, Description: b.Description, PrometheusURL: b.PrometheusURL, Default: b.IsDefault, Credential: credential(b.Config, b.InCluster),
	})
	return &createdOut{Created{m.Cluster.Number, "cluster created successfully"}}, err
}

func (h kite) replace(ctx context.Context, in *struct {
	ClusterRef
	Body Replacement
},
) (*doneOut, error) {
	number, err := in.number()
	if err != nil {
		return nil, err
	}
	b := in.Body
	to := fleet.Change{Description: &b.Description, PrometheusURL: &b.PrometheusURL, Default: &b.IsDefault, Enabled: b.Enabled}
	if b.Name != "" {
		to.Name = &b.Name
	}
	m, err := h.Fleet.Get(ctx, number)
	if err != nil {
		return nil, err
	}
	if b.InCluster && m.Entry.Credential != fleet.InCluster || !b.InCluster && b.Config != "" {
		c := credential(b.Config, b.InCluster)
		to.Credential = &c
	}
	_, err = h.Fleet.Change(ctx, number, to)
	return &doneOut{Done{"cluster updated successfully"}}, err
}

func (h kite) remove(ctx context.Context, in *ClusterRef) (*doneOut, error) {
	number, err := in.number()
	if err != nil {
		return nil, err
	}
	return &doneOut{Done{"cluster deleted successfully"}}, h.Fleet.RemoveOther(ctx, number)
}

func (h kite) importAll(ctx context.Context, in *struct{ Body Import }) (*doneOut, error) {
	all, err := h.Fleet.RegisterAll(ctx, credential(in.Body.Config, in.Body.InCluster))
	return &doneOut{Done{fmt.Sprintf("imported %d clusters successfully", len(all))}}, err
}

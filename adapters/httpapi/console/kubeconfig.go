package console

import (
	"context"
	"mime"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// PasswordConfirmation proves that it is really the account's owner who asks.
type PasswordConfirmation struct {
	Password string `json:"password" format:"password" doc:"That of the account that asks." example:"correct horse battery staple"`
}

// Kubeconfig lets its holder administer a cluster.
type Kubeconfig struct {
	APIEndpoint *string `json:"api_endpoint" example:"https://203.0.113.10:30443"`
	Kubeconfig  string  `json:"kubeconfig" doc:"YAML." example:"kind: Config\n..."`
	Version     string  `json:"version" doc:"The cluster's Kubernetes version." example:"v1.36.3"`
}

type kubeconfigIn struct {
	ClusterRef
	Download bool `query:"download" doc:"1: the YAML itself, as an attachment." example:"true"`
	Body     PasswordConfirmation
}

type kubeconfigOut struct{ Body func(huma.Context) }

const yamlType = "application/yaml"

func (h console) registerKubeconfig() {
	schema := h.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Kubeconfig](), true, "")
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "readKubeconfig", Method: http.MethodPost, Path: "/api/console/clusters/{clusterID}/kubeconfig", Tags: []string{tagClusters},
		Summary: "Get a cluster's kubeconfig", Description: "Gives the administrator's kubeconfig to somebody who may manage the cluster and knows their own password. Every answer is on record. After several wrong passwords one has to wait.",
		Responses: map[string]*huma.Response{"200": {
			Description: "OK. With download, the YAML itself.",
			Content: map[string]*huma.MediaType{
				"application/json": {Schema: schema},
				yamlType:           {Schema: &huma.Schema{Type: "string"}, Example: "kind: Config\n..."},
			},
			Headers: map[string]*huma.Header{"Content-Disposition": {Description: "With download.", Schema: &huma.Schema{Type: "string", Examples: []any{"attachment; filename=demo.kubeconfig"}}}},
		}},
	}, []string{"password_incorrect", "forbidden", "cluster_not_found", "cluster_imported", "kubeconfig_pending", "password_not_set", "rate_limited"}, h.readKubeconfig)
}

func (h console) readKubeconfig(ctx context.Context, in *kubeconfigIn) (*kubeconfigOut, error) {
	i, err := in.id()
	if err != nil {
		return nil, err
	}
	a, err := h.Clusters.Kubeconfig(h.guarded(ctx), i, secret.New(in.Body.Password))
	if err != nil {
		return nil, err
	}
	return &kubeconfigOut{func(ctx huma.Context) { h.writeKubeconfig(ctx, a, in.Download) }}, nil
}

func (h console) writeKubeconfig(ctx huma.Context, a clusters.Access, download bool) {
	if download {
		ctx.SetHeader("Content-Type", yamlType)
		ctx.SetHeader("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": a.Cluster.VclusterName + ".kubeconfig"}))
		ctx.SetStatus(http.StatusOK)
		_, _ = ctx.BodyWriter().Write([]byte(a.Kubeconfig.Reveal())) // a client that has gone reads nothing
		return
	}
	ctx.SetHeader("Content-Type", "application/json")
	ctx.SetStatus(http.StatusOK)
	_ = h.api.Marshal(ctx.BodyWriter(), "application/json", Kubeconfig{
		APIEndpoint: orNull(a.Cluster.APIEndpoint), Kubeconfig: a.Kubeconfig.Reveal(), Version: a.Cluster.KubernetesVersion,
	})
}

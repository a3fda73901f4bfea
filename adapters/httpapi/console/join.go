package console

import (
	"bytes"
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/joinscript"
	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/tokens"
)

// JoinToken is the query of a machine that wants to join.
type JoinToken struct {
	Token string `query:"token" doc:"The join token's value." example:"kbt_4f1c9aQ0m3s7v1x5z9b2d6f0h4j8l2n6p0r4t8w2y6"`
}

type joinClusterIn struct {
	ClusterRef
	JoinToken
}

// scriptOut is a shell script: to join, or to say why not.
type scriptOut struct {
	Status      int
	ContentType string `header:"Content-Type" hidden:"true"`
	JoinError   string `header:"X-KubeBYON-Join-Error" hidden:"true"` // described by hand
	Body        []byte
}

const scriptType = "text/x-shellscript; charset=utf-8"

// refusalCodes may stand in X-KubeBYON-Join-Error.
var refusalCodes = []string{"token_unknown", "token_expired", "token_used", "token_revoked", "cluster_not_ready"} //nolint:gochecknoglobals // a constant

func (h console) registerJoin() {
	short := huma.Operation{
		OperationID: "getJoinScript", Method: http.MethodGet, Path: "/join", Tags: []string{tagJoin},
		Summary: "Get the script that joins a machine",
		Description: "Made to be piped: `curl -sfL \"https://HOST/join?token=TOKEN\" | sh -`. `curl -f` hides the body of a refusal and `sh` would then end well, " +
			"so a token that cannot be used gets 200 too, with a script that says why and fails, and the header `X-KubeBYON-Join-Error`. " +
			"HEAD tells whether a token can be used, and changes nothing.",
		Responses:   map[string]*huma.Response{"200": scriptResponse("A script: to run as root on the machine, or one that says why not.", refusalCodes...)},
		Middlewares: huma.Middlewares{h.limited(h.JoinLimit)},
	}
	long := huma.Operation{
		OperationID: "getClusterJoinScript", Method: http.MethodGet, Path: "/api/join/clusters/{clusterID}/script", Tags: []string{tagJoin},
		Summary:     "Get the script that joins a machine to one cluster",
		Description: "For older clients. A token that cannot be used is refused with a status; the body is a script all the same, and the header `X-KubeBYON-Join-Error` says why.",
		Responses: map[string]*huma.Response{
			"200": scriptResponse("A script to run as root on the machine."),
			"403": scriptResponse("The token cannot be used.", refusalCodes[:4]...),
			"404": scriptResponse("The token is not for this cluster.", "token_unknown"),
			"503": scriptResponse("The cluster is not ready for machines to join.", "cluster_not_ready"),
		},
		Middlewares: huma.Middlewares{h.limited(h.JoinLimit)},
	}
	codes := append([]string{"rate_limited", "validation_failed"}, operation.StoreCodes()...)
	operation.Open(h.api, short, codes, h.join)
	operation.Open(h.api, long, codes, h.joinCluster)
	for _, op := range []*huma.Operation{&short, &long} {
		op.Method, op.OperationID, op.Hidden = http.MethodHead, op.OperationID+"Head", true
		op.Responses = nil
		op.Middlewares = append(op.Middlewares, onlyLooking)
	}
	operation.Open(h.api, short, codes, h.join)
	operation.Open(h.api, long, codes, h.joinCluster)
}

func scriptResponse(description string, codes ...string) *huma.Response {
	return &huma.Response{
		Description: description,
		Content:     map[string]*huma.MediaType{"text/x-shellscript": {Schema: &huma.Schema{Type: "string"}, Example: "#!/bin/sh\n..."}},
		Headers: map[string]*huma.Header{joinErrorHeader: {
			Description: "Why the token cannot be used. It is there exactly when the script does not join.",
			Schema:      &huma.Schema{Type: "string", Enum: []any{"token_unknown", "token_expired", "token_used", "token_revoked", "cluster_not_ready"}},
		}},
		Extensions: map[string]any{operation.CodesKey: append([]string{}, codes...)},
	}
}

const joinErrorHeader = "X-KubeBYON-Join-Error"

type lookingKey struct{}

// onlyLooking marks a HEAD request: it must not use anything up.
func onlyLooking(ctx huma.Context, next func(huma.Context)) {
	next(huma.WithValue(ctx, lookingKey{}, true))
}

func (h console) join(ctx context.Context, in *JoinToken) (*scriptOut, error) {
	out, err := h.script(ctx, in.Token, id.Cluster{})
	if err == nil {
		out.Status = http.StatusOK
	}
	return out, err
}

func (h console) joinCluster(ctx context.Context, in *joinClusterIn) (*scriptOut, error) {
	i, err := in.id()
	if err != nil {
		return refuse(ctx, err)
	}
	return h.script(ctx, in.Token, i)
}

func (h console) script(ctx context.Context, token string, cluster id.Cluster) (*scriptOut, error) {
	if ctx.Value(lookingKey{}) != nil {
		if err := h.Tokens.Check(ctx, token, cluster); err != nil {
			return refuse(ctx, err)
		}
		return &scriptOut{Status: http.StatusOK, ContentType: scriptType}, nil
	}
	base, err := h.joinBase(ctx) // before anything is made that no machine would use
	if err != nil {
		return nil, err
	}
	j, err := h.Tokens.Prepare(ctx, token, cluster)
	if err != nil {
		return refuse(ctx, err)
	}
	out, err := h.render(j, base)
	if err != nil { // of all values only the tenant's are its owner's to choose
		return refuse(ctx, fault.Unavailable.New("cluster_not_ready",
			"The cluster describes itself in a way that a machine cannot use to join.").Because(err))
	}
	return out, nil
}

func (h console) render(j tokens.Join, base string) (*scriptOut, error) {
	var b bytes.Buffer
	err := joinscript.Render(&b, joinscript.Params{
		ClusterID: j.Cluster.ID.String(), ClusterName: j.Cluster.Name,
		Server: j.Endpoint.Server, CACert: j.Endpoint.CACert, CACertHash: j.Endpoint.CACertHash,
		BootstrapToken:    joinscript.NewBootstrapToken(j.Bootstrap.ID + "." + j.Bootstrap.Secret.Reveal()),
		KubernetesVersion: j.Endpoint.KubernetesVersion, PlatformURL: base, Mirror: h.NodeMirror,
		IssuedAt: h.Now(), ExpiresAt: j.Bootstrap.Expires,
	})
	if err != nil {
		return nil, err
	}
	return &scriptOut{Status: http.StatusOK, ContentType: scriptType, Body: b.Bytes()}, nil
}

// refuse turns a refusal into a script that says why and fails. Other errors
// stay what they are.
func refuse(ctx context.Context, refusal error) (*scriptOut, error) {
	f, ok := errors.AsType[*fault.Error](refusal)
	if !ok {
		return nil, refusal
	}
	out := &scriptOut{ContentType: scriptType, JoinError: f.Code}
	switch {
	case f.Kind == fault.Denied:
		out.Status = http.StatusForbidden
	case f.Kind == fault.NotFound: // says no more of the token than that it is of no use here
		out.Status, out.JoinError = http.StatusNotFound, "token_unknown"
	case f.Kind == fault.Unavailable && f.Code == "cluster_not_ready":
		out.Status = http.StatusServiceUnavailable
	default:
		return nil, refusal
	}
	if ctx.Value(lookingKey{}) != nil {
		return out, nil
	}
	var b bytes.Buffer
	err := joinscript.Refusal(&b, out.JoinError, f.Msg)
	out.Body = b.Bytes()
	return out, err
}

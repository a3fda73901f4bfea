package console

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/tokens"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Token is a one-time join token without its value.
type Token struct {
	ID                  string          `json:"id" example:"tok_06evjm9m80zy3f60rzw2n56twg"`
	ClusterID           string          `json:"cluster_id" example:"cl_06evjm9m80zy3f60rzw2n56twg"`
	DisplayPrefix       string          `json:"display_prefix" doc:"The first characters of the value." example:"kbt_4f1c9a"`
	Status              string          `json:"status" enum:"active,used,expired,revoked"`
	BootstrapSecretName string          `json:"bootstrap_secret_name" doc:"In kube-system of the cluster, while a machine joins." example:"bootstrap-token-07401b"`
	CreatedByUserID     *string         `json:"created_by_user_id" example:"usr_06evjm9m80zy3f60rzw2n56twg"`
	UsedByNodeID        *string         `json:"used_by_node_id" example:"node_06evjm9m80zy3f60rzw2n56twg"`
	ExpiresAt           operation.Time  `json:"expires_at"`
	CreatedAt           operation.Time  `json:"created_at"`
	UsedAt              *operation.Time `json:"used_at" nullable:"true"`
	RevokedAt           *operation.Time `json:"revoked_at" nullable:"true"`
	RevokedByUserID     *string         `json:"revoked_by_user_id" example:"usr_06evjm9m80zy3f60rzw2n56twg"`
}

// MintedToken is a new join token with its value, which nobody will see again.
type MintedToken struct {
	Token
	Value       string `json:"value" doc:"Shown this once." example:"kbt_4f1c9aQ0m3s7v1x5z9b2d6f0h4j8l2n6p0r4t8w2y6"`
	JoinCommand string `json:"join_command" doc:"Run it as root on the machine. Shown this once." example:"curl -sfL \"https://kubebyon.example.com/join?token=kbt_4f1c9aQ0m3s7v1x5z9b2d6f0h4j8l2n6p0r4t8w2y6\" | sh -"`
}

// TokenAnswer holds a token.
type TokenAnswer struct {
	Token Token `json:"token"`
}

// MintedTokenAnswer holds a new token.
type MintedTokenAnswer struct {
	Token MintedToken `json:"token"`
}

// TokenCreation asks for a join token.
type TokenCreation struct {
	TTLSeconds *int64 `json:"ttl_seconds,omitempty" minimum:"60" maximum:"604800" doc:"How long it can be used. Left out: 3600." example:"3600"`
}

type mintIn struct {
	ClusterRef
	operation.IdempotencyKey
	Body *TokenCreation
}

type mintOut struct{ Body MintedTokenAnswer }

type tokenRef struct {
	TokenID string `path:"tokenID" doc:"The token's id." example:"tok_06evjm9m80zy3f60rzw2n56twg"`
}

type tokenOut struct{ Body TokenAnswer }

func (h console) registerTokens() {
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "createJoinToken", Method: http.MethodPost, Path: "/api/console/clusters/{clusterID}/join-token", Tags: []string{tagTokens}, DefaultStatus: http.StatusCreated,
		Summary: "Make a join token", Description: "Makes a token with which one machine can join the cluster, and the command to run on the machine. Neither is shown again.",
	}, []string{"forbidden", "cluster_not_found", "cluster_imported", "cluster_not_ready", "too_many_tokens"}, h.mint)
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "revokeToken", Method: http.MethodDelete, Path: "/api/console/tokens/{tokenID}", Tags: []string{tagTokens},
		Summary: "Revoke a join token", Description: "Takes a token back. Revoking again returns the token as it is.",
	}, []string{"forbidden", "token_not_found", "stale_version"}, h.revoke)
}

func (h console) mint(ctx context.Context, in *mintIn) (*mintOut, error) {
	i, err := in.id()
	if err != nil {
		return nil, err
	}
	base, err := h.joinBase(ctx)
	if err != nil {
		return nil, err
	}
	ttl := tokens.DefaultTTL
	if in.Body != nil && in.Body.TTLSeconds != nil {
		ttl = time.Duration(*in.Body.TTLSeconds) * time.Second
	}
	m, err := h.Tokens.Mint(ctx, i, ttl)
	return &mintOut{MintedTokenAnswer{MintedToken{
		Token: h.showToken(m.Token), Value: m.Value, JoinCommand: `curl -sfL "` + base + `/join?token=` + m.Value + `" | sh -`,
	}}}, err
}

func (h console) revoke(ctx context.Context, in *tokenRef) (*tokenOut, error) {
	i, err := id.Parse[id.TokenKind](in.TokenID)
	if err != nil {
		return nil, fault.NotFound.New("token_not_found", "There is no such join token.")
	}
	t, err := h.Tokens.Revoke(ctx, i)
	return &tokenOut{TokenAnswer{h.showToken(t)}}, err
}

func (h console) showToken(t store.Token) Token {
	return Token{
		ID: t.ID.String(), ClusterID: t.ClusterID.String(), DisplayPrefix: t.DisplayPrefix,
		Status: string(tokens.Of(t).StatusAt(h.Now())), BootstrapSecretName: t.BootstrapSecretName,
		CreatedByUserID: orNull(t.CreatedByUserID.String()), UsedByNodeID: orNull(t.UsedByNodeID.String()),
		ExpiresAt: operation.At(t.ExpiresAt), CreatedAt: operation.At(t.CreatedAt), UsedAt: operation.MaybeAt(t.UsedAt),
		RevokedAt: operation.MaybeAt(t.RevokedAt), RevokedByUserID: orNull(t.RevokedByUserID.String()),
	}
}

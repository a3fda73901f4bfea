package console

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/ports/store"
)

// User is an account.
type User struct {
	ID           string          `json:"id" example:"usr_06evjm9m80zy3f60rzw2n56twg"`
	Email        string          `json:"email" example:"admin@kubebyon.local"`
	Name         string          `json:"name" example:"Administrator"`
	AvatarURL    *string         `json:"avatar_url" example:"/avatars/usr_06evjm9m80zy3f60rzw2n56twg.png"`
	Role         string          `json:"role" enum:"admin,operator,user" doc:"admin: everything. operator: reads all clusters, writes to workloads and nodes of all. user: only what they own."`
	Status       string          `json:"status" enum:"active,banned"`
	HasPassword  bool            `json:"has_password" example:"true"`
	SSOProviders []string        `json:"sso_providers" nullable:"false"`
	CreatedAt    operation.Time  `json:"created_at"`
	UpdatedAt    operation.Time  `json:"updated_at"`
	LastLoginAt  *operation.Time `json:"last_login_at" nullable:"true"`
}

// UserAnswer holds an account.
type UserAnswer struct {
	User User `json:"user"`
}

func showUser(u store.User) User {
	return User{
		ID: u.ID.String(), Email: u.Email, Name: u.Name, AvatarURL: orNull(u.AvatarURL), Role: u.Role, Status: u.Status,
		HasPassword: u.PasswordHash != "", SSOProviders: []string{},
		CreatedAt: operation.At(u.CreatedAt), UpdatedAt: operation.At(u.UpdatedAt), LastLoginAt: operation.MaybeAt(u.LastLoginAt),
	}
}

// ProfileUpdate changes one's own account.
type ProfileUpdate struct {
	Name string `json:"name" doc:"1 to 100 printable characters." example:"Ada"`
}

type userOut struct{ Body UserAnswer }

func (h console) registerMe() {
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "getCurrentUser", Method: http.MethodGet, Path: "/api/auth/me", Tags: []string{tagAuth},
		Summary: "Who am I", Description: "Returns the account that the credential belongs to, and lets a session's cookie live on.",
	}, nil, func(ctx context.Context, _ *struct{}) (*signedIn, error) {
		u, err := h.Identity.Me(ctx)
		return &signedIn{SetCookie: h.keeper.Renewed(ctx), Body: UserAnswer{showUser(u)}}, err
	})
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "getProfile", Method: http.MethodGet, Path: "/api/console/me", Tags: []string{tagAccount},
		Summary: "Read one's own account",
	}, nil, func(ctx context.Context, _ *struct{}) (*userOut, error) {
		u, err := h.Identity.Me(ctx)
		return &userOut{UserAnswer{showUser(u)}}, err
	})
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "updateProfile", Method: http.MethodPut, Path: "/api/console/me", Tags: []string{tagAccount},
		Summary: "Change one's own name",
	}, []string{"stale_version"}, func(ctx context.Context, in *struct{ Body ProfileUpdate }) (*userOut, error) {
		u, err := h.Identity.Rename(ctx, in.Body.Name)
		return &userOut{UserAnswer{showUser(u)}}, err
	})
}

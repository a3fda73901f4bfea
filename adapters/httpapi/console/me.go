package console

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
)

// User is an account.
type User struct {
	ID           string          `json:"id" example:"usr_06evjm9m80zy3f60rzw2n56twg"`
	Email        string          `json:"email" example:"admin@kubebyon.local"`
	Name         string          `json:"name" example:"Administrator"`
	AvatarURL    *string         `json:"avatar_url" example:"/avatars/usr_06evjm9m80zy3f60rzw2n56twg/1f0c3a9be2d74d5f8a6b7c8d9e0f1a2b.png"`
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

// showUser is one account as clients see it.
func (h console) showUser(ctx context.Context, u store.User) (UserAnswer, error) {
	all, err := h.showUsers(ctx, u)
	if err != nil {
		return UserAnswer{}, err
	}
	return UserAnswer{all[0]}, nil
}

// showUsers asks once for what all of them have elsewhere.
func (h console) showUsers(ctx context.Context, users ...store.User) ([]User, error) {
	providers, err := h.Identity.ProvidersOf(ctx, users...)
	if err != nil {
		return nil, err
	}
	return each(users, func(u store.User) User {
		return User{
			ID: u.ID.String(), Email: u.Email, Name: u.Name, AvatarURL: orNull(u.AvatarURL), Role: u.Role, Status: u.Status,
			HasPassword: u.PasswordHash != "", SSOProviders: each(providers[u.ID], func(name string) string { return name }),
			CreatedAt: operation.At(u.CreatedAt), UpdatedAt: operation.At(u.UpdatedAt), LastLoginAt: operation.MaybeAt(u.LastLoginAt),
		}
	}), nil
}

// ProfileUpdate changes one's own account.
type ProfileUpdate struct {
	Name string `json:"name" doc:"1 to 100 printable characters." example:"Ada"`
}

// AccountDeletion proves that it is really the account's owner who asks.
type AccountDeletion struct {
	Password string `json:"password,omitempty" format:"password" doc:"Needed where the account has one." example:"correct horse battery staple"`
}

type userOut struct{ Body UserAnswer }

func (h console) registerMe() {
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "getCurrentUser", Method: http.MethodGet, Path: "/api/auth/me", Tags: []string{tagAuth},
		Summary: "Who am I", Description: "Returns the account that the credential belongs to, and lets a session's cookie live on.",
	}, nil, func(ctx context.Context, _ *struct{}) (*signedIn, error) {
		out, err := h.me(ctx, h.Identity.Me)
		if err != nil {
			return nil, err
		}
		return &signedIn{SetCookie: h.keeper.Renewed(ctx), Body: out.Body}, nil
	})
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "getProfile", Method: http.MethodGet, Path: "/api/console/me", Tags: []string{tagAccount},
		Summary: "Read one's own account",
	}, nil, func(ctx context.Context, _ *struct{}) (*userOut, error) {
		return h.me(ctx, h.Identity.Me)
	})
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "updateProfile", Method: http.MethodPut, Path: "/api/console/me", Tags: []string{tagAccount},
		Summary: "Change one's own name",
	}, []string{"stale_version"}, func(ctx context.Context, in *struct{ Body ProfileUpdate }) (*userOut, error) {
		return h.me(ctx, func(ctx context.Context) (store.User, error) { return h.Identity.Rename(ctx, in.Body.Name) })
	})
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "deleteCurrentUser", Method: http.MethodDelete, Path: "/api/console/me", Tags: []string{tagAccount}, DefaultStatus: noContent,
		Summary: "Delete one's own account", Description: "Ends the account for good, with its sessions and API keys; its address is free again. Clusters have to be gone before. It needs a session, not an API key. After several wrong passwords one has to wait.",
	}, []string{"password_incorrect", "password_not_set", "session_required", "clusters_exist", "last_admin", "rate_limited"}, h.deleteMe)
}

func (h console) deleteMe(ctx context.Context, in *struct{ Body *AccountDeletion }) (*signedOut, error) {
	var password secret.Text
	if in.Body != nil {
		password = secret.New(in.Body.Password)
	}
	if err := h.Identity.Leave(h.guarded(ctx), password); err != nil {
		return nil, err
	}
	return &signedOut{[]http.Cookie{h.keeper.NoCookie(ctx)}}, nil
}

// me shows the account that do returns.
func (h console) me(ctx context.Context, do func(context.Context) (store.User, error)) (*userOut, error) {
	u, err := do(ctx)
	if err != nil {
		return nil, err
	}
	body, err := h.showUser(ctx, u)
	return &userOut{body}, err
}

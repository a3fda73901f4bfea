package console

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
)

// UserList is one page of all accounts.
type UserList struct {
	Users      []User  `json:"users" nullable:"false"`
	NextCursor *string `json:"next_cursor" doc:"null on the last page." example:"dXNyXzA2ZXZqbTltODB6eTNmNjByencybjU2dHdn"`
}

// StatusChange bans an account or lets it in again.
type StatusChange struct {
	Status string `json:"status" enum:"active,banned" example:"banned"`
}

// RoleChange says what an account may do.
type RoleChange struct {
	Role string `json:"role" enum:"admin,operator,user" example:"operator"`
}

// PasswordChoice sets an account's password.
type PasswordChoice struct {
	NewPassword *string `json:"new_password,omitempty" format:"password" doc:"8 to 128 characters, and not one of the most common passwords. Left out: one is made up." example:"correct horse battery staple"`
}

// PasswordMade is a password that was made up.
type PasswordMade struct {
	TemporaryPassword string `json:"temporary_password,omitempty" doc:"Where one was made up. Shown this once." example:"Vq3rY0b1s9Kx7mDw2LtZcA8u"`
}

// LoginRecord is one try to sign in.
type LoginRecord struct {
	ID        string         `json:"id" example:"lgn_06evjm9m80zy3f60rzw2n56twg"`
	At        operation.Time `json:"at"`
	IP        string         `json:"ip" example:"203.0.113.7"`
	UserAgent string         `json:"user_agent" example:"Mozilla/5.0"`
	Method    string         `json:"method" doc:"password, register, or sso: and the provider's name." example:"password"`
	Result    string         `json:"result" doc:"success, or the code of the refusal." example:"success"`
}

// LoginList is one page of an account's sign-ins.
type LoginList struct {
	Logins     []LoginRecord `json:"logins" nullable:"false"`
	NextCursor *string       `json:"next_cursor" doc:"null on the last page." example:"bGduXzA2ZXZqbTltODB6eTNmNjByencybjU2dHdn"`
}

// UserRef is a path that names an account. It is exported for huma, as ClusterRef is.
type UserRef struct {
	UserID string `path:"userID" doc:"The account's id." example:"usr_06evjm9m80zy3f60rzw2n56twg"`
}

// id is nobody's where the text cannot be one: who may not ask is told so first.
func (r UserRef) id() id.User {
	i, err := id.Parse[id.UserKind](r.UserID)
	if err != nil {
		return id.User{}
	}
	return i
}

type usersIn struct {
	Search string `query:"search" doc:"Part of the e-mail address or the name, in upper or lower case." example:"ada"`
	Status string `query:"status" enum:"active,banned"`
	Role   string `query:"role" enum:"admin,operator,user"`
	operation.Paged
}

type usersOut struct{ Body UserList }

type loginsOut struct{ Body LoginList }

func (h console) registerAdminUsers() {
	const guards = " Nobody may do this to their own account, so an administrator always remains."
	paged := []*huma.Param{operation.LimitParam()}
	const inPerson = " It needs a session, not an API key."
	changes := []string{"forbidden", "user_not_found", "own_account", "stale_version"}
	changesInPerson := append([]string{"session_required"}, changes...)
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "listUsers", Method: http.MethodGet, Path: "/api/console/admin/users", Tags: []string{tagUsers},
		Summary: "List all accounts", Description: "Newest first. Filters apply before the limit.", Parameters: paged,
	}, []string{"validation_failed", "forbidden"}, h.listUsers)
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "getUser", Method: http.MethodGet, Path: "/api/console/admin/users/{userID}", Tags: []string{tagUsers},
		Summary: "Read an account",
	}, []string{"forbidden", "user_not_found"}, func(ctx context.Context, in *UserRef) (*userOut, error) {
		return h.about(ctx, *in, h.Identity.Account)
	})
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "setUserStatus", Method: http.MethodPut, Path: "/api/console/admin/users/{userID}/status", Tags: []string{tagUsers},
		Summary: "Ban an account, or let it in again", Description: "A ban takes effect at once: sessions end, and API keys are refused until it is lifted." + guards,
	}, changes, func(ctx context.Context, in *struct {
		UserRef
		Body StatusChange
	},
	) (*userOut, error) {
		return h.about(ctx, in.UserRef, func(ctx context.Context, i id.User) (store.User, error) {
			return h.Identity.SetStatus(ctx, i, identity.Status(in.Body.Status))
		})
	})
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "setUserRole", Method: http.MethodPut, Path: "/api/console/admin/users/{userID}/role", Tags: []string{tagUsers},
		Summary: "Say what an account may do", Description: "It counts from the account's next request on." + inPerson + guards,
	}, changesInPerson, func(ctx context.Context, in *struct {
		UserRef
		Body RoleChange
	},
	) (*userOut, error) {
		return h.about(ctx, in.UserRef, func(ctx context.Context, i id.User) (store.User, error) {
			return h.Identity.SetRole(ctx, i, actor.Role(in.Body.Role))
		})
	})
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "resetUserPassword", Method: http.MethodPost, Path: "/api/console/admin/users/{userID}/reset-password", Tags: []string{tagUsers},
		Summary: "Set an account's password", Description: "Sets the password that is sent, or one that is made up, and ends the account's sessions. Its API keys stay." + inPerson + guards,
	}, changesInPerson, h.resetUserPassword)
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "listUserLogins", Method: http.MethodGet, Path: "/api/console/admin/users/{userID}/login-history", Tags: []string{tagUsers},
		Summary: "See who signed in to an account", Description: "Newest first, refusals among them, for 180 days.", Parameters: paged,
	}, []string{"validation_failed", "forbidden", "user_not_found"}, h.listUserLogins)
}

func (h console) listUsers(ctx context.Context, in *usersIn) (*usersOut, error) {
	q, err := operation.Query[id.UserKind](in.Paged)
	if err != nil {
		return nil, err
	}
	if err := operation.Text("search", in.Search); err != nil {
		return nil, err
	}
	page, err := h.Identity.Accounts(ctx, store.UserFilter{Search: in.Search, Status: in.Status, Role: in.Role}, q)
	if err != nil {
		return nil, err
	}
	users, err := h.showUsers(ctx, page.Items...)
	return &usersOut{UserList{users, operation.Cursor(page.Next)}}, err
}

// about shows the account that do returns.
func (h console) about(ctx context.Context, ref UserRef, do func(context.Context, id.User) (store.User, error)) (*userOut, error) {
	return h.me(ctx, func(ctx context.Context) (store.User, error) { return do(ctx, ref.id()) })
}

func (h console) resetUserPassword(ctx context.Context, in *struct {
	UserRef
	Body *PasswordChoice
},
) (*struct{ Body PasswordMade }, error) {
	var password secret.Text
	if in.Body != nil && in.Body.NewPassword != nil {
		if password = secret.New(*in.Body.NewPassword); password.IsZero() {
			return nil, problem.Invalid("body.new_password", "must not be empty; leave it out to have one made up")
		}
	}
	made, err := h.Identity.ResetPasswordOf(ctx, in.id(), password)
	return &struct{ Body PasswordMade }{PasswordMade{made.Reveal()}}, err
}

func (h console) listUserLogins(ctx context.Context, in *struct {
	UserRef
	operation.Paged
},
) (*loginsOut, error) {
	q, err := operation.Query[id.SignInKind](in.Paged)
	if err != nil {
		return nil, err
	}
	page, err := h.Identity.SignInsOf(ctx, in.id(), q)
	return &loginsOut{LoginList{each(page.Items, showLogin), operation.Cursor(page.Next)}}, err
}

func showLogin(i store.SignIn) LoginRecord {
	return LoginRecord{ID: i.ID.String(), At: operation.At(i.At), IP: i.IP, UserAgent: i.UserAgent, Method: i.Method, Result: i.Result}
}

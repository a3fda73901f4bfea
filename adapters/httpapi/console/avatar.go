package console

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"

	"github.com/kubebyon/kubebyon/adapters/httpapi/edge"
	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/adapters/httpapi/picture"
	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
)

// AvatarAnswer says where a picture is.
type AvatarAnswer struct {
	AvatarURL string `json:"avatar_url" doc:"A path on this server. Another picture has another one." example:"/avatars/usr_06evjm9m80zy3f60rzw2n56twg/1f0c3a9be2d74d5f8a6b7c8d9e0f1a2b.png"`
}

// AvatarRoute is where pictures are served.
const AvatarRoute = "/avatars/{userID}/{picture}"

const (
	avatarPath   = "/avatars/"
	avatarEnding = ".png"
)

func avatarAt(u id.User, tag string) string {
	return avatarPath + u.String() + "/" + tag + avatarEnding
}

func (h console) registerAvatar() {
	operation.Upload(h.api, huma.Operation{
		OperationID: "uploadAvatar", Method: http.MethodPost, Path: "/api/console/me/avatar", Tags: []string{tagAccount},
		Summary: "Change one's own picture",
		Description: "Takes a PNG, JPEG, GIF or WebP of at most 2 MiB, 4096 pixels to a side and 12.5 million pixels. What is kept is a PNG of at most 256 × 256 pixels, without anything else that was in the file. " +
			"Whoever has its address can see it, signed in or not; nobody can guess the address.",
		Middlewares: huma.Middlewares{h.limitedForUser(h.AuthLimit)},
	}, []string{"stale_version", "rate_limited", "picture_busy"}, h.uploadAvatar)
}

// limitedForUser refuses an operation that one account asks for too often,
// before its body is read.
func (h console) limitedForUser(l *edge.Limiter) operation.Middleware {
	return func(ctx huma.Context, next func(huma.Context)) {
		who, err := actor.From(ctx.Context())
		if err == nil {
			err = l.Take(ctx.Context(), scope(ctx)+who.UserID.String())
		}
		if err != nil {
			h.api.Refuse(ctx, err)
			return
		}
		next(ctx)
	}
}

func (h console) uploadAvatar(ctx context.Context, _ *struct{}) (*struct{ Body AvatarAnswer }, error) {
	portrait, err := h.studio.Portrait(ctx, operation.File(ctx))
	if err != nil {
		return nil, err
	}
	u, err := h.Identity.SetAvatar(ctx, identity.Picture{ContentType: picture.ContentType, Body: portrait, At: avatarAt})
	return &struct{ Body AvatarAnswer }{AvatarAnswer{u.AvatarURL}}, err
}

var pictureRE = regexp.MustCompile(`^([0-9a-f]{32})\.png$`) //nolint:gochecknoglobals // a constant

// Avatars serves pictures. A page shows them without a credential, which a
// browser would not send to another site's pages anyway; their addresses are
// given only to those who may see the account, and hold the hash of the picture.
func Avatars(from *identity.Service, log *slog.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		of, err := id.Parse[id.UserKind](chi.URLParam(r, "userID"))
		tag := pictureRE.FindStringSubmatch(chi.URLParam(r, "picture"))
		if err != nil || tag == nil {
			problem.Write(w, noPicture(r.Context()))
			return
		}
		a, err := from.Avatar(r.Context(), of, tag[1])
		if errors.Is(err, fault.NotFound) {
			problem.Write(w, noPicture(r.Context()))
			return
		}
		if err != nil {
			problem.Write(w, problem.From(r.Context(), log, err))
			return
		}
		h := w.Header()
		h.Set("Content-Type", a.ContentType)
		h.Set("Content-Length", strconv.Itoa(len(a.Body)))
		h.Set("Cache-Control", "public, max-age=31536000, immutable") // another picture has another address
		h.Set("Content-Security-Policy", "default-src 'none'; sandbox; frame-ancestors 'none'")
		_, _ = w.Write(a.Body) // a client that has gone reads nothing
	}
}

func noPicture(ctx context.Context) *problem.Problem {
	return problem.New(ctx, http.StatusNotFound, "not_found", "There is nothing under this path.")
}

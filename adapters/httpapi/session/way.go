package session

import (
	"context"
	"net/http"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/signon"
)

// WayCookieName is the cookie of a browser on its way to a sign-in provider and
// back. Over https it begins with __Host-: browsers take such a cookie from this
// very host only, so that no neighbour in the domain can send a browser back on
// a way of the neighbour's.
const WayCookieName = "kubebyon_sso"

func (k Keeper) wayName(ctx context.Context) string {
	if k.isSecure(ctx) {
		return "__Host-" + WayCookieName
	}
	return WayCookieName
}

// WayCookie carries a way that has just begun. It is sent along when the
// provider's page sends the browser back, which SameSite=Strict would not allow.
func (k Keeper) WayCookie(ctx context.Context, way secret.Text) http.Cookie {
	return k.cookie(ctx, k.wayName(ctx), way.Reveal(), int(signon.Life/time.Second))
}

// NoWayCookie takes the cookie back.
func (k Keeper) NoWayCookie(ctx context.Context) http.Cookie {
	return k.cookie(ctx, k.wayName(ctx), "", -1)
}

// Way returns what the browser brings. Of two cookies none is believed, see
// cookieToken.
func (k Keeper) Way(r *http.Request) secret.Text {
	all := r.CookiesNamed(k.wayName(r.Context()))
	if len(all) != 1 {
		return secret.Text{}
	}
	return secret.New(all[0].Value)
}

package oidcsso_test

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/outbound"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// TestTheGuardedWayOut: an issuer may be where the client lets one be, and is
// an outage elsewhere.
func TestTheGuardedWayOut(t *testing.T) {
	t.Parallel()
	l := newLiar(t)
	admitting := outbound.New(outbound.Config{Admit: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}).HTTP()
	l.mustSignIn(t, connect(t, with(t, admitting), l.config()), "with loopback addresses admitted")

	asked := l.times(wellKnown)
	_, err := connect(t, with(t, outbound.New(outbound.Config{}).HTTP()), l.config()).Begin(t.Context(), attempt())
	if fault.CodeOf(err) != "sso_unavailable" || !strings.Contains(err.Error(), "loopback") || l.times(wellKnown) != asked {
		t.Errorf("with none admitted: %v; want sso_unavailable, and why", err)
	}

	l.does("/token", slow)
	impatient := outbound.New(outbound.Config{Timeout: 300 * time.Millisecond, Admit: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}).HTTP()
	if _, err := l.signIn(t, connect(t, with(t, impatient), l.config())); !errors.Is(err, fault.Unavailable) {
		t.Errorf("a provider that hangs: %v", err)
	}
	l.does("/token", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/token2", http.StatusTemporaryRedirect)
	})
	if _, err := l.signIn(t, connect(t, with(t, admitting), l.config())); fault.CodeOf(err) != "sso_failed" || l.times("/token2") != 0 {
		t.Errorf("a redirect: %v", err)
	}
}

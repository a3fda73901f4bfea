package tenanttest

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func joining() map[string]func(*testing.T, World) {
	return map[string]func(*testing.T, World){
		"PrepareMayBeRepeated":   prepareMayBeRepeated,
		"EndpointIsComplete":     endpointIsComplete,
		"PutTokenIsUsableAtOnce": putTokenIsUsableAtOnce,
		"PutReplacesTheSecret":   putReplacesTheSecret,
		"ExpiredTokenIsRefused": func(t *testing.T, w World) {
			badToken(t, w, func(b *tenant.BootstrapToken) { b.Expires = time.Now().Add(-time.Second) })
		},
		"OddTokenIDIsRefused": func(t *testing.T, w World) { badToken(t, w, func(b *tenant.BootstrapToken) { b.ID = "../abc" }) },
		"ShortSecretIsRefused": func(t *testing.T, w World) {
			badToken(t, w, func(b *tenant.BootstrapToken) { b.Secret = secret.New("short") })
		},
		"DeletedTokenIsUseless":       deletedTokenIsUseless,
		"DeletingNoTokenIsFine":       deletingNoTokenIsFine,
		"RequestIsSeen":               requestIsSeen,
		"PendingRequestIsListed":      pendingRequestIsListed,
		"ApprovedRequestIsNotListed":  func(t *testing.T, w World) { decidedIsNotListed(t, w, true) },
		"DeniedRequestIsNotListed":    func(t *testing.T, w World) { decidedIsNotListed(t, w, false) },
		"FirstDecisionStands":         firstDecisionStands,
		"DecidingNothingIsFine":       decidingNothingIsFine,
		"ADecisionIsForWhatWasSeen":   aDecisionIsForWhatWasSeen,
		"OtherRequestsAreNotOurs":     otherRequestsAreNotOurs,
		"EachMachineHasItsOwnKeyHash": eachMachineHasItsOwnKeyHash,
		"ARequestIsHandedOnOnce":      aRequestIsHandedOnOnce,
	}
}

// prepared opens the tenant and makes it ready for joins.
func prepared(t *testing.T, w World) tenant.Tenant {
	t.Helper()
	in := w.open(t)
	if err := in.PrepareJoin(t.Context()); err != nil {
		t.Fatalf("PrepareJoin: %v", err)
	}
	return in
}

// put makes a token usable until the test ends.
func put(t *testing.T, in tenant.Tenant, b tenant.BootstrapToken) tenant.BootstrapToken {
	t.Helper()
	began := time.Now()
	if err := in.PutBootstrapToken(t.Context(), b); err != nil {
		t.Fatalf("PutBootstrapToken: %v", err)
	}
	t.Logf("the bootstrap token was usable after %v", time.Since(began).Round(time.Millisecond))
	return b
}

func prepareMayBeRepeated(t *testing.T, w World) {
	in := prepared(t, w)
	for range 2 {
		if err := in.PrepareJoin(t.Context()); err != nil {
			t.Fatalf("PrepareJoin again: %v", err)
		}
	}
}

func endpointIsComplete(t *testing.T, w World) {
	e, err := prepared(t, w).Endpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if host, port, err := net.SplitHostPort(e.Server); err != nil || host == "" || port == "" {
		t.Errorf("Server is %q, want host:port", e.Server)
	}
	if !strings.HasPrefix(e.KubernetesVersion, "v1.") || strings.Contains(e.KubernetesVersion, "+") {
		t.Errorf("KubernetesVersion is %q, want v1.MINOR.PATCH", e.KubernetesVersion)
	}
	block, _ := pem.Decode(e.CACert)
	if block == nil {
		t.Fatalf("CACert is not PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatalf("CACert: %v", err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	if want := "sha256:" + hex.EncodeToString(sum[:]); e.CACertHash != want {
		t.Errorf("CACertHash is %q, want %q", e.CACertHash, want)
	}
}

func putTokenIsUsableAtOnce(t *testing.T, w World) {
	b := put(t, prepared(t, w), token())
	if !w.Authenticates(t, b.ID, b.Secret) {
		t.Error("the token does not authenticate")
	}
	if !w.Signed(t, b.ID) {
		t.Error("cluster-info is not signed with the token")
	}
	if w.Authenticates(t, b.ID, secret.New(lowerText(16))) {
		t.Error("another secret authenticates too")
	}
}

func putReplacesTheSecret(t *testing.T, w World) {
	in := prepared(t, w)
	b := put(t, in, token())
	again := b
	again.Secret, again.Expires = secret.New(lowerText(16)), b.Expires.Add(time.Minute)
	put(t, in, again)
	if !w.Authenticates(t, again.ID, again.Secret) {
		t.Error("the new secret does not authenticate")
	}
	eventually(t, "the old secret is useless", func() bool { return !w.Authenticates(t, b.ID, b.Secret) })
	put(t, in, again) // the same once more
}

func badToken(t *testing.T, w World, spoil func(*tenant.BootstrapToken)) {
	b := token()
	spoil(&b)
	err := w.open(t).PutBootstrapToken(t.Context(), b)
	if !errors.Is(err, fault.Invalid) {
		t.Errorf("PutBootstrapToken: %v, want fault.Invalid", err)
	} else if strings.Contains(err.Error(), b.Secret.Reveal()) {
		t.Errorf("the error holds the secret: %v", err)
	}
}

func deletedTokenIsUseless(t *testing.T, w World) {
	in := prepared(t, w)
	b := put(t, in, token())
	if err := in.DeleteBootstrapToken(t.Context(), b.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the signature is gone", func() bool { return !w.Signed(t, b.ID) })
	eventually(t, "the token is useless", func() bool { return !w.Authenticates(t, b.ID, b.Secret) })
}

func deletingNoTokenIsFine(t *testing.T, w World) {
	in := w.open(t)
	if err := in.DeleteBootstrapToken(t.Context(), lowerText(6)); err != nil {
		t.Errorf("a token that never was: %v", err)
	}
	b := put(t, prepared(t, w), token())
	for range 2 {
		if err := in.DeleteBootstrapToken(t.Context(), b.ID); err != nil {
			t.Errorf("DeleteBootstrapToken: %v", err)
		}
	}
}

func requestIsSeen(t *testing.T, w World) {
	in := prepared(t, w)
	b := put(t, in, token())
	r := watch(t, in)
	want := w.Ask(t, b, unique("node"))
	r.await(t, "the join request", aboutRequest(want.Name))
	if got := *r.all(aboutRequest(want.Name))[0].Request; got != want || got.Bootstrap != b.ID || got.KeyHash == "" {
		t.Errorf("the join request is shown as %+v, want %+v", got, want)
	}
	if err := in.DecideJoin(t.Context(), want, true, "the first machine of its token"); err != nil {
		t.Fatalf("DecideJoin: %v", err)
	}
	if v := w.Verdict(t, want.Name); !v.Approved || v.Denied || v.Message != "the first machine of its token" {
		t.Errorf("after the approval: %+v", v)
	}
}

func pendingRequestIsListed(t *testing.T, w World) {
	in := prepared(t, w)
	want := w.Ask(t, put(t, in, token()), unique("node"))
	r := watch(t, in)
	if got := r.all(aboutRequest(want.Name)); len(got) != 1 || *got[0].Request != want {
		t.Errorf("when Synced, %d changes about the request, want 1", len(got))
	}
}

func decidedIsNotListed(t *testing.T, w World, approve bool) {
	in := prepared(t, w)
	request := w.Ask(t, put(t, in, token()), unique("node"))
	if v := w.Verdict(t, request.Name); v.Approved || v.Denied {
		t.Fatalf("decided before anybody did: %+v", v)
	}
	if err := in.DecideJoin(t.Context(), request, approve, "test"); err != nil {
		t.Fatal(err)
	}
	if v := w.Verdict(t, request.Name); v.Approved != approve || v.Denied == approve {
		t.Errorf("decided with %v: %+v", approve, v)
	}
	if got := watch(t, in).all(aboutRequest(request.Name)); len(got) != 0 {
		t.Errorf("a decided request is handed on: %+v", got)
	}
}

func firstDecisionStands(t *testing.T, w World) {
	in := prepared(t, w)
	request := w.Ask(t, put(t, in, token()), unique("node"))
	for _, approve := range []bool{false, true, false} {
		if err := in.DecideJoin(t.Context(), request, approve, "test"); err != nil {
			t.Fatalf("DecideJoin: %v", err)
		}
	}
	if v := w.Verdict(t, request.Name); v.Approved || !v.Denied {
		t.Errorf("denied first, approved later: %+v", v)
	}
}

func decidingNothingIsFine(t *testing.T, w World) {
	in := prepared(t, w)
	if err := in.DecideJoin(t.Context(), tenant.JoinRequest{Name: unique("csr")}, true, "test"); err != nil {
		t.Errorf("a request that never was: %v", err)
	}
	request := w.Ask(t, put(t, in, token()), unique("node"))
	w.Forget(t, request.Name)
	if err := in.DecideJoin(t.Context(), request, true, "test"); err != nil {
		t.Errorf("a request that is gone: %v", err)
	}
}

// aDecisionIsForWhatWasSeen: between the look and the decision, somebody may
// put another request in the place of the one that was looked at.
func aDecisionIsForWhatWasSeen(t *testing.T, w World) {
	in := prepared(t, w)
	b := put(t, in, token())
	seen := w.Ask(t, b, unique("node"))
	other := w.Replace(t, seen, b, unique("node"))
	if other.Name != seen.Name || other.UID == seen.UID || other.KeyHash == seen.KeyHash {
		t.Fatalf("the harness replaced %+v by %+v", seen, other)
	}
	mixed := seen
	mixed.UID = other.UID
	for _, r := range []tenant.JoinRequest{seen, mixed} {
		if err := in.DecideJoin(t.Context(), r, true, "test"); err != nil {
			t.Errorf("a request that another has replaced: %v", err)
		}
		if v := w.Verdict(t, other.Name); v.Approved || v.Denied {
			t.Fatalf("what took its name was decided: %+v", v)
		}
	}
	r := watch(t, in)
	r.await(t, "the other request", func(c tenant.Change) bool { return c.Request != nil && *c.Request == other })
	if err := in.DecideJoin(t.Context(), other, true, "test"); err != nil || !w.Verdict(t, other.Name).Approved {
		t.Errorf("the other cannot be decided: %v, %+v", err, w.Verdict(t, other.Name))
	}
}

func otherRequestsAreNotOurs(t *testing.T, w World) {
	in := prepared(t, w)
	b := put(t, in, token())
	listed := w.AskOtherwise(t, b)
	r := watch(t, in)
	added := w.AskOtherwise(t, b)
	mark := w.Ask(t, b, unique("node"))
	r.await(t, "the one real request", aboutRequest(mark.Name))
	for _, name := range append(listed, added...) {
		if r.find(aboutRequest(name)) >= 0 {
			t.Errorf("%s was handed on", name)
		}
		if err := in.DecideJoin(t.Context(), tenant.JoinRequest{Name: name}, true, "test"); err == nil {
			t.Errorf("DecideJoin approved %s", name)
		}
		if v := w.Verdict(t, name); v.Approved || v.Denied {
			t.Errorf("%s was decided: %+v", name, v)
		}
	}
}

func eachMachineHasItsOwnKeyHash(t *testing.T, w World) {
	b, node := put(t, prepared(t, w), token()), unique("node")
	first, second := w.Ask(t, b, node), w.Ask(t, b, node)
	if first.KeyHash == second.KeyHash || first.Name == second.Name {
		t.Errorf("two machines look alike: %+v and %+v", first, second)
	}
	r := watch(t, w.open(t))
	for _, want := range []tenant.JoinRequest{first, second} {
		if got := r.all(aboutRequest(want.Name)); len(got) != 1 || *got[0].Request != want {
			t.Errorf("%d changes about %+v", len(got), want)
		}
	}
}

func aRequestIsHandedOnOnce(t *testing.T, w World) {
	in := prepared(t, w)
	b := put(t, in, token())
	r := watch(t, in)
	request := w.Ask(t, b, unique("node"))
	r.await(t, "the join request", aboutRequest(request.Name))
	if err := in.DecideJoin(t.Context(), request, false, "test"); err != nil {
		t.Fatal(err)
	}
	mark := w.Ask(t, b, unique("node"))
	r.await(t, "a later request", aboutRequest(mark.Name))
	if got := r.all(aboutRequest(request.Name)); len(got) != 1 {
		t.Errorf("handed on %d times", len(got))
	}
}

// eventually is for what a tenant does in its own time.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("after %v it is still not so that %s", patience, what)
		}
	}
}

package kubetenant

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

const (
	bootstrapSecret    = "bootstrap-token-"
	bootstrapType      = "bootstrap.kubernetes.io/token"
	bootstrapSignature = "jws-kubeconfig-"
)

var bootstrapValue = regexp.MustCompile(`^[a-z0-9]{16}$`)

// PutBootstrapToken writes the token and waits until a machine could use it:
// the signer and the authenticator each learn of it from a watch of their own,
// and a machine that is faster than they are would fail for no reason.
func (t *cluster) PutBootstrapToken(ctx context.Context, b tenant.BootstrapToken) error {
	if err := t.check(b); err != nil {
		return err
	}
	if err := t.call(ctx, "write bootstrap token", func(ctx context.Context) error { return t.applyToken(ctx, b) }); err != nil {
		return err
	}
	within, cancel := context.WithTimeoutCause(ctx, t.config.TokenTimeout, errTokenTimeout)
	defer cancel()
	err := t.awaitSignature(within, b)
	if err == nil {
		err = t.awaitAuthentication(within, b)
	}
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(within), errTokenTimeout) {
		return fault.Unavailable.New("bootstrap_token_unusable",
			"The cluster has not taken up the join token in %s: its API server or its controllers may not be set up for bootstrap tokens.", t.config.TokenTimeout).Because(err)
	}
	return explain(ctx, "wait for bootstrap token", err)
}

var errTokenTimeout = errors.New("the bootstrap token took too long to become usable")

func (t *cluster) check(b tenant.BootstrapToken) error {
	var c fault.Check
	c.That(bootstrapID.MatchString(b.ID), "bootstrap_token.id", "must be six characters of a-z and 0-9")
	c.That(bootstrapValue.MatchString(b.Secret.Reveal()), "bootstrap_token.secret", "must be sixteen characters of a-z and 0-9")
	c.That(b.Expires.After(t.config.Now()), "bootstrap_token.expires", "must be in the future")
	return c.Err()
}

func (t *cluster) applyToken(ctx context.Context, b tenant.BootstrapToken) error {
	wanted := applycore.Secret(bootstrapSecret+b.ID, systemNamespace).WithType(bootstrapType).WithData(map[string][]byte{
		"token-id":                       []byte(b.ID),
		"token-secret":                   []byte(b.Secret.Reveal()),
		"description":                    []byte(b.Description),
		"expiration":                     []byte(b.Expires.UTC().Format(time.RFC3339)),
		"usage-bootstrap-authentication": []byte("true"),
		"usage-bootstrap-signing":        []byte("true"),
		"auth-extra-groups":              []byte(joinGroup),
	})
	_, err := t.core.Secrets(systemNamespace).Apply(ctx, wanted, applyOptions())
	return err
}

// awaitSignature waits until cluster-info is signed with the token.
func (t *cluster) awaitSignature(ctx context.Context, b tenant.BootstrapToken) error {
	errSigned := errors.New("signed")
	look := func(_ context.Context, m *corev1.ConfigMap) error {
		if signs(b.Secret, m.Data[kubeconfigKey], m.Data[bootstrapSignature+b.ID]) {
			return errSigned
		}
		return nil
	}
	f := t.clusterInfoFeed(look)
	version, err := f.refresh(ctx, t.config.CallTimeout)
	if err == nil {
		err = f.follow(ctx, version)
	}
	if errors.Is(err, errSigned) {
		return nil
	}
	return err
}

func (t *cluster) clusterInfoFeed(look func(context.Context, *corev1.ConfigMap) error) *feed[*corev1.ConfigMap] {
	const only = "metadata.name=" + clusterInfo
	return &feed[*corev1.ConfigMap]{
		t: t, what: clusterInfo, most: 1, saw: look, listed: look, begin: func() {},
		gone:  func(context.Context, *corev1.ConfigMap) error { return nil },
		whole: func(context.Context, bool) error { return nil },
		list: func(ctx context.Context, o metav1.ListOptions) ([]*corev1.ConfigMap, metav1.ListMeta, error) {
			o.FieldSelector = only
			all, err := t.core.ConfigMaps(publicNamespace).List(ctx, o)
			if err != nil {
				return nil, metav1.ListMeta{}, err
			}
			return pointers(all.Items), all.ListMeta, nil
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = only
			return t.core.ConfigMaps(publicNamespace).Watch(ctx, o)
		},
	}
}

// signs checks a detached HS256 signature (RFC 7515, appendix F), so that one
// by a former secret of the same id is not taken for the new one's.
func signs(key secret.Text, content, jws string) bool {
	parts := strings.Split(jws, ".")
	if len(parts) != 3 || parts[1] != "" {
		return false
	}
	given, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	_, _ = io.WriteString(mac, parts[0]+"."+base64.RawURLEncoding.EncodeToString([]byte(content)))
	return hmac.Equal(given, mac.Sum(nil))
}

// awaitAuthentication asks something harmless with the token until the API
// server knows it. There is nothing to watch.
func (t *cluster) awaitAuthentication(ctx context.Context, b tenant.BootstrapToken) error {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		known, err := t.authenticates(ctx, b)
		if known || err != nil {
			return err
		}
		if !pause(ctx, wait) {
			return context.Cause(ctx)
		}
	}
}

func (t *cluster) authenticates(ctx context.Context, b tenant.BootstrapToken) (known bool, err error) {
	err = t.call(ctx, "try bootstrap token", func(ctx context.Context) error {
		at, err := url.JoinPath(t.server, "version")
		if err != nil {
			return err
		}
		ask, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
		if err != nil {
			return err
		}
		ask.Header.Set("Authorization", "Bearer "+b.ID+"."+b.Secret.Reveal())
		answer, err := t.anonymous.Do(ask)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16))
		known = answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusForbidden
		return nil
	})
	return known, err
}

// DeleteBootstrapToken removes the Secret. The signer drops its signature when
// it learns of that, and an API server that has just seen the token may know it
// for ten seconds more (its cache of successes).
func (t *cluster) DeleteBootstrapToken(ctx context.Context, bootstrapTokenID string) error {
	if !bootstrapID.MatchString(bootstrapTokenID) {
		return nil
	}
	return t.call(ctx, "delete bootstrap token", func(ctx context.Context) error {
		err := t.core.Secrets(systemNamespace).Delete(ctx, bootstrapSecret+bootstrapTokenID, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}

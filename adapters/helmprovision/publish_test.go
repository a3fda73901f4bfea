package helmprovision

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubebyon/kubebyon/ports/provision"
)

// TestTheWayToPublishCanChange goes once round, and comes back to the same port.
func TestTheWayToPublishCanChange(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	c, client := b.config(t), b.client(t)
	var to atomic.Value // where port 443 of any name leads to
	c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if _, port, _ := net.SplitHostPort(address); port == "443" {
			address, _ = to.Load().(string)
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	p := start(t, c)
	w := wanted(t, p)
	apply(t, p, w)
	first := until(t, p, w.ID, provision.Ready)
	node, port, err := net.SplitHostPort(strings.TrimPrefix(first.Endpoint, "https://"))
	if err != nil || strconv.Itoa(first.Port) != port {
		t.Fatalf("at first it is %+v", first)
	}
	before, err := p.Kubeconfig(t.Context(), w.ID)
	if err != nil {
		t.Fatal(err)
	}

	w.PublicMode = provision.LoadBalancer // of which nobody knows the address yet
	to.Store(net.JoinHostPort(node, port))
	apply(t, p, w)
	balanced := until(t, p, w.ID, provision.Ready)
	s, err := client.CoreV1().Services(w.Name).Get(t.Context(), w.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if balanced.Port != 443 || s.Spec.Type != corev1.ServiceTypeLoadBalancer || balanced.Endpoint != "https://"+balancer(s)+":443" {
		t.Errorf("with a load balancer at %q it is %+v", balancer(s), balanced)
	}

	w.PublicMode, w.Host = provision.Ingress, w.Name+".example.com"
	to.Store(net.JoinHostPort(node, ingressPort(t, b)))
	apply(t, p, w)
	if o := until(t, p, w.ID, provision.Ready); o.Endpoint != "https://"+w.Host+":443" {
		t.Errorf("behind an Ingress it is %+v", o)
	}
	if s, err = client.CoreV1().Services(w.Name).Get(t.Context(), w.Name, metav1.GetOptions{}); err != nil || s.Spec.Type != corev1.ServiceTypeClusterIP {
		t.Errorf("behind an Ingress the Service is %s, %v", s.Spec.Type, err)
	}

	w.PublicMode, w.Host, w.FormerHosts = provision.NodePort, "", []string{w.Host}
	apply(t, p, w)
	last := until(t, p, w.ID, provision.Ready)
	if last.Endpoint != first.Endpoint {
		t.Errorf("back again it is at %s, and was at %s", last.Endpoint, first.Endpoint)
	}
	if after, err := p.Kubeconfig(t.Context(), w.ID); err != nil || !after.Equal(before) {
		t.Errorf("the kubeconfig of the beginning is not the one of the end: %v", err)
	}
	// Whoever joined under another name still finds it in the certificate.
	roots := x509.NewCertPool()
	if s := p.window.scene(w.ID); s.unusable != nil || !roots.AppendCertsFromPEM(s.key.ca) {
		t.Fatal(s.unusable)
	}
	for _, name := range []string{node, balancer(p.window.scene(w.ID).service), w.FormerHosts[0], strings.Split(strings.TrimPrefix(balanced.Endpoint, "https://"), ":")[0]} {
		if name == "" {
			continue
		}
		conn, err := tls.Dial("tcp", strings.TrimPrefix(last.Endpoint, "https://"), &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12})
		if err != nil {
			t.Errorf("as %s: %v", name, err)
			continue
		}
		_ = conn.Close()
	}
}

func ingressPort(t testing.TB, b *hostBox) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "host", "host.json"))
	if err != nil {
		t.Fatal(err)
	}
	var kept struct {
		IngressPort int `json:"ingress_port"`
	}
	if err := json.Unmarshal(text, &kept); err != nil || kept.IngressPort == 0 {
		t.Fatalf("host.json tells no port for Ingresses: %v", err)
	}
	return strconv.Itoa(kept.IngressPort)
}

// TestAnAddressThatDoesNotLeadThereIsSaidSo without saying what is there.
func TestAnAddressThatDoesNotLeadThereIsSaidSo(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	c := b.config(t)
	c.PublishTimeout = time.Second
	var waited []string
	c.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("hunter2 refused") }
	p := start(t, c)
	w := wanted(t, p)
	w.Host = "elsewhere.example.com"
	apply(t, p, w)
	o := until(t, p, w.ID, provision.Failed, func(o provision.Observed) {
		if o.Stage == provision.WaitingAddress {
			waited = append(waited, o.Waiting)
		}
	})
	if len(waited) == 0 || !strings.Contains(waited[len(waited)-1], "does not answer at https://elsewhere.example.com:") || strings.Contains(strings.Join(waited, ""), "refused") {
		t.Errorf("meanwhile: %q", waited)
	}
	if !strings.Contains(o.Reason, "does not answer at https://elsewhere.example.com:") || strings.Contains(o.Reason, "refused") {
		t.Errorf("it failed: %s", o.Reason)
	}
	speaks(t, p.Inside, w.ID)
	w.Public = false
	apply(t, p, w)
	if o := until(t, p, w.ID, provision.Ready); o.Endpoint != "https://elsewhere.example.com:443" {
		t.Errorf("when it is not public it is %+v", o)
	}
}

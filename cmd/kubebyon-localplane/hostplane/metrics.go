package hostplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/pki"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/publish"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

const (
	metricsService = "metrics-server"
	metricsGroup   = "metrics.k8s.io"
	metricsVersion = "v1beta1"
	metricsPath    = "/apis/apiregistration.k8s.io/v1/apiservices/" + metricsVersion + "." + metricsGroup

	// metricsPort needs no privilege; the API server connects to it on the Service's address.
	metricsPort = 4443

	headerPatience = 10 * time.Second
	closePatience  = time.Second
)

// serveMetrics puts the metrics API behind the host's, or takes it away. It says whether it is
// there.
func (b *box) serveMetrics(ctx context.Context, all *sync.WaitGroup) (bool, error) {
	if b.NoMetrics {
		err := b.client.Discovery().RESTClient().Delete().AbsPath(metricsPath).Do(ctx).Error()
		if apierrors.IsNotFound(err) {
			err = nil
		}
		return false, err
	}
	service, err := b.keepMetricsService(ctx)
	if err != nil {
		return false, fmt.Errorf("make the Service: %w", err)
	}
	security, authority, err := b.metricsSecurity()
	if err != nil {
		return false, err
	}
	l, err := publish.Listen(ctx, join(service.Spec.ClusterIP, metricsPort))
	if err != nil {
		return false, err
	}
	server := &http.Server{Handler: b.metricsHandler(b.meter), ReadHeaderTimeout: headerPatience}
	all.Go(func() { _ = server.Serve(tls.NewListener(l, security)) })
	context.AfterFunc(ctx, func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
		defer cancel()
		if server.Shutdown(late) != nil {
			_ = server.Close()
		}
	})
	return true, b.registerMetrics(ctx, authority)
}

// keepMetricsService has an address that nobody routes: the API server wants to see one, and
// goes to the ClusterIP.
func (b *box) keepMetricsService(ctx context.Context) (*corev1.Service, error) {
	services := b.client.CoreV1().Services(metav1.NamespaceSystem)
	_, err := services.Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: metricsService},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "https", Port: metricsPort}}},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, err
	}
	_, err = b.client.DiscoveryV1().EndpointSlices(metav1.NamespaceSystem).Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: metricsService, Labels: map[string]string{discoveryv1.LabelServiceName: metricsService, discoveryv1.LabelManagedBy: component}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("https"), Port: new(int32(metricsPort))}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{podIP(0)}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, err
	}
	return services.Get(ctx, metricsService, metav1.GetOptions{})
}

// metricsSecurity lets in only the API server, which has authenticated whoever asks.
func (b *box) metricsSecurity() (*tls.Config, []byte, error) {
	authority, err := pki.KeepAuthority(b.Dir.Path("pki"), "metrics-ca", "metrics-ca", b.Now)
	if err != nil {
		return nil, nil, err
	}
	pair, err := authority.KeepServer("metrics", metricsService, []string{metricsService + "." + metav1.NamespaceSystem + ".svc"})
	if err != nil {
		return nil, nil, err
	}
	certificate, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("load the certificate: %w", err)
	}
	frontProxy, err := os.ReadFile(b.Dir.Path("pki", "front-proxy-ca.crt"))
	if err != nil {
		return nil, nil, fmt.Errorf("read the API server's authority: %w", err)
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(frontProxy) {
		return nil, nil, refusal.New("The certificate %s is damaged.", b.Dir.Path("pki", "front-proxy-ca.crt"))
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients, NextProtos: []string{"http/1.1"},
	}, authority.PEM(), nil
}

func (b *box) registerMetrics(ctx context.Context, authority []byte) error {
	object, err := json.Marshal(map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
		"metadata": map[string]any{"name": metricsVersion + "." + metricsGroup},
		"spec": map[string]any{
			"group": metricsGroup, "version": metricsVersion, "groupPriorityMinimum": 100, "versionPriority": 100,
			"caBundle": authority,
			"service":  map[string]any{"namespace": metav1.NamespaceSystem, "name": metricsService, "port": metricsPort},
		},
	})
	if err != nil {
		return err
	}
	err = b.client.Discovery().RESTClient().Patch(types.ApplyYAMLPatchType).AbsPath(metricsPath).
		Param("fieldManager", component).Param("force", "true").Body(object).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("register the API: %w", err)
	}
	return nil
}

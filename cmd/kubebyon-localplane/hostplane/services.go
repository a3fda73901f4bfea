package hostplane

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/publish"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/tenants"
)

// dealService publishes a Service that selects a tenant's pods, and only such a one.
func (b *box) dealService(ctx context.Context, t thing) error {
	owner := t.namespace + "/" + t.name
	service, err := b.services.Services(t.namespace).Get(t.name)
	if apierrors.IsNotFound(err) || err == nil && service.DeletionTimestamp != nil {
		b.takeBack(owner)
		return b.board.Set(owner, nil)
	}
	if err != nil {
		return err
	}
	release := service.Spec.Selector[releaseLabel]
	if service.Spec.Selector[appLabel] != tenantApp || release == "" {
		return b.board.Set(owner, nil)
	}
	if service.Spec.Type != corev1.ServiceTypeLoadBalancer {
		b.takeBack(owner)
	}
	var balancer string
	if service.Spec.Type == corev1.ServiceTypeLoadBalancer {
		if balancer, err = b.loadBalancer(ctx, service); err != nil {
			return err
		}
	}
	backend := b.backend(tenants.Name{Namespace: t.namespace, Release: release})
	if err := b.board.Set(owner, b.listeners(service, balancer, backend)); err != nil {
		b.events.Event(service, corev1.EventTypeWarning, "NotPublished", refusal.Sentence(err))
		return err
	}
	return nil
}

// backend is the tenant's plane while it is ready.
func (b *box) backend(name tenants.Name) publish.Backend {
	return func() string { return b.tenants.State(name).Address }
}

// listeners are one for each address and port that the Service has in a cluster.
func (b *box) listeners(s *corev1.Service, balancer string, backend publish.Backend) map[string]publish.Backend {
	out := map[string]publish.Backend{}
	for _, port := range s.Spec.Ports {
		if port.Protocol != corev1.ProtocolTCP {
			continue
		}
		if s.Spec.ClusterIP != "" && s.Spec.ClusterIP != corev1.ClusterIPNone {
			out[join(s.Spec.ClusterIP, port.Port)] = backend
		}
		if port.NodePort != 0 {
			out[join(b.BindAddress, port.NodePort)] = backend
		}
		if balancer != "" {
			out[join(balancer, port.Port)] = backend
		}
	}
	return out
}

func join(host string, port int32) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }

// nodeAddress is where node ports are reached.
func (b *box) nodeAddress() string {
	if net.ParseIP(b.Host) != nil {
		return b.Host
	}
	if net.ParseIP(b.BindAddress).IsUnspecified() {
		return "127.0.0.1"
	}
	return b.BindAddress
}

// loadBalancer is the address that a Service of that type has, or is given.
func (b *box) loadBalancer(ctx context.Context, s *corev1.Service) (string, error) {
	address, err := b.give(s)
	if err != nil {
		return "", err
	}
	if slices.ContainsFunc(s.Status.LoadBalancer.Ingress, func(i corev1.LoadBalancerIngress) bool { return i.IP == address }) {
		return address, nil
	}
	status := corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: address}}}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"loadBalancer": status}})
	if err != nil {
		return "", err
	}
	_, err = b.client.CoreV1().Services(s.Namespace).Patch(ctx, s.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	return address, err
}

func (b *box) give(s *corev1.Service) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	owner := s.Namespace + "/" + s.Name
	for address, has := range b.given {
		if has == owner {
			return address, nil
		}
	}
	for n := range balancers {
		address := b.settings.balancerIP(n).String()
		if b.given[address] == "" {
			b.given[address] = owner
			return address, nil
		}
	}
	return "", fmt.Errorf("no address is left for a load balancer")
}

func (b *box) takeBack(owner string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for address, has := range b.given {
		if has == owner {
			delete(b.given, address)
		}
	}
}

// dealIngress publishes the hosts of an Ingress whose backend selects a tenant, and writes down
// where.
func (b *box) dealIngress(ctx context.Context, t thing) error {
	owner := t.namespace + "/" + t.name
	ingress, err := b.client.NetworkingV1().Ingresses(t.namespace).Get(ctx, t.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		b.names.Set(owner, nil)
		return nil
	}
	if err != nil {
		return err
	}
	hosts := map[string]publish.Backend{}
	for _, rule := range ingress.Spec.Rules {
		if rule.HTTP == nil || rule.Host == "" {
			continue
		}
		for _, path := range rule.HTTP.Paths {
			if path.Backend.Service != nil {
				hosts[rule.Host] = b.throughService(t.namespace, path.Backend.Service.Name)
			}
		}
	}
	b.names.Set(owner, hosts)
	return b.sayWhere(ctx, ingress)
}

// throughService looks the Service up for each connection: it may come after the Ingress.
func (b *box) throughService(namespace, name string) publish.Backend {
	return func() string {
		service, err := b.services.Services(namespace).Get(name)
		if err != nil || service.Spec.Selector[appLabel] != tenantApp {
			return ""
		}
		return b.tenants.State(tenants.Name{Namespace: namespace, Release: service.Spec.Selector[releaseLabel]}).Address
	}
}

func (b *box) sayWhere(ctx context.Context, ingress *networkingv1.Ingress) error {
	if len(ingress.Status.LoadBalancer.Ingress) == 1 && ingress.Status.LoadBalancer.Ingress[0].IP == b.nodeAddress() {
		return nil
	}
	ingress.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: b.nodeAddress()}}
	_, err := b.client.NetworkingV1().Ingresses(ingress.Namespace).UpdateStatus(ctx, ingress, metav1.UpdateOptions{})
	return err
}

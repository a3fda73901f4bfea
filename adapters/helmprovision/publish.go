package helmprovision

import (
	"cmp"
	"context"
	"encoding/json"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// publish finds out where the control plane is to be found. The Service is made
// before the chart is installed, which then adopts it: so the host cluster
// chooses the node port, and the control plane needs to start only once.
func (a *attempt) publish(ctx context.Context) (access, error) {
	out := access{Host: a.want.Host, Port: 443, Near: a.hosts()}
	kind := serviceType(a.want)
	if kind == "ClusterIP" {
		out.Host = or(out.Host, a.want.Name+"."+a.want.Name+".svc")
		return out, nil
	}
	s, err := a.service(ctx, corev1.ServiceType(kind))
	if err != nil {
		return out, told(err, "make the Service of "+a.want.Name)
	}
	out.NodePort = nodePortOf(s)
	if kind == "LoadBalancer" {
		out.Host = or(out.Host, balancer(s))
		return out, nil
	}
	out.Port = out.NodePort
	if out.Host == "" {
		out.Host, err = a.defaultHost(ctx)
	}
	return out, err
}

// defaultHost stays what it was, as nodes may come and go.
func (a *attempt) defaultHost(ctx context.Context) (string, error) {
	if a.p.config.PublicHost != "" {
		return a.p.config.PublicHost, nil
	}
	before, err := wantOf(a.namespace)
	if err == nil && before.Host == "" && serviceType(before) == "NodePort" {
		if host, _, err := net.SplitHostPort(a.note(noteEndpoint)); err == nil {
			return host, nil
		}
	}
	host, err := a.p.nodeAddress(ctx, corev1.NodeExternalIP, corev1.NodeInternalIP)
	if err != nil {
		return "", told(err, "find the address of a node")
	}
	if host == "" {
		return "", fault.Unavailable.New("host_has_no_address", "No node of the host cluster has an address, and control_plane_host is not set. Set it, or the platform's public host.")
	}
	return host, nil
}

// nodeAddress returns an address of the first of these kinds, of a node that is
// ready if there is one.
func (p *Provisioner) nodeAddress(ctx context.Context, kinds ...corev1.NodeAddressType) (string, error) {
	nodes, err := p.host.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 100})
	if err != nil {
		return "", err
	}
	slices.SortFunc(nodes.Items, func(a, b corev1.Node) int {
		return cmp.Or(rank(a)-rank(b), strings.Compare(a.Name, b.Name))
	})
	for _, kind := range kinds {
		for _, n := range nodes.Items {
			for _, at := range n.Status.Addresses {
				if at.Type == kind && provision.IsHost(at.Address) {
					return at.Address, nil
				}
			}
		}
	}
	return "", nil
}

func rank(n corev1.Node) int {
	ready := slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
	if ready && !n.Spec.Unschedulable {
		return 0
	}
	return 1
}

// service makes the Service, or lets the one that is there have a node port.
func (a *attempt) service(ctx context.Context, kind corev1.ServiceType) (*corev1.Service, error) {
	services := a.p.host.client.CoreV1().Services(a.want.Name)
	port, _ := strconv.Atoi(a.note(noteNodePort))
	found, err := services.Get(ctx, a.want.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		made, err := services.Create(ctx, a.newService(kind, port), metav1.CreateOptions{})
		if port != 0 && isTaken(err) {
			made, err = services.Create(ctx, a.newService(kind, 0), metav1.CreateOptions{})
		}
		if apierrors.IsAlreadyExists(err) {
			return services.Get(ctx, a.want.Name, metav1.GetOptions{})
		}
		return made, err
	}
	if err != nil || found.Spec.Type == kind && (kind != corev1.ServiceTypeNodePort || nodePortOf(found) != 0) {
		return found, err
	}
	patched, err := services.Patch(ctx, a.want.Name, types.StrategicMergePatchType, servicePatch(kind, port), metav1.PatchOptions{})
	if port != 0 && isTaken(err) {
		patched, err = services.Patch(ctx, a.want.Name, types.StrategicMergePatchType, servicePatch(kind, 0), metav1.PatchOptions{})
	}
	return patched, err
}

func isTaken(err error) bool {
	return err != nil && strings.Contains(err.Error(), "provided port is already allocated")
}

func servicePatch(kind corev1.ServiceType, port int) []byte {
	patch := map[string]any{"spec": map[string]any{"type": kind}}
	if port != 0 {
		patch["spec"] = map[string]any{"type": kind, "ports": []any{map[string]any{"port": 443, "protocol": "TCP", "nodePort": port}}}
	}
	text, _ := json.Marshal(patch) //nolint:errchkjson // strings and numbers
	return text
}

// newService is what the chart would make, with the marks by which Helm knows
// its own.
func (a *attempt) newService(kind corev1.ServiceType, port int) *corev1.Service {
	name := a.want.Name
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: name,
			Labels:      map[string]string{"app": "vcluster", "release": name, managedBy: "Helm"},
			Annotations: map[string]string{"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": name},
		},
		Spec: corev1.ServiceSpec{
			Type: kind, Selector: map[string]string{"app": "vcluster", "release": name},
			Ports: []corev1.ServicePort{{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: intstr.FromInt32(8443), NodePort: int32(port)}}, //nolint:gosec // a port
		},
	}
}

// nodePortOf returns the node port of the API, or 0.
func nodePortOf(s *corev1.Service) int {
	for _, p := range s.Spec.Ports {
		if p.Port == 443 || p.Name == "https" {
			return int(p.NodePort)
		}
	}
	return 0
}

// nearest is the platform's own way to a control plane from outside of the host
// cluster: an address that no user chose.
func (p *Provisioner) nearest(ctx context.Context, s scene) (string, error) {
	var trouble error
	if s.service != nil && nodePortOf(s.service) != 0 {
		at, err := p.nodeNear(ctx)
		if at != "" {
			return net.JoinHostPort(at, strconv.Itoa(nodePortOf(s.service))), nil
		}
		trouble = told(err, "find the address of a node")
	}
	if at := balancer(s.service); at != "" {
		return net.JoinHostPort(at, "443"), nil
	}
	if trouble != nil {
		return "", trouble
	}
	return "", fault.Unavailable.New("control_plane_out_of_reach", "KubeBYON runs outside of the host cluster and has no way of its own to this control plane: its Service has no node port and no load balancer. Publish it by nodeport or loadbalancer, or run KubeBYON in the host cluster.")
}

// nodeNear returns a node's address, or the last one that was known, or why there
// is none.
func (p *Provisioner) nodeNear(ctx context.Context) (string, error) {
	known, ok := p.recall.text("node")
	if ok && p.recall.fresh("node") {
		return known, nil
	}
	at, err := p.nodeAddress(ctx, corev1.NodeInternalIP, corev1.NodeExternalIP)
	if err != nil {
		p.config.Log.WarnContext(ctx, "nodes of the host cluster not read", "err", err)
		return known, err
	}
	p.recall.keep("node", at)
	return at, nil
}

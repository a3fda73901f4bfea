package app_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"

	rbacv1 "k8s.io/api/rbac/v1"
)

// tenants are many API servers at addresses of their own, which speak TLS,
// HTTP/2 and protobuf as kube-apiserver does, as far as a watcher asks them.
type tenants struct {
	scheme *runtime.Scheme
	server http.Server
	ca     []byte
	all    []*fakePlane
	byAddr map[string]*fakePlane
}

// fakePlane is one of them.
type fakePlane struct {
	addr string

	mu       sync.Mutex
	version  int
	nodes    []*corev1.Node
	watchers map[chan []byte]bool // of nodes
}

func serveTenants(t testing.TB, n, nodesEach int) *tenants {
	t.Helper()
	f := &tenants{scheme: runtime.NewScheme(), byAddr: map[string]*fakePlane{}}
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, certificatesv1.AddToScheme, rbacv1.AddToScheme} {
		if err := add(f.scheme); err != nil {
			t.Fatal(err)
		}
	}
	f.server = http.Server{Handler: f, ErrorLog: log.New(io.Discard, "", 0), TLSConfig: f.authority(t), ReadHeaderTimeout: time.Minute}
	var serving sync.WaitGroup
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p := &fakePlane{addr: l.Addr().String(), version: 100, watchers: map[chan []byte]bool{}}
		for j := range nodesEach {
			p.nodes = append(p.nodes, fakeNode(i, j))
		}
		f.all, f.byAddr[p.addr] = append(f.all, p), p
		serving.Go(func() { _ = f.server.ServeTLS(l, "", "") })
	}
	t.Cleanup(func() { _ = f.server.Close(); serving.Wait() })
	return f
}

// authority makes the one certificate that all of them show.
func (f *tenants) authority(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fleet"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	f.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
}

// fakeNode is as large as a node of a real cluster.
func fakeNode(cluster, i int) *corev1.Node {
	name := fmt.Sprintf("node-%03d-%03d", cluster, i)
	since := metav1.NewTime(time.Now().Add(-time.Hour))
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID("uid-" + name), ResourceVersion: "7", CreationTimestamp: since,
			Labels: map[string]string{"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
		},
		Spec: corev1.NodeSpec{PodCIDR: "10.244.1.0/24", PodCIDRs: []string{"10.244.1.0/24"}},
		Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.7"}, {Type: corev1.NodeHostName, Address: name}},
			Allocatable: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"), corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
			},
			NodeInfo: corev1.NodeSystemInfo{OSImage: "Debian GNU/Linux 12 (bookworm)", KubeletVersion: "v1.36.3", ContainerRuntimeVersion: "containerd://2.1.4"},
		},
	}
	for _, kind := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure, corev1.NodeReady} {
		status := corev1.ConditionFalse
		if kind == corev1.NodeReady {
			status = corev1.ConditionTrue
		}
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{
			Type: kind, Status: status, LastHeartbeatTime: since, LastTransitionTime: since, Reason: "KubeletHas" + string(kind), Message: "kubelet is posting its status",
		})
	}
	for i := range 40 { // each image is named twice, as kubelet does
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{SizeBytes: 1 << 27, Names: []string{
			fmt.Sprintf("registry.example.com/team/image-%d@sha256:%064d", i, i), fmt.Sprintf("registry.example.com/team/image-%d:v1.%d.0", i, i),
		}})
	}
	return n
}

// kubeconfig leads to one of them.
func (f *tenants) kubeconfig(i int) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: t, cluster: {server: "https://%s", certificate-authority-data: %s}}]
users: [{name: t, user: {token: not-a-real-token}}]
contexts: [{name: t, context: {cluster: t, user: t}}]
current-context: t
`, f.all[i].addr, base64.StdEncoding.EncodeToString(f.ca))
}

const protobufForm = "application/vnd.kubernetes.protobuf"

func (f *tenants) encode(o runtime.Object, group, kind string) []byte {
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: "v1", Kind: kind})
	var out bytes.Buffer
	if err := protobuf.NewSerializer(f.scheme, f.scheme).Encode(o, &out); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func (f *tenants) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	here, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	p := f.byAddr[here.String()]
	answer := func(body []byte) {
		w.Header().Set("Content-Type", protobufForm)
		_, _ = w.Write(body)
	}
	path, watching := r.URL.Path, r.URL.Query().Get("watch") != ""
	switch {
	case path == "/readyz":
		_, _ = io.WriteString(w, "ok")
	case path == "/version":
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"major":"1","minor":"36","gitVersion":"v1.36.3"}`)
	case strings.HasSuffix(path, "/nodes") && watching:
		p.watch(w, r)
	case strings.HasSuffix(path, "/nodes"):
		answer(p.list(f))
	case strings.HasSuffix(path, "/certificatesigningrequests") && watching:
		w.Header().Set("Content-Type", protobufForm+";stream=watch")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case strings.HasSuffix(path, "/certificatesigningrequests"):
		answer(f.encode(&certificatesv1.CertificateSigningRequestList{ListMeta: metav1.ListMeta{ResourceVersion: "100"}}, "certificates.k8s.io", "CertificateSigningRequestList"))
	case strings.Contains(path, "/rbac.authorization.k8s.io/"):
		answer(f.encode(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "any"}}, "rbac.authorization.k8s.io", "ClusterRole"))
	default:
		answer(f.encode(&corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: "100"}}, "", "SecretList"))
	}
}

func (p *fakePlane) list(f *tenants) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := &corev1.NodeList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(p.version)}}
	for _, n := range p.nodes {
		out.Items = append(out.Items, *n.DeepCopy())
	}
	return f.encode(out, "", "NodeList")
}

func (p *fakePlane) watch(w http.ResponseWriter, r *http.Request) {
	events := make(chan []byte, 100)
	p.mu.Lock()
	p.watchers[events] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.watchers, events)
	}()
	w.Header().Set("Content-Type", protobufForm+";stream=watch")
	http.NewResponseController(w).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case e := <-events:
			_, _ = w.Write(e)
			http.NewResponseController(w).Flush()
		}
	}
}

// cordon changes a node, and tells whoever watches.
func (f *tenants) cordon(cluster, node int, cordoned bool) {
	p := f.all[cluster]
	p.mu.Lock()
	defer p.mu.Unlock()
	p.version++
	n := p.nodes[node]
	n.Spec.Unschedulable, n.ResourceVersion = cordoned, strconv.Itoa(p.version)
	body, err := (&metav1.WatchEvent{Type: "MODIFIED", Object: runtime.RawExtension{Raw: f.encode(n.DeepCopy(), "", "Node")}}).Marshal()
	if err != nil {
		panic(err)
	}
	event := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	for w := range p.watchers {
		w <- event
	}
}

// watched is how many of them somebody watches.
func (f *tenants) watched() (n int) {
	for _, p := range f.all {
		p.mu.Lock()
		if len(p.watchers) > 0 {
			n++
		}
		p.mu.Unlock()
	}
	return n
}

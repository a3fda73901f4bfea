package hollow

import (
	"context"
	"fmt"
	"net"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	fake "k8s.io/cri-api/pkg/apis/testing"
	kubelettypes "k8s.io/kubelet/pkg/types"
	netutils "k8s.io/utils/net"
)

// bookkeeper is a container runtime that runs nothing and remembers everything: a container it
// is told to start is running until it is told to stop it.
//
// It adds to the fake of Kubernetes' own tests: pods have addresses of their own out of the
// node's pod network, and the events a kubelet would tell of (the kubelet itself must be given a
// silent recorder, or it watches the kernel's log for processes killed for memory).
type bookkeeper struct {
	*fake.FakeRuntimeService
	images *fake.FakeImageService
	events record.EventRecorder

	mu   sync.Mutex
	pods *net.IPNet
	next int
}

func newBookkeeper(events record.EventRecorder) *bookkeeper {
	b := &bookkeeper{FakeRuntimeService: fake.NewFakeRuntimeService(), images: fake.NewFakeImageService(), events: events}
	b.FakeStatus = &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
		{Type: runtimeapi.RuntimeReady, Status: true},
		{Type: runtimeapi.NetworkReady, Status: true},
	}}
	b.images.SetFakeImageSize(16 << 20)
	usage := []*runtimeapi.FilesystemUsage{{
		FsId:      &runtimeapi.FilesystemIdentifier{Mountpoint: "/"},
		UsedBytes: &runtimeapi.UInt64Value{}, InodesUsed: &runtimeapi.UInt64Value{},
	}}
	b.images.SetFakeFilesystemUsage(usage)
	b.images.SetFakeContainerFilesystemUsage(usage)
	return b
}

// Status is asked every few seconds, and so the place to forget the calls that the fakes record
// for tests: a node that runs for weeks would otherwise fill the memory with them.
func (b *bookkeeper) Status(ctx context.Context, verbose bool) (*runtimeapi.StatusResponse, error) {
	b.Lock()
	b.Called = b.Called[:0]
	b.Unlock()
	b.images.Lock()
	b.images.Called = b.images.Called[:0]
	b.images.Unlock()
	return b.FakeRuntimeService.Status(ctx, verbose)
}

// UpdateRuntimeConfig tells the node's pod network, once the control plane has given it one.
func (b *bookkeeper) UpdateRuntimeConfig(ctx context.Context, config *runtimeapi.RuntimeConfig) error {
	_, network, err := netutils.ParseCIDRSloppy(config.GetNetworkConfig().GetPodCidr())
	if err == nil {
		b.mu.Lock()
		b.pods = network
		b.mu.Unlock()
	}
	return b.FakeRuntimeService.UpdateRuntimeConfig(ctx, config)
}

// RunPodSandbox gives the pod its address.
func (b *bookkeeper) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	id, err := b.FakeRuntimeService.RunPodSandbox(ctx, config, handler)
	if err != nil {
		return "", err
	}
	address := b.address()
	b.Lock()
	defer b.Unlock()
	if sandbox := b.Sandboxes[id]; sandbox != nil && address != "" {
		sandbox.Network.Ip = address
	}
	return id, nil
}

// address goes round the network from its second address on; the first is the bridge's.
func (b *bookkeeper) address() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pods == nil {
		return ""
	}
	usable := int(min(netutils.RangeSize(b.pods), 1<<16)) - 3
	if usable < 1 {
		return ""
	}
	ip, err := netutils.GetIndexedIP(b.pods, 2+b.next%usable)
	b.next++
	if err != nil {
		return ""
	}
	return ip.String()
}

func (b *bookkeeper) CreateContainer(ctx context.Context, sandbox string, config *runtimeapi.ContainerConfig, sandboxConfig *runtimeapi.PodSandboxConfig) (string, error) {
	id, err := b.FakeRuntimeService.CreateContainer(ctx, sandbox, config, sandboxConfig)
	if err == nil {
		b.tell(id, "Created", "Container created")
	}
	return id, err
}

func (b *bookkeeper) StartContainer(ctx context.Context, id string) error {
	err := b.FakeRuntimeService.StartContainer(ctx, id)
	if err == nil {
		b.tell(id, "Started", "Container started (hollow: nothing is executed)")
	}
	return err
}

func (b *bookkeeper) StopContainer(ctx context.Context, id string, timeout int64) error {
	b.tell(id, "Killing", "Stopping container")
	return b.FakeRuntimeService.StopContainer(ctx, id, timeout)
}

func (b *bookkeeper) tell(id, reason, message string) {
	b.Lock()
	container := b.Containers[id]
	b.Unlock()
	if container == nil {
		return
	}
	b.events.Event(&corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod",
		Namespace: container.Labels[kubelettypes.KubernetesPodNamespaceLabel],
		Name:      container.Labels[kubelettypes.KubernetesPodNameLabel],
		UID:       types.UID(container.Labels[kubelettypes.KubernetesPodUIDLabel]),
		FieldPath: fmt.Sprintf("spec.containers{%s}", container.Labels[kubelettypes.KubernetesContainerNameLabel]),
	}, corev1.EventTypeNormal, reason, message)
}

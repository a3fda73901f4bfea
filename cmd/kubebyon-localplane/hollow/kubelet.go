package hollow

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.opentelemetry.io/otel/trace/noop"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	kubeletapp "k8s.io/kubernetes/cmd/kubelet/app"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	"k8s.io/kubernetes/pkg/kubelet"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/cm"
	containertest "k8s.io/kubernetes/pkg/kubelet/container/testing"
	probetest "k8s.io/kubernetes/pkg/kubelet/prober/testing"
	kubeletutil "k8s.io/kubernetes/pkg/kubelet/util"
	"k8s.io/kubernetes/pkg/util/oom"
	"k8s.io/kubernetes/pkg/volume/util/hostutil"
	"k8s.io/kubernetes/pkg/volume/util/subpath"
	"k8s.io/mount-utils"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/filestore"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/joining"
)

const (
	defaultMaxPods = 110

	// longestRoot leaves room for the kubelet's own sockets, whose paths may have 108 bytes.
	longestRoot = 60
)

// startKubelet starts the kubelet and returns; it runs until the process ends.
func startKubelet(ctx context.Context, dir *filestore.Dir, who *joining.Identity, credentials *rest.Config) error {
	root := rootDirectory(dir)
	config, err := kubeletConfiguration(root, who)
	if err != nil {
		return err
	}
	dependencies, err := kubeletDependencies(ctx, config, who, credentials)
	if err != nil {
		return err
	}
	// The kubelet links its pods' logs from here, which by default is outside its root.
	kubelet.ContainerLogsDir = filepath.Join(root, "container-logs")
	server := &options.KubeletServer{KubeletFlags: *kubeletFlags(root, who), KubeletConfiguration: *config}
	if err := kubeletapp.RunKubelet(ctx, server, dependencies); err != nil {
		return fmt.Errorf("start the kubelet: %w", err)
	}
	return nil
}

func rootDirectory(dir *filestore.Dir) string {
	if root := dir.Path("kubelet"); len(root) <= longestRoot {
		return root
	}
	return filepath.Join(dir.Alias(), "kubelet")
}

func kubeletFlags(root string, who *joining.Identity) *options.KubeletFlags {
	flags := options.NewKubeletFlags()
	flags.RootDirectory = root
	flags.CertDirectory = filepath.Join(root, "pki")
	flags.HostnameOverride = who.Name
	flags.NodeLabels = who.Labels
	flags.NodeIP = who.NodeIP
	if flags.NodeIP == "" {
		flags.NodeIP = address()
	}
	return flags
}

func kubeletConfiguration(root string, who *joining.Identity) (*kubeletconfig.KubeletConfiguration, error) {
	c, err := options.NewKubeletConfiguration()
	if err != nil {
		return nil, fmt.Errorf("make the kubelet's configuration: %w", err)
	}
	c.EnableServer, c.ReadOnlyPort, c.HealthzPort = false, 0, 0
	c.Address, c.Port = "127.0.0.1", 0
	c.StaticPodPath, c.StaticPodURL = "", ""
	c.PodLogsDir = filepath.Join(root, "pod-logs")
	c.RegisterNode, c.RegisterWithTaints = true, who.Taints
	c.ProviderID = "hollow://" + who.Name
	c.MaxPods = defaultMaxPods
	if who.MaxPods > 0 {
		c.MaxPods = who.MaxPods
	}
	c.CgroupsPerQOS, c.CgroupRoot, c.EnforceNodeAllocatable = false, "", nil
	c.EnableControllerAttachDetach = false
	c.ResolverConfig = ""
	c.MaxOpenFiles = openFiles() // the default asks for more, which only root may
	c.MakeIPTablesUtilChains = false
	c.FailSwapOn = false
	// As kubeadm's nodes have it by default. Reports are what a machine of a tenant is seen by.
	c.NodeStatusUpdateFrequency.Duration = 10 * time.Second
	return c, nil
}

func openFiles() int64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int64(limit.Cur) //nolint:gosec // no machine allows as many as would overflow
}

func kubeletDependencies(ctx context.Context, config *kubeletconfig.KubeletConfiguration, who *joining.Identity, credentials *rest.Config) (*kubelet.Dependencies, error) {
	own := rest.CopyConfig(credentials)
	own.QPS, own.Burst = float32(config.KubeAPIQPS), int(config.KubeAPIBurst)
	client, err := kubernetes.NewForConfig(own)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	heartbeat, err := heartbeatClient(config, credentials)
	if err != nil {
		return nil, err
	}
	runtime := newBookkeeper(recorder(ctx, client, who.Name))
	return &kubelet.Dependencies{
		KubeClient: client, HeartbeatClient: heartbeat,
		RemoteRuntimeService: runtime, RemoteImageService: runtime.images,
		CAdvisorInterface: newMachine(who.Name),
		ContainerManager:  disk{cm.NewStubContainerManager()},
		ProbeManager:      probetest.FakeManager{}, // nothing would answer
		OSInterface:       &forgetful{},
		VolumePlugins:     volumePlugins(),
		OOMAdjuster:       oom.NewFakeOOMAdjuster(),
		Mounter:           &mount.FakeMounter{},
		Subpather:         &subpath.FakeSubpath{},
		HostUtil:          paths{hostutil.NewFakeHostUtil(nil)},
		TracerProvider:    noop.NewTracerProvider(),
		Recorder:          &record.FakeRecorder{},

		PodStartupLatencyTracker:  kubeletutil.NewPodStartupLatencyTracker(),
		NodeStartupLatencyTracker: kubeletutil.NewNodeStartupLatencyTracker(),
	}, nil
}

// heartbeatClient is not held back by what the node's pods ask for, and gives up before the
// control plane takes the node for lost.
func heartbeatClient(config *kubeletconfig.KubeletConfiguration, credentials *rest.Config) (*kubernetes.Clientset, error) {
	own := rest.CopyConfig(credentials)
	own.QPS = -1
	own.Timeout = min(config.NodeStatusUpdateFrequency.Duration, time.Duration(config.NodeLeaseDurationSeconds)*time.Second)
	client, err := kubernetes.NewForConfig(own)
	if err != nil {
		return nil, fmt.Errorf("make a heartbeat client: %w", err)
	}
	return client, nil
}

func recorder(ctx context.Context, client kubernetes.Interface, node string) record.EventRecorder {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	return broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: node})
}

// forgetful is an operating system on which nothing lasts. The fake below it remembers removals
// for tests, which a node has no use for.
type forgetful struct{ containertest.FakeOS }

// Stat finds an empty file everywhere: the log of a container that says nothing.
func (*forgetful) Stat(string) (os.FileInfo, error) { return os.Stat(os.DevNull) }

func (*forgetful) Remove(string) error    { return nil }
func (*forgetful) RemoveAll(string) error { return nil }

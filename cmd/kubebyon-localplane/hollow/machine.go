package hollow

import (
	"bufio"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	cadvisorapi "github.com/google/cadvisor/info/v1"
	cadvisorapiv2 "github.com/google/cadvisor/info/v2"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/kubernetes/pkg/kubelet/cadvisor"
	cadvisortest "k8s.io/kubernetes/pkg/kubelet/cadvisor/testing"
	"k8s.io/kubernetes/pkg/kubelet/cm"
	"k8s.io/kubernetes/pkg/volume/util/hostutil"
)

const (
	gigabyte = 1 << 30
	diskSize = 100 * gigabyte
)

// machine reports the size and system of the real one, though nothing of it is ever used.
type machine struct {
	cadvisor.Interface
	name string
}

func newMachine(name string) machine {
	return machine{Interface: &cadvisortest.Fake{NodeName: name}, name: name}
}

func (m machine) MachineInfo() (*cadvisorapi.MachineInfo, error) {
	return &cadvisorapi.MachineInfo{
		NumCores: runtime.NumCPU(), InstanceID: cadvisorapi.InstanceID(m.name), MemoryCapacity: memory(),
		MachineID: m.name, SystemUUID: m.name, BootID: m.name,
	}, nil
}

func (m machine) VersionInfo() (*cadvisorapi.VersionInfo, error) {
	return &cadvisorapi.VersionInfo{KernelVersion: kernel(), ContainerOsVersion: system()}, nil
}

// RootFsInfo and GetDirFsInfo are one large, empty disk. Without it the kubelet complains every
// ten seconds that it cannot tell whether to evict.
func (m machine) RootFsInfo() (cadvisorapiv2.FsInfo, error) { return emptyDisk(), nil }

// GetDirFsInfo is asked where images and containers are.
func (m machine) GetDirFsInfo(string) (cadvisorapiv2.FsInfo, error) { return emptyDisk(), nil }

// ContainerInfoV2 is asked for the use of processor and memory by control group: there is none.
func (m machine) ContainerInfoV2(name string, _ cadvisorapiv2.RequestOptions) (map[string]cadvisorapiv2.ContainerInfo, error) {
	idle := &cadvisorapiv2.ContainerStats{Timestamp: time.Now()}
	return map[string]cadvisorapiv2.ContainerInfo{name: {Stats: []*cadvisorapiv2.ContainerStats{idle}}}, nil
}

func emptyDisk() cadvisorapiv2.FsInfo {
	inodes := uint64(1 << 20)
	return cadvisorapiv2.FsInfo{
		Device: "hollow", Mountpoint: "/", Capacity: diskSize, Available: diskSize,
		Inodes: &inodes, InodesFree: &inodes,
	}
}

// paths are those of a machine on which every path is an ordinary directory. The fake below it
// knows no modes, without which no pod with a subPath starts.
type paths struct{ hostutil.HostUtils }

func (paths) GetMode(string) (os.FileMode, error) { return 0o755, nil }

// disk gives the node room, of which the stub manager has none: pods that ask for ephemeral
// storage could not be scheduled.
type disk struct{ cm.ContainerManager }

func (d disk) GetCapacity(isolated bool) corev1.ResourceList {
	capacity := d.ContainerManager.GetCapacity(isolated)
	if isolated {
		capacity[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(diskSize, resource.BinarySI)
	}
	return capacity
}

func memory() uint64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 4 * gigabyte
	}
	return uint64(info.Totalram) * uint64(info.Unit) //nolint:unconvert // 32 bits wide elsewhere
}

func kernel() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(name.Release[:])
}

// system says what nobody should be in doubt of: this node is hollow.
func system() string {
	const hollow = "hollow node"
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return hollow
	}
	defer f.Close() //nolint:errcheck // only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "PRETTY_NAME="); ok {
			if name, err := strconv.Unquote(value); err == nil {
				value = name
			}
			return value + " (" + hollow + ")"
		}
	}
	return hollow
}

// address is one that the kubelet accepts for a node: of an interface, and not loopback. With
// none the kubelet would ask the DNS for the node's name.
func address() string {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range addresses {
		if network, ok := a.(*net.IPNet); ok && network.IP.To4() != nil && network.IP.IsGlobalUnicast() {
			return network.IP.String()
		}
	}
	return ""
}

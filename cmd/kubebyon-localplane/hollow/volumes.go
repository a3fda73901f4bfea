package hollow

import (
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/volume"
	"k8s.io/kubernetes/pkg/volume/configmap"
	"k8s.io/kubernetes/pkg/volume/csi"
	"k8s.io/kubernetes/pkg/volume/downwardapi"
	"k8s.io/kubernetes/pkg/volume/emptydir"
	"k8s.io/kubernetes/pkg/volume/hostpath"
	"k8s.io/kubernetes/pkg/volume/local"
	"k8s.io/kubernetes/pkg/volume/nfs"
	"k8s.io/kubernetes/pkg/volume/projected"
	"k8s.io/kubernetes/pkg/volume/secret"
)

// volumePlugins are the real ones where they keep to the node's directory: a pod whose ConfigMap
// is missing waits for it, as it should.
func volumePlugins() []volume.VolumePlugin {
	var plugins []volume.VolumePlugin
	for _, probed := range [][]volume.VolumePlugin{
		emptydir.ProbeVolumePlugins(), secret.ProbeVolumePlugins(), configmap.ProbeVolumePlugins(),
		downwardapi.ProbeVolumePlugins(), projected.ProbeVolumePlugins(),
	} {
		for _, plugin := range probed {
			plugins = append(plugins, ownerless{plugin})
		}
	}
	for _, plugin := range hostpath.ProbeVolumePlugins(volume.VolumeConfig{}) {
		plugins = append(plugins, nowhere{plugin})
	}
	plugins = append(plugins, nfs.ProbeVolumePlugins(volume.VolumeConfig{})...)
	plugins = append(plugins, local.ProbeVolumePlugins()...)
	return append(plugins, csi.ProbeVolumePlugins()...)
}

// ownerless volumes belong to whoever runs the node: only root can give files away, and no
// container will ever ask for them.
type ownerless struct{ volume.VolumePlugin }

func (p ownerless) NewMounter(spec *volume.Spec, pod *corev1.Pod) (volume.Mounter, error) {
	mounter, err := p.VolumePlugin.NewMounter(spec, pod)
	return ownerlessMounter{mounter}, err
}

type ownerlessMounter struct{ volume.Mounter }

func (m ownerlessMounter) SetUp(args volume.MounterArgs) error {
	args.FsUser, args.FsGroup = nil, nil
	return m.Mounter.SetUp(args)
}

func (m ownerlessMounter) SetUpAt(dir string, args volume.MounterArgs) error {
	args.FsUser, args.FsGroup = nil, nil
	return m.Mounter.SetUpAt(dir, args)
}

// nowhere is for hostPath, whose host is not this machine: the real plugin would make the
// directories a pod asks for right here.
type nowhere struct{ volume.VolumePlugin }

func (p nowhere) NewMounter(spec *volume.Spec, pod *corev1.Pod) (volume.Mounter, error) {
	mounter, err := p.VolumePlugin.NewMounter(spec, pod)
	return nowhereMounter{mounter}, err
}

type nowhereMounter struct{ volume.Mounter }

func (nowhereMounter) SetUp(volume.MounterArgs) error           { return nil }
func (nowhereMounter) SetUpAt(string, volume.MounterArgs) error { return nil }

// GetPath stays where the kubelet may look at it.
func (nowhereMounter) GetPath() string { return os.DevNull }

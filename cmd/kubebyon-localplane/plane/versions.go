package plane

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
	componentversion "k8s.io/component-base/version"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

// emulatedMinors is how many minors back kube-apiserver can behave like an older self.
const emulatedMinors = 3

// Version is a Kubernetes version that a tenant may run. An emulated one is this binary's own
// Kubernetes, which serves the older minor's API and features; /version says so in emulationMinor.
type Version struct {
	Name     string `json:"version"`
	Emulated bool   `json:"emulated"`
}

// Versions lists what is offered, newest first.
func Versions() []Version {
	own := ownVersion()
	offered := []Version{{Name: "v" + own.String()}}
	for back := uint(1); back <= emulatedMinors; back++ {
		offered = append(offered, Version{Name: fmt.Sprintf("v%d.%d.0", own.Major(), own.Minor()-back), Emulated: true})
	}
	return offered
}

// FindVersion understands v1.36.3, 1.36.3, v1.35.0, v1.35 and 1.35; the empty name is the newest.
// A patch version is taken only where it is exactly what runs: nobody is given v1.35.0 who asked
// for v1.35.7.
func FindVersion(name string) (Version, error) {
	offered := Versions()
	if name == "" {
		return offered[0], nil
	}
	wanted := "v" + strings.TrimPrefix(name, "v")
	for _, v := range offered {
		if v.Name == wanted || v.minor() == wanted {
			return v, nil
		}
	}
	names := make([]string, len(offered))
	for i, v := range offered {
		names[i] = v.Name
	}
	return Version{}, refusal.New("Kubernetes %s is not offered; choose one of %s.", name, strings.Join(names, ", "))
}

// minor is the version without its patch: v1.35.
func (v Version) minor() string {
	return v.Name[:strings.LastIndexByte(v.Name, '.')]
}

// flags is how kube-apiserver is told; the other components share what it sets.
func (v Version) flags() []string {
	if !v.Emulated {
		return nil
	}
	return []string{"--emulated-version=kube=" + strings.TrimPrefix(v.minor(), "v")}
}

// ownVersion is what the linker was told. A build that was not told names the oldest patch of
// the minor that the code itself knows.
func ownVersion() *version.Version {
	own, err := version.ParseSemantic(componentversion.Get().GitVersion)
	if err != nil || own.Major() == 0 {
		return version.MustParseSemantic(componentversion.DefaultKubeBinaryVersion + ".0")
	}
	return version.MustParseSemantic(strings.Join(slices.Collect(components(own)), "."))
}

func components(v *version.Version) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, c := range v.Components() {
			if !yield(fmt.Sprint(c)) {
				return
			}
		}
	}
}

package hollow

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/kubernetes/cmd/kubelet/app/options"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/filestore"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

// identity is what a node joined as. It is kept beside the certificate, for the restarts.
type identity struct {
	Name    string            `json:"name"`
	Server  string            `json:"server"` // https://host:port
	Labels  map[string]string `json:"labels,omitempty"`
	Taints  []corev1.Taint    `json:"taints,omitempty"`
	MaxPods int32             `json:"maxPods,omitempty"`
	NodeIP  string            `json:"nodeIP,omitempty"`
}

const identityFile = "node.json"

// check refuses what the kubelet or the API server would refuse later, and less clearly.
func (i *identity) check() error {
	if problems := validation.IsDNS1123Subdomain(i.Name); len(problems) > 0 {
		return refusal.New("The node name %q is not valid: %s.", i.Name, problems[0])
	}
	flags := options.NewKubeletFlags()
	flags.NodeLabels = i.Labels
	if err := options.ValidateKubeletFlags(flags); err != nil {
		return refusal.New("The node labels are not allowed: %s.", oneLine(err)).Because(err)
	}
	return nil
}

func (i *identity) keep(dir *filestore.Dir) error {
	content, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", identityFile, err)
	}
	return filestore.Write(dir.Path(identityFile), append(content, '\n'))
}

// recall gives what the directory's node joined as, nil if none did.
func recall(dir *filestore.Dir) (*identity, error) {
	content, err := filestore.Read(dir.Path(identityFile))
	if content == nil || err != nil {
		return nil, err
	}
	i := new(identity)
	if err := json.Unmarshal(content, i); err != nil {
		return nil, refusal.New("The file %s is damaged.", dir.Path(identityFile)).Because(err)
	}
	return i, nil
}

// hostName is what a node is called that was given no name.
func hostName() (string, error) {
	name, err := os.Hostname()
	return strings.ToLower(name), err
}

func oneLine(err error) string {
	return strings.TrimSuffix(strings.Join(strings.Fields(err.Error()), " "), ".")
}

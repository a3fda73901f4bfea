package joining

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	kubeletapis "k8s.io/kubelet/pkg/apis"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/filestore"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

// Identity is what a node joined as. It is kept beside the certificate, for the restarts.
type Identity struct {
	Name    string            `json:"name"`
	Server  string            `json:"server"` // https://host:port
	Labels  map[string]string `json:"labels,omitempty"`
	Taints  []corev1.Taint    `json:"taints,omitempty"`
	MaxPods int32             `json:"maxPods,omitempty"`
	NodeIP  string            `json:"nodeIP,omitempty"`
}

const identityFile = "node.json"

// check refuses what the kubelet or the API server would refuse later, and less clearly.
func (i *Identity) check() error {
	if problems := validation.IsDNS1123Subdomain(i.Name); len(problems) > 0 {
		return refusal.New("The node name %q is not valid: %s.", i.Name, problems[0])
	}
	for key, value := range i.Labels {
		if err := checkLabel(key, value); err != nil {
			return err
		}
	}
	return nil
}

// checkLabel knows which labels a node may give itself; the API server refuses the node for others.
func checkLabel(key, value string) error {
	if problems := validation.IsQualifiedName(key); len(problems) > 0 {
		return refusal.New("The node label %q is not valid: %s.", key, problems[0])
	}
	if problems := validation.IsValidLabelValue(value); len(problems) > 0 {
		return refusal.New("The value %q of the node label %s is not valid: %s.", value, key, problems[0])
	}
	prefix, _, _ := strings.Cut(key, "/")
	if isKubernetes(prefix) && strings.Contains(key, "/") && !kubeletapis.IsKubeletLabel(key) {
		return refusal.New("The node label %s may not be set by a node itself; set it after the join.", key)
	}
	return nil
}

func isKubernetes(domain string) bool {
	for _, reserved := range []string{"kubernetes.io", "k8s.io"} {
		if domain == reserved || strings.HasSuffix(domain, "."+reserved) {
			return true
		}
	}
	return false
}

func (i *Identity) keep(dir *filestore.Dir) error {
	content, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", identityFile, err)
	}
	return filestore.Write(dir.Path(identityFile), append(content, '\n'))
}

// Recall gives what the directory's node joined as, nil if none did.
func Recall(dir *filestore.Dir) (*Identity, error) {
	content, err := filestore.Read(dir.Path(identityFile))
	if content == nil || err != nil {
		return nil, err
	}
	i := new(Identity)
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

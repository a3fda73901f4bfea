package joining

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	bootstraputil "k8s.io/cluster-bootstrap/token/util"
	"k8s.io/kubernetes/cmd/kubeadm/app/util/pubkeypin"
	"sigs.k8s.io/yaml"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

// file is the part of kubeadm's JoinConfiguration that a hollow node understands. The rest,
// such as the runtime's socket, is about things it does not have.
type file struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Discovery  struct {
		BootstrapToken *discoveryToken `json:"bootstrapToken"`
		TLSToken       string          `json:"tlsBootstrapToken"`
	} `json:"discovery"`
	Registration struct {
		Name      string         `json:"name"`
		Taints    []corev1.Taint `json:"taints"`
		ExtraArgs extraArgs      `json:"kubeletExtraArgs"`
	} `json:"nodeRegistration"`
}

type discoveryToken struct {
	Token      string   `json:"token"`
	Endpoint   string   `json:"apiServerEndpoint"`
	CAHashes   []string `json:"caCertHashes"`
	UnsafeSkip bool     `json:"unsafeSkipCAVerification"`
}

// extraArgs are the kubelet's flags: a list of names and values in v1beta4, a map in v1beta3.
type extraArgs map[string]string

func (a *extraArgs) UnmarshalJSON(raw []byte) error {
	var list []struct{ Name, Value string }
	if json.Unmarshal(raw, &list) == nil {
		*a = extraArgs{}
		for _, arg := range list {
			(*a)[arg.Name] = arg.Value
		}
		return nil
	}
	return json.Unmarshal(raw, (*map[string]string)(a))
}

// readFile finds the JoinConfiguration in a file that may hold other documents too.
func readFile(path string) (*file, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, refusal.New("The join configuration %s cannot be read.", path).Because(err)
	}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil, refusal.New("The file %s holds no JoinConfiguration of kubeadm.k8s.io/v1beta4 or v1beta3.", path)
		}
		if err != nil {
			return nil, refusal.New("The join configuration %s is not YAML.", path).Because(err)
		}
		f := new(file)
		// The error of a document that is something else would quote it, token and all.
		if yaml.Unmarshal(document, f) == nil && f.isJoin() {
			return f, f.check()
		}
	}
}

func (f *file) isJoin() bool {
	return f.Kind == "JoinConfiguration" &&
		(f.APIVersion == "kubeadm.k8s.io/v1beta4" || f.APIVersion == "kubeadm.k8s.io/v1beta3")
}

func (f *file) check() error {
	t := f.Discovery.BootstrapToken
	if t == nil {
		return refusal.New("The join configuration has no discovery.bootstrapToken.")
	}
	if t.Token == "" {
		t.Token = f.Discovery.TLSToken
	}
	if !bootstraputil.IsValidBootstrapToken(t.Token) {
		return refusal.New("The join configuration's token does not have the form of a bootstrap token.")
	}
	if _, _, err := net.SplitHostPort(t.Endpoint); err != nil {
		return refusal.New("The join configuration's apiServerEndpoint %q is not host:port.", t.Endpoint)
	}
	if len(t.CAHashes) == 0 && !t.UnsafeSkip {
		return refusal.New("The join configuration pins no certificate authority: caCertHashes is empty.")
	}
	if err := pubkeypin.NewSet().Allow(t.CAHashes...); err != nil {
		return refusal.New("The join configuration's caCertHashes are not valid: %s.", oneLine(err)).Because(err)
	}
	return nil
}

// tokenID is the part of the token that is no secret.
func (t *discoveryToken) tokenID() string {
	id, _, _ := strings.Cut(t.Token, ".")
	return id
}

func (t *discoveryToken) secret() string {
	_, secret, _ := strings.Cut(t.Token, ".")
	return secret
}

// identity is what the file says the node shall be, with name in place of the file's if given.
func (f *file) identity(name string) (*Identity, error) {
	i := &Identity{Name: name, Taints: f.Registration.Taints, NodeIP: f.Registration.ExtraArgs["node-ip"]}
	if i.Name == "" {
		i.Name = f.Registration.Name
	}
	var err error
	if i.Name == "" {
		if i.Name, err = hostName(); err != nil {
			return nil, fmt.Errorf("find the host's name: %w", err)
		}
	}
	if i.Labels, err = parseLabels(f.Registration.ExtraArgs["node-labels"]); err != nil {
		return nil, err
	}
	if pods := f.Registration.ExtraArgs["max-pods"]; pods != "" {
		n, err := strconv.ParseInt(pods, 10, 32)
		if err != nil || n < 1 {
			return nil, refusal.New("The kubelet's max-pods %q is not a number.", pods)
		}
		i.MaxPods = int32(n)
	}
	return i, i.check()
}

func parseLabels(flag string) (map[string]string, error) {
	labels := map[string]string{}
	for part := range strings.SplitSeq(flag, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, refusal.New("The node label %q is not key=value.", part)
		}
		labels[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	return labels, nil
}

package joining

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	goodToken = "abcdef.0123456789abcdef"
	goodHash  = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
)

func TestBothVersionsOfKubeadmAreRead(t *testing.T) {
	t.Parallel()
	for name, args := range map[string]string{
		"v1beta4": `[{name: node-labels, value: "a=1,b=2"}, {name: max-pods, value: "7"}, {name: node-ip, value: 192.0.2.9}]`,
		"v1beta3": `{node-labels: "a=1,b=2", max-pods: "7", node-ip: 192.0.2.9}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := readFile(write(t, document(name, goodToken, goodHash, args)))
			if err != nil {
				t.Fatal(err)
			}
			who, err := f.identity("")
			if err != nil {
				t.Fatal(err)
			}
			if who.Name != "n1" || who.MaxPods != 7 || who.NodeIP != "192.0.2.9" ||
				!maps.Equal(who.Labels, map[string]string{"a": "1", "b": "2"}) || len(who.Taints) != 1 {
				t.Errorf("read %+v", who)
			}
			if other, err := f.identity("n2"); err != nil || other.Name != "n2" {
				t.Errorf("a name given does not count: %+v, %v", other, err)
			}
		})
	}
}

func TestJoinConfigurationAmongOthers(t *testing.T) {
	t.Parallel()
	text := "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n---\n" + document("v1beta4", goodToken, goodHash, "[]")
	if f, err := readFile(write(t, text)); err != nil || f.Registration.Name != "n1" {
		t.Errorf("read %+v, %v", f, err)
	}
}

func TestBadFilesAreRefusedWithoutTheirToken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"OldVersion":     {document("v1beta2", goodToken, goodHash, "{}"), "holds no JoinConfiguration"},
		"NotYAML":        {"\tkind: " + goodToken, "holds no JoinConfiguration"},
		"Token":          {document("v1beta4", "short", goodHash, "[]"), "does not have the form of a bootstrap token"},
		"Hash":           {document("v1beta4", goodToken, "sha256:12", "[]"), "caCertHashes are not valid"},
		"Label":          {document("v1beta4", goodToken, goodHash, `[{name: node-labels, value: "a"}]`), "is not key=value"},
		"ReservedLabel":  {document("v1beta4", goodToken, goodHash, `[{name: node-labels, value: "node-role.kubernetes.io/worker="}]`), "may not be set by a node itself"},
		"UnusableLabel":  {document("v1beta4", goodToken, goodHash, `[{name: node-labels, value: "a=b c"}]`), "is not valid"},
		"NumberOfPods":   {document("v1beta4", goodToken, goodHash, `[{name: max-pods, value: many}]`), "is not a number"},
		"WithoutPinning": {strings.ReplaceAll(document("v1beta4", goodToken, "", "[]"), `[""]`, "[]"), "pins no certificate authority"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := readFile(write(t, c.text))
			if err == nil {
				_, err = f.identity("")
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if strings.Contains(err.Error(), "0123456789abcdef") {
				t.Errorf("%v gives the token away", err)
			}
		})
	}
}

func document(version, token, hash, args string) string {
	return "apiVersion: kubeadm.k8s.io/" + version + `
kind: JoinConfiguration
discovery:
  bootstrapToken: {apiServerEndpoint: "127.0.0.1:1", token: ` + token + `, caCertHashes: ["` + hash + `"]}
nodeRegistration:
  name: n1
  criSocket: unix:///run/containerd/containerd.sock
  taints: [{key: a, effect: NoSchedule}]
  kubeletExtraArgs: ` + args + "\n"
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "join.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

package kubetenant_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/kubebyon/kubebyon/adapters/kubetenant"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// manyContexts is a kubeconfig as people collect them: one context is good, the
// others must not be used here, each for its reason.
const manyContexts = `apiVersion: v1
kind: Config
current-context: good
clusters:
- {name: one, cluster: {server: "https://203.0.113.1:6443"}}
- {name: blind, cluster: {server: "https://203.0.113.2:6443", insecure-skip-tls-verify: true}}
- {name: plain, cluster: {server: "http://203.0.113.3"}}
- {name: file, cluster: {server: "https://203.0.113.4:6443", certificate-authority: /etc/ssl/ca.pem}}
- {name: around, cluster: {server: "https://203.0.113.5:6443", proxy-url: "http://203.0.113.9:3128"}}
users:
- {name: token, user: {token: the-private-token}}
- {name: program, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/sh, interactiveMode: Never}}}
- {name: plugin, user: {auth-provider: {name: gcp}}}
- {name: files, user: {client-certificate: /root/cert.pem, client-key: /root/key.pem}}
- {name: mounted, user: {tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token}}
contexts:
- {name: good, context: {cluster: one, user: token}}
- {name: blind, context: {cluster: blind, user: token}}
- {name: plain, context: {cluster: plain, user: token}}
- {name: ca-file, context: {cluster: file, user: token}}
- {name: proxy, context: {cluster: around, user: token}}
- {name: program, context: {cluster: one, user: program}}
- {name: plugin, context: {cluster: one, user: plugin}}
- {name: files, context: {cluster: one, user: files}}
- {name: mounted, context: {cluster: one, user: mounted}}
- {name: nobody, context: {cluster: one, user: nobody}}
`

func TestEachContextIsAKubeconfigOfItsOwn(t *testing.T) {
	t.Parallel()
	found, err := kubetenant.Reader{}.Contexts(secret.New(manyContexts))
	if err != nil || len(found) != 10 {
		t.Fatalf("%d contexts, %v", len(found), err)
	}
	for _, c := range found {
		if c.Name != "good" {
			if fault.CodeOf(c.Refused) != "kubeconfig_invalid" || strings.Contains(c.Refused.Error(), "the-private-token") || c.Current {
				t.Errorf("%s: %v", c.Name, c.Refused)
			}
			continue
		}
		text := c.Kubeconfig.Reveal()
		if c.Refused != nil || !c.Current || c.Server != "https://203.0.113.1:6443" || strings.Contains(text, "program") || !strings.Contains(text, "the-private-token") {
			t.Errorf("%+v", c)
		}
		if _, err := kubetenant.NewGuests(kubetenant.Config{}).Connect(t.Context(), id.Cluster{}, c.Kubeconfig); err != nil {
			t.Errorf("it does not connect: %v", err)
		}
	}
}

func TestWhatIsNoKubeconfigIsRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing": "", "words": "the-private-token", "no contexts": "apiVersion: v1\nkind: Config\n", "broken": "{the-private-token",
		"too many contexts": "apiVersion: v1\nkind: Config\ncontexts:\n" + manyNames(201),
	} {
		_, err := kubetenant.Reader{}.Contexts(secret.New(text))
		if fault.CodeOf(err) != "kubeconfig_invalid" || strings.Contains(err.Error(), "the-private-token") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("- {name: c" + strings.Repeat("x", i) + ", context: {cluster: a, user: b}}\n")
	}
	return b.String()
}

func TestAServerAndATokenMakeAKubeconfig(t *testing.T) {
	t.Parallel()
	r := kubetenant.Reader{}
	for server, want := range map[string]string{
		"https://203.0.113.1:6443": "https://203.0.113.1:6443", "https://203.0.113.1:6443/": "https://203.0.113.1:6443", "203.0.113.1:6443": "https://203.0.113.1:6443",
	} {
		c, err := r.WithToken(server, "", secret.New("token"))
		if err != nil || c.Server != want || c.ExpiresAt != nil {
			t.Errorf("%s: %+v, %v", server, c, err)
		}
	}
	jwt := "e30.eyJleHAiOjE3Njk5MDQwMDB9.sig" // exp 1769904000
	c, err := r.WithToken("https://203.0.113.1", "", secret.New(jwt))
	if err != nil || c.ExpiresAt == nil || c.ExpiresAt.Unix() != 1769904000 {
		t.Errorf("%v, %v", c.ExpiresAt, err)
	}
	for name, bad := range map[string][3]string{
		"plain": {"http://203.0.113.1", "", "t"}, "path": {"https://203.0.113.1/api", "", "t"}, "user": {"https://u:p@203.0.113.1", "", "t"},
		"no authority": {"https://203.0.113.1", "the-private-text", "t"}, "no token": {"https://203.0.113.1", "", ""}, "header": {"https://203.0.113.1", "", "a\r\nX: y"},
	} {
		if _, err := r.WithToken(bad[0], bad[1], secret.New(bad[2])); fault.CodeOf(err) != "kubeconfig_invalid" || strings.Contains(err.Error(), "the-private-text") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheClusterAroundTheProcess(t *testing.T) {
	t.Parallel()
	none := kubetenant.Reader{InsideOf: func() (*rest.Config, error) { return nil, rest.ErrNotInCluster }}
	if _, err := none.InCluster(); fault.CodeOf(err) != "not_in_cluster" {
		t.Error(err)
	}
	some := kubetenant.Reader{InsideOf: func() (*rest.Config, error) {
		return &rest.Config{Host: "https://10.0.0.1:443", BearerToken: "token"}, nil
	}}
	if c, err := some.InCluster(); err != nil || c.Server != "https://10.0.0.1:443" || !strings.Contains(c.Kubeconfig.Reveal(), "token") {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestGuestsAreReachedWhereTheyMayBe: the address is judged for each connection.
func TestGuestsAreReachedWhereTheyMayBe(t *testing.T) {
	t.Parallel()
	refused := errors.New("not there")
	var asked []string
	guests := kubetenant.NewGuests(kubetenant.Config{Control: func(_, address string, _ syscall.RawConn) error {
		asked = append(asked, address)
		return refused
	}})
	defer guests.Close()
	c, err := guests.WithToken("https://169.254.169.254", "", secret.New("token"))
	if err != nil {
		t.Fatal(err)
	}
	in, err := guests.Connect(t.Context(), id.Cluster{}, c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Probe(t.Context()); !errors.Is(err, fault.Unavailable) || len(asked) == 0 || asked[0] != "169.254.169.254:443" {
		t.Errorf("%v, asked for %v", err, asked)
	}
}

// TestAGuestMayShowLittle: a credential that may not list nodes is followed all
// the same, and one that may is not asked for certificate requests.
func TestAGuestMayShowLittle(t *testing.T) {
	t.Parallel()
	p := thePlane(t)
	guests := kubetenant.NewGuests(kubetenant.Config{})
	t.Cleanup(guests.Close)
	for name, text := range map[string]secret.Text{"administrator": p.file(t), "little": p.account(t, guests, "guest-with-little")} {
		in, err := guests.Connect(t.Context(), id.New[id.ClusterKind](time.Now(), [10]byte{byte(len(name))}), text)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := in.Probe(t.Context()); err != nil || !strings.HasPrefix(v, "v1.") {
			t.Errorf("%s: %s, %v", name, v, err)
		}
		done := errors.New("done")
		err = in.Watch(t.Context(), func(c tenant.Change) error {
			if c.Synced {
				return done
			}
			if c.Request != nil {
				t.Errorf("%s: a request", name)
			}
			return nil
		})
		if !errors.Is(err, done) {
			t.Errorf("%s: %v", name, err)
		}
		seen, err := in.Contents(t.Context())
		if little := name == "little"; little != (fault.CodeOf(err) == "cluster_access_refused") || !little && seen.Namespaces < 4 {
			t.Errorf("%s: %+v, %v", name, seen, err)
		}
	}
}

func (p *plane) file(t *testing.T) secret.Text {
	t.Helper()
	text, err := os.ReadFile(p.kubeconfigPath())
	if err != nil {
		t.Fatal(err)
	}
	return secret.New(string(text))
}

// account is a service account that may do what everybody may, and no more.
func (p *plane) account(t *testing.T, r tenant.Reader, name string) secret.Text {
	t.Helper()
	api := p.kube.CoreV1().ServiceAccounts(podNamespace)
	if _, err := api.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	given, err := api.CreateToken(t.Context(), name, new(authenticationv1.TokenRequest), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.WithToken(p.admin.Host, string(p.admin.CAData), secret.New(given.Status.Token))
	if err != nil || c.ExpiresAt == nil || !c.ExpiresAt.After(time.Now()) {
		t.Fatalf("%v, %v", c.ExpiresAt, err)
	}
	return c.Kubeconfig
}

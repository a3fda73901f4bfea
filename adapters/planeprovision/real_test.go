package planeprovision

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/provision/provisiontest"
)

// program finds the real kubebyon-localplane.
func program(t testing.TB) string {
	t.Helper()
	file := os.Getenv("KUBEBYON_LOCALPLANE")
	if file == "" {
		file = filepath.Join("..", "..", "bin", "kubebyon-localplane")
	}
	if _, err := os.Stat(file); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("no local control plane program (make build makes it): %v", err)
		}
		t.Skipf("no local control plane program (make build makes it): %v", err)
	}
	return file
}

func realConfig(t testing.TB, dir string) Config {
	c := config(dir)
	c.Binary, c.PortFrom, c.PortTo = program(t), 19000, 19900
	c.MaxStarting, c.ReadyTimeout, c.StopGrace = 0, 0, 0
	return c
}

func TestRealProvisioner(t *testing.T) {
	if testing.Short() {
		t.Skip("real control planes take minutes")
	}
	t.Parallel()
	program(t)
	provisiontest.Run(t, provisiontest.Harness{
		New: func(t *testing.T) provision.Provisioner {
			c := realConfig(t, filepath.Join(t.TempDir(), "planes"))
			target, err := filepath.Abs(c.Binary)
			if err != nil {
				t.Fatal(err)
			}
			c.Binary = filepath.Join(t.TempDir(), "kubebyon-localplane")
			if err := os.Symlink(target, c.Binary); err != nil {
				t.Fatal(err)
			}
			return start(t, c)
		},
		Want:    provision.Want{KubernetesVersion: "v1.36.3"},
		Arrives: 3 * time.Minute,
		Break: func(t *testing.T, p provision.Provisioner, _ string) func() {
			binary := p.(*Provisioner).config.Binary
			if err := os.Rename(binary, binary+".away"); err != nil {
				t.Fatal(err)
			}
			return func() { _ = os.Rename(binary+".away", binary) }
		},
		Kill: func(t *testing.T, p provision.Provisioner, c id.Cluster) { kill(t, p.(*Provisioner), c) },
		Restart: func(t *testing.T, p provision.Provisioner) provision.Provisioner {
			stop(t, p.(*Provisioner))
			return start(t, p.(*Provisioner).config)
		},
		OtherHost: "clusters.example.com",
	})
}

func TestRealKillOfTheParentEndsItsChildren(t *testing.T) {
	if testing.Short() {
		t.Skip("three real control planes take seconds")
	}
	t.Parallel()
	c := realConfig(t, filepath.Join(t.TempDir(), "planes"))
	killTheParent(t, c, c.Binary)
}

// TestRealPlaneAnswersUnderEveryName: the server's certificate is for the host
// that is wanted, for those that were, and for this machine.
func TestRealPlaneAnswersUnderEveryName(t *testing.T) {
	if testing.Short() {
		t.Skip("a real control plane takes seconds")
	}
	t.Parallel()
	p, want := start(t, realConfig(t, filepath.Join(t.TempDir(), "planes"))), wanted(1)
	want.Host, want.FormerHosts, want.KubernetesVersion = "new.example.com", []string{"old.example.com"}, "v1.34.0"
	apply(t, p, want)
	o := until(t, p, want.ID, func(o provision.Observed) bool {
		if o.Phase == provision.Failed {
			t.Fatal(o.Reason)
		}
		return o.Phase == provision.Ready
	})
	kubeconfig, err := p.Kubeconfig(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(field(t, kubeconfig.Reveal(), "certificate-authority-data")) {
		t.Fatal("no certificate authority")
	}
	pair, err := tls.X509KeyPair(field(t, kubeconfig.Reveal(), "client-certificate-data"), field(t, kubeconfig.Reveal(), "client-key-data"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"new.example.com", "old.example.com", "127.0.0.1", "localhost"} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name, Certificates: []tls.Certificate{pair}}}
		client := http.Client{Transport: transport, Timeout: 10 * time.Second}
		resp, err := client.Get("https://127.0.0.1:" + strconv.Itoa(o.Port) + "/api/v1/namespaces/kube-system")
		if err != nil {
			t.Errorf("as %s: %v", name, err)
			continue
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusOK {
			t.Errorf("as %s: %s", name, resp.Status)
		}
		transport.CloseIdleConnections()
	}
}

func field(t *testing.T, kubeconfig, name string) []byte {
	t.Helper()
	found := regexp.MustCompile(name + `: *"?([A-Za-z0-9+/=]+)`).FindStringSubmatch(kubeconfig)
	if found == nil {
		t.Fatalf("the kubeconfig has no %s", name)
	}
	out, err := base64.StdEncoding.DecodeString(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// BenchmarkRealStart brings up ten planes at once, with different bounds on how
// many may be on their way: the figures behind Config.MaxStarting.
func BenchmarkRealStart(b *testing.B) {
	const planes = 10
	for _, most := range []int{1, 2, 3, 4, planes} {
		b.Run(fmt.Sprint("MaxStarting=", most), func(b *testing.B) {
			for range b.N {
				c := realConfig(b, filepath.Join(b.TempDir(), "planes"))
				c.MaxStarting = most
				p, err := New(c)
				if err != nil {
					b.Fatal(err)
				}
				if err := p.Start(b.Context()); err != nil {
					b.Fatal(err)
				}
				begin := time.Now()
				var each time.Duration
				var wants []provision.Want
				for i := range byte(planes) {
					wants = append(wants, wanted(i))
					if err := p.Apply(b.Context(), wants[i]); err != nil {
						b.Fatal(err)
					}
				}
				done := make(chan time.Duration)
				for _, w := range wants {
					go func() {
						for o := (provision.Observed{}); o.Phase != provision.Ready; {
							if o, err = p.Await(b.Context(), w.ID, o); err != nil || o.Phase == provision.Failed {
								b.Errorf("%+v, %v", o, err)
								break
							}
						}
						done <- time.Since(begin)
					}()
				}
				var last, first time.Duration
				for range wants {
					last = <-done
					each += last
					if first == 0 {
						first = last
					}
				}
				b.ReportMetric(first.Seconds(), "s/first")
				b.ReportMetric(last.Seconds(), "s/last")
				b.ReportMetric(each.Seconds()/planes, "s/mean")
				if err := p.Stop(b.Context()); err != nil {
					b.Error(err)
				}
			}
		})
	}
}

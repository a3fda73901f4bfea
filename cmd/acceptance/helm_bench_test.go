package acceptance_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
)

// BenchmarkReadyBesideHelm measures how long a cluster takes from the request to
// ready, beside the same chart installed by the Helm SDK directly until the same
// is true of it. The two take turns. KubeBYON is to take at most 1.15 times as long.
func BenchmarkReadyBesideHelm(b *testing.B) {
	w := newWorld(b, 1, 1)
	c := newClient(b)
	w.must(c.signIn(b.Context(), w.servers[0].url))
	var ours, helms time.Duration
	for n := 0; b.Loop(); n++ {
		began := time.Now()
		w.mustReady(c, fmt.Sprintf("ours-%d", n))
		ours += time.Since(began)
		w.mustGo(c, fmt.Sprintf("ours-%d", n))
		began = time.Now()
		d := w.installDirectly(b, fmt.Sprintf("helms-%d", n), 31000+n)
		helms += time.Since(began)
		d.remove(b)
	}
	b.ReportMetric(ours.Seconds()/float64(b.N), "s/cluster")
	b.ReportMetric(helms.Seconds()/float64(b.N), "s/helm-alone")
	ratio := float64(ours) / float64(helms)
	b.ReportMetric(ratio, "ratio")
	if ratio > 1.15 {
		b.Errorf("%.2f times as long as Helm alone, want 1.15 at most", ratio)
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkFiftyAtOnce asks for fifty clusters at once, on two workers, and
// measures until all are ready, beside the same number installed by the Helm SDK
// alone, as many at a time as KubeBYON has operations of Helm: ten are installed,
// and taken five times.
func BenchmarkFiftyAtOnce(b *testing.B) {
	const all, sample, atOnce = 50, 10, 8
	w := newWorld(b, 1, 2, "--light-tenants")
	c := newClient(b)
	w.must(c.signIn(b.Context(), w.servers[0].url))
	for b.Loop() {
		helms := w.manyDirectly(b, sample, atOnce) * all / sample
		most, stop := w.watchCalls(b)
		began := time.Now()
		var ready sync.WaitGroup
		for n := range all {
			ready.Go(func() {
				if err := w.becomeReady(c, fmt.Sprintf("many-%d", n), 20*time.Minute); err != nil {
					b.Error(err)
				}
			})
		}
		ready.Wait()
		ours := time.Since(began)
		stop()
		if most.Load() > atOnce {
			b.Errorf("%d control planes were applied at a time, and two workers may do %d", most.Load(), atOnce)
		}
		b.ReportMetric(ours.Seconds(), "s/all")
		b.ReportMetric(ours.Seconds()/helms.Seconds(), "ratio")
		b.ReportMetric(float64(most.Load()), "applied-at-once")
	}
	b.ReportMetric(0, "ns/op")
}

func (w *world) mustReady(c *client, name string) {
	w.t.Helper()
	w.must(w.becomeReady(c, name, 5*time.Minute))
}

// becomeReady asks for a cluster and polls as a client does until it is ready.
func (w *world) becomeReady(c *client, name string, within time.Duration) error {
	at := w.servers[0].url + "/api/console/clusters"
	a, err := c.send(w.t.Context(), "POST", at, name, object{"name": name})
	if err := errors.Join(err, a.want(http.StatusCreated)); err != nil {
		return err
	}
	return await(w.t.Context(), within, func() error {
		got, err := c.send(w.t.Context(), "GET", at+"/"+a.in("cluster", "id"), "", nil)
		if err == nil && got.in("cluster", "status") != "ready" {
			err = fmt.Errorf("%s is %s: %s", name, got.in("cluster", "status"), got.in("cluster", "last_error_message"))
		}
		return err
	})
}

// mustGo deletes a cluster and waits until it has gone.
func (w *world) mustGo(c *client, name string) {
	w.t.Helper()
	at := w.servers[0].url + "/api/console/clusters"
	a, err := c.send(w.t.Context(), "GET", at+"?search="+name, "", nil)
	w.must(errors.Join(err, a.want(http.StatusOK)))
	id, _ := a.list("clusters")[0]["id"].(string)
	a, err = c.send(w.t.Context(), "DELETE", at+"/"+id, "", nil)
	w.must(errors.Join(err, a.want(http.StatusAccepted)))
	w.must(await(w.t.Context(), 5*time.Minute, func() error {
		a, err := c.send(w.t.Context(), "GET", at+"/"+id, "", nil)
		return errors.Join(err, a.want(http.StatusNotFound))
	}))
}

// direct is a release that the Helm SDK alone has made.
type direct struct {
	name   string
	config *action.Configuration
	host   kubernetes.Interface
}

func (w *world) manyDirectly(b *testing.B, n, atOnce int) time.Duration {
	b.Helper()
	began := time.Now()
	turns := make(chan struct{}, atOnce)
	made := make([]*direct, n)
	var all sync.WaitGroup
	for i := range n {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			made[i] = w.installDirectly(b, fmt.Sprintf("alone-%d", i), 31500+i)
		})
	}
	all.Wait()
	took := time.Since(began)
	for _, d := range made {
		d.remove(b)
	}
	return took
}

// installDirectly does what somebody does who has only Helm.
func (w *world) installDirectly(b *testing.B, name string, port int) *direct {
	b.Helper()
	flags := genericclioptions.NewConfigFlags(false)
	kubeconfig := w.host.ownKubeconfig()
	flags.KubeConfig, flags.Namespace = &kubeconfig, &name
	d := &direct{name: name, config: new(action.Configuration), host: w.host.client(b)}
	if err := d.config.Init(flags, name, "secret", func(string, ...any) {}); err != nil {
		b.Fatal(err)
	}
	chart, err := loader.Load(filepath.Join("..", "..", "testdata", "charts", "vcluster"))
	if err != nil {
		b.Fatal(err)
	}
	op := action.NewInstall(d.config)
	op.ReleaseName, op.Namespace, op.CreateNamespace = name, name, true
	server := fmt.Sprintf("127.0.0.1:%d", port)
	if _, err := op.RunWithContext(b.Context(), chart, object{
		"controlPlane": object{
			"distro":      object{"k8s": object{"version": "v1.36.3"}},
			"service":     object{"httpsNodePort": port, "spec": object{"type": "NodePort"}},
			"proxy":       object{"extraSANs": []any{"127.0.0.1"}},
			"endpoint":    server,
			"statefulSet": object{"resources": object{"requests": object{"cpu": "100m", "memory": "512Mi"}}},
		},
		"exportKubeConfig": object{"server": "https://" + server},
		"privateNodes":     object{"enabled": true},
	}); err != nil {
		b.Fatal(err)
	}
	if err := await(b.Context(), 5*time.Minute, func() error { return d.isReady(b.Context(), server) }); err != nil {
		b.Fatal(err)
	}
	return d
}

// isReady is what KubeBYON takes for ready.
func (d *direct) isReady(ctx context.Context, server string) error {
	set, err := d.host.AppsV1().StatefulSets(d.name).Get(ctx, d.name, metav1.GetOptions{})
	if err != nil || set.Status.ReadyReplicas < 1 {
		return fmt.Errorf("no replica is ready: %w", orNone(err))
	}
	secret, err := d.host.CoreV1().Secrets(d.name).Get(ctx, "vc-"+d.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(secret.Data["certificate-authority"]) {
		text, _ := base64.StdEncoding.DecodeString(string(secret.Data["certificate-authority"]))
		roots.AppendCertsFromPEM(text)
	}
	web := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
	}}
	r, err := http.NewRequestWithContext(ctx, "GET", "https://"+server+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := web.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz answers %s", resp.Status)
	}
	return nil
}

func (d *direct) remove(b *testing.B) {
	b.Helper()
	ctx := b.Context()
	if _, err := action.NewUninstall(d.config).Run(d.name); err != nil {
		b.Fatal(err)
	}
	if err := d.host.CoreV1().Namespaces().Delete(ctx, d.name, metav1.DeleteOptions{}); err != nil {
		b.Fatal(err)
	}
	err := await(ctx, 2*time.Minute, func() error {
		_, err := d.host.CoreV1().Namespaces().Get(ctx, d.name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("the namespace %s is still there: %w", d.name, orNone(err))
	})
	if err != nil {
		b.Fatal(err)
	}
}

// watchCalls follows how many control planes the workers apply at a time.
func (w *world) watchCalls(b *testing.B) (most *atomic.Int64, stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	most = new(atomic.Int64)
	var following sync.WaitGroup
	following.Go(func() {
		for ctx.Err() == nil {
			var sum int64
			for _, p := range w.workers {
				sum += applying(ctx, p.metrics)
			}
			most.Store(max(most.Load(), sum))
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return most, func() { cancel(); following.Wait() }
}

// applying reads a gauge from a worker's metrics.
func applying(ctx context.Context, url string) int64 {
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return 0
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, `kubebyon_provision_calls_in_flight{call="Apply"} `); ok {
			n, _ := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return int64(n)
		}
	}
	return 0
}

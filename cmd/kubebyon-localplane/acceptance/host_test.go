package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

func TestHostRunsWhatAChartInstalls(t *testing.T) {
	t.Parallel()
	h := theHost(t)
	h.install(t, release{Name: "acme", Version: "v1.35.2", Server: "https://first.example.org:443"})
	h.pod(t, "acme", isReady)
	s := h.secret(t, "acme", anySecret)
	if len(s.OwnerReferences) != 1 || s.OwnerReferences[0].Kind != "Service" || s.Labels["vcluster-name"] != "acme" {
		t.Errorf("the Secret's owner and labels: %v %v", s.OwnerReferences, s.Labels)
	}
	for _, key := range []string{"config", "certificate-authority", "client-certificate", "client-key"} {
		if len(s.Data[key]) == 0 {
			t.Errorf("the Secret has no %s", key)
		}
	}
	if config, err := clientcmd.RESTConfigFromKubeConfig(s.Data["config"]); err != nil || config.Host != "https://first.example.org:443" {
		t.Errorf("the kubeconfig's server: %v, %v", config, err)
	}
	address := h.nodePort(t, "acme")
	tenant := through(t, s, address, "first.example.org")
	answers(t, tenant)
	mark(t, tenant, "kept")
	if info := clusterInfo(t, tenant); !strings.Contains(info.Data["kubeconfig"], "https://first.example.org:443") {
		t.Error("cluster-info does not name the published endpoint")
	}
	version, err := tenant.Discovery().ServerVersion()
	if err != nil || version.EmulationMinor != "35" {
		t.Errorf("version %v, %v; any patch of a minor is that minor", version, err)
	}
	service, err := h.client(t).CoreV1().Services("acme").Get(t.Context(), "acme", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	answers(t, through(t, s, service.Spec.ClusterIP+":8443", "acme.acme.svc"))

	t.Run("another configuration is another certificate of the same authority", func(t *testing.T) {
		h.install(t, release{Name: "acme", Version: "v1.35.2", SAN: "second.example.org", Server: "https://second.example.org:443"})
		again := h.secret(t, "acme", func(s *corev1.Secret) bool {
			return bytes.Contains(s.Data["config"], []byte("second.example.org"))
		})
		h.pod(t, "acme", isReady)
		if !bytes.Equal(again.Data["certificate-authority"], s.Data["certificate-authority"]) {
			t.Error("the authority changed")
		}
		tenant := through(t, again, address, "second.example.org")
		answers(t, tenant)
		marked(t, tenant, "kept")
		if names := namesAt(t, address); !slices.Contains(names, "second.example.org") {
			t.Errorf("the certificate is for %v", names)
		}
	})
	t.Run("the plane goes with the workload, its data with the claim", func(t *testing.T) {
		client := h.client(t)
		if err := client.AppsV1().StatefulSets("acme").Delete(t.Context(), "acme", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(h.dir, "tenants", "acme", "acme")
		come(t, func(ctx context.Context) string {
			if _, err := client.CoreV1().Pods("acme").Get(ctx, "acme-0", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return "the pod is still there: " + errorText(err)
			}
			return ""
		})
		if _, err := tenant.Discovery().ServerVersion(); err == nil {
			t.Error("the plane still answers")
		}
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("the data went before its claim: %v", err)
		}
		if err := client.CoreV1().PersistentVolumeClaims("acme").Delete(t.Context(), "data-acme-0", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		come(t, func(ctx context.Context) string {
			volumes, err := client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
			if err != nil {
				return err.Error()
			}
			for _, v := range volumes.Items {
				if v.Spec.ClaimRef.Namespace == "acme" {
					return "the volume is still there"
				}
			}
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				return "the data is still there"
			}
			return ""
		})
	})
}

func TestHostComesBackWithItsTenants(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "host")
	first := startHost(t, dir)
	first.install(t, release{Name: "kept", Server: "https://first.example.org:443"})
	s := first.secret(t, "kept", anySecret)
	address := first.nodePort(t, "kept")
	answers(t, through(t, s, address, "first.example.org"))
	mark(t, through(t, s, address, "first.example.org"), "kept")
	kubeconfig, err := os.ReadFile(first.kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	_ = first.cmd.Process.Kill()
	first.awaitExit(t, patience)

	second := startHost(t, dir)
	if again, err := os.ReadFile(second.kubeconfig()); err != nil || !bytes.Equal(again, kubeconfig) {
		t.Errorf("the host's kubeconfig changed, %v", err)
	}
	tenant := through(t, s, address, "first.example.org")
	answers(t, tenant)
	marked(t, tenant, "kept")
	second.pod(t, "kept", isReady)
	second.stop(t)
}

func TestHostPublishesLoadBalancersAndIngresses(t *testing.T) {
	t.Parallel()
	h := theHost(t)
	h.install(t, release{Name: "open", Service: "LoadBalancer"})
	s := h.secret(t, "open", anySecret)
	service, err := h.client(t).CoreV1().Services("open").Get(t.Context(), "open", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	balancers := service.Status.LoadBalancer.Ingress
	if len(balancers) != 1 {
		t.Fatalf("the load balancer has the addresses %v", balancers)
	}
	answers(t, through(t, s, balancers[0].IP+":8443", balancers[0].IP))

	ready, _ := h.find("ready")
	answers(t, through(t, s, ready.Ingress, "open.example.org"))
	if _, err := through(t, s, ready.Ingress, "other.example.org").Discovery().ServerVersion(); err == nil {
		t.Error("a name that no Ingress has is served")
	}
}

func TestHostTellsWhatItsTenantsUse(t *testing.T) {
	t.Parallel()
	h := theHost(t)
	h.install(t, release{Name: "busy"})
	h.pod(t, "busy", isReady)
	var list struct {
		Items []struct {
			Metadata   metav1.ObjectMeta `json:"metadata"`
			Containers []struct {
				Name  string              `json:"name"`
				Usage corev1.ResourceList `json:"usage"`
			} `json:"containers"`
		} `json:"items"`
	}
	come(t, func(ctx context.Context) string {
		body, err := h.client(t).Discovery().RESTClient().Get().AbsPath("/apis/metrics.k8s.io/v1beta1/namespaces/busy/pods").
			Param("labelSelector", "app=vcluster,release=busy").DoRaw(ctx)
		if err != nil {
			return err.Error()
		}
		if err := json.Unmarshal(body, &list); err != nil || len(list.Items) != 1 {
			return "not one pod: " + string(body)
		}
		return ""
	})
	used := list.Items[0].Containers[0]
	if memory := used.Usage.Memory().Value(); used.Name != "syncer" || memory < 50<<20 || memory > 2<<30 {
		t.Errorf("%s uses %d bytes", used.Name, memory)
	}
	if cpu := used.Usage.Cpu().MilliValue(); cpu < 0 || cpu > 64000 {
		t.Errorf("it uses %d thousandths of a processor", cpu)
	}
}

// TestHostsTenantsFailAsPodsDo: what a kubelet would say, for each way to fail.
func TestHostsTenantsFailAsPodsDo(t *testing.T) {
	t.Parallel()
	h := theHost(t)
	waits := func(statuses []corev1.ContainerStatus, reason string) bool {
		return len(statuses) > 0 && statuses[0].State.Waiting != nil && statuses[0].State.Waiting.Reason == reason
	}
	crashes := func(word string) func(*corev1.Pod) bool {
		return func(p *corev1.Pod) bool {
			if p.Status.Phase != corev1.PodRunning || isReady(p) || !waits(p.Status.ContainerStatuses, "CrashLoopBackOff") {
				return false
			}
			s := p.Status.ContainerStatuses[0]
			last := s.LastTerminationState.Terminated
			return s.RestartCount > 0 && last != nil && last.ExitCode == 1 && strings.Contains(last.Message, word)
		}
	}
	for word, is := range map[string]func(*corev1.Pod) bool{
		"crash":      crashes("crash"),
		"no-licence": crashes("license"),
		"never": func(p *corev1.Pod) bool {
			c := p.Status.Conditions
			return p.Status.Phase == corev1.PodPending && p.Spec.NodeName == "" && len(c) == 1 &&
				c[0].Type == corev1.PodScheduled && c[0].Reason == corev1.PodReasonUnschedulable
		},
		"image-pull-error": func(p *corev1.Pod) bool {
			return p.Status.Phase == corev1.PodPending && waits(p.Status.ContainerStatuses, "ImagePullBackOff")
		},
	} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			h.install(t, release{Name: "is-" + word, Behave: word})
			h.pod(t, "is-"+word, is)
			if _, err := os.Stat(filepath.Join(h.dir, "tenants", "is-"+word)); err == nil {
				t.Error("a plane was started")
			}
		})
	}
	t.Run("a version that is not offered", func(t *testing.T) {
		t.Parallel()
		h.install(t, release{Name: "too-old", Version: "v1.20.0"})
		h.pod(t, "too-old", func(p *corev1.Pod) bool {
			return p.Status.Phase == corev1.PodPending && waits(p.Status.InitContainerStatuses, "ImagePullBackOff")
		})
	})
	t.Run("bad-secret", func(t *testing.T) {
		t.Parallel()
		h.install(t, release{Name: "is-bad-secret", Behave: "bad-secret"})
		s := h.secret(t, "is-bad-secret", anySecret)
		if _, err := clientcmd.Load(s.Data["config"]); err == nil {
			t.Error("the kubeconfig can be parsed")
		}
	})
	t.Run("slow and no-secret", func(t *testing.T) {
		t.Parallel()
		h.install(t, release{Name: "is-slow", Behave: "slow=1h"})
		h.pod(t, "is-slow", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning && !isReady(p) })
		// Whoever takes the annotation away does not wait for the rest of the hour.
		h.install(t, release{Name: "is-slow", Behave: "no-secret"})
		h.pod(t, "is-slow", isReady)
		_, err := h.client(t).CoreV1().Secrets("is-slow").Get(t.Context(), "vc-is-slow", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			t.Errorf("the Secret: %v", err)
		}
	})
}

func TestHostRefusesRulesItDoesNotKnow(t *testing.T) {
	t.Parallel()
	p := launch(t, nil, append(hostArgs(filepath.Join(t.TempDir(), "host")), "--behave", "a=explode")...)
	p.awaitExit(t, patience)
	if !strings.Contains(p.stderr.String(), `"explode" is not one of`) {
		t.Errorf("said %q", p.stderr.String())
	}
}

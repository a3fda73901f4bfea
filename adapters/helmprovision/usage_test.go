package helmprovision

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/provision"
)

func TestAHostThatDoesNotMeasureSaysWhy(t *testing.T) {
	t.Parallel()
	status := func(code int, reason string) string {
		return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":"pods.metrics.k8s.io is forbidden: secret-thing"}`, reason, code)
	}
	for name, c := range map[string]struct {
		code       int
		body, want string
	}{
		"NoAPI":         {404, "404 page not found", "has no metrics API"},
		"NotFound":      {404, status(404, "NotFound"), "has no metrics API"},
		"Forbidden":     {403, status(403, "Forbidden"), "lacks the right to list pods.metrics.k8s.io"},
		"Unauthorized":  {401, status(401, "Unauthorized"), "lacks the right to list pods.metrics.k8s.io"},
		"ServiceIsAway": {503, "service unavailable", "does not answer at the moment"},
		"Garbage":       {200, "<html>hello</html>", "does not answer with a list"},
		"AnotherList":   {200, `{"kind":"PodList","apiVersion":"v1","items":[]}`, "does not answer with a list"},
		"WrongTypes":    {200, `{"kind":"PodMetricsList","items":[{"containers":[{"usage":{"cpu":"many"}}]}]}`, "does not answer with a list"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hostAt(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(c.code)
				_, _ = w.Write([]byte(c.body))
			})
			_, err := h.usage(t.Context())
			named, ok := errors.AsType[*fault.Error](err)
			if !ok || named.Kind != fault.Unavailable || !strings.Contains(named.Msg, c.want) || strings.Contains(named.Msg, "secret-thing") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestARealAPIServerWithoutTheMetricsAPI asks for metrics that no server of an
// extended API serves: a path beside the one that the host in a box has.
func TestARealAPIServerWithoutTheMetricsAPI(t *testing.T) {
	t.Parallel()
	c := hosted(t).config(t)
	h, err := openHost(c.KubeconfigPath, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	_, err = h.client.CoreV1().RESTClient().Get().AbsPath(strings.Replace(podMetrics, "v1beta1", "v0", 1)).DoRaw(t.Context())
	if err = unmeasured(err); fault.CodeOf(err) != "control_planes_not_measured" || !strings.Contains(err.Error(), "has no metrics API") {
		t.Errorf("got %v", err)
	}
	if so := waitFor(t, func() bool { // the host takes a moment to find it
		_, err = h.usage(t.Context())
		return err == nil
	}); so != nil {
		t.Errorf("with the metrics API: %v", err)
	}
}

func TestAHostThatIsAwaySaysSo(t *testing.T) {
	t.Parallel()
	h := hostAt(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	})
	if _, err := h.usage(t.Context()); !errors.Is(err, fault.Unavailable) { // with a sentence, whichever
		t.Errorf("got %v", err)
	}
}

func TestOneQuestionIsAskedForAllPods(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	h := hostAt(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.String()
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"kind":"PodMetricsList","apiVersion":"metrics.k8s.io/v1beta1","metadata":{},"items":[
			{"metadata":{"name":"a-0","namespace":"a"},"timestamp":"2026-04-23T07:50:00Z","window":"15s","containers":[
				{"name":"syncer","usage":{"cpu":"123456789n","memory":"300Mi"}},{"name":"other","usage":{"cpu":"2m","memory":"1024Ki"}}]},
			{"metadata":{"name":"b-0","namespace":"b"},"timestamp":"2026-04-23T07:50:00Z","window":"15s","containers":[]}]}`))
	})
	used, err := h.usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(asked); n != 1 {
		t.Errorf("%d questions were asked", n)
	}
	if got := <-asked; got != "/apis/metrics.k8s.io/v1beta1/pods?labelSelector=app%3Dvcluster&timeout=1s" {
		t.Errorf("asked for %s", got)
	}
	u, ok := usageOf([]*corev1.Pod{pod("a-0", corev1.PodRunning, true)}, used)
	if want := (provision.Usage{CPUMilli: 126, MemoryMiB: 301, PodsReady: 1, PodsTotal: 1}); !ok || u != want {
		t.Errorf("got %+v, %v; want %+v", u, ok, want)
	}
}

func pod(name string, phase corev1.PodPhase, ready bool) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}, Status: corev1.PodStatus{Phase: phase}}
	if phase == corev1.PodRunning {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

func TestWhatIsNotMeasuredYetIsLeftOut(t *testing.T) {
	t.Parallel()
	used := map[string]corev1.ResourceList{"a/a-0": {corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("200Mi")}}
	running, waiting := pod("a-0", corev1.PodRunning, true), pod("a-1", corev1.PodPending, false)
	fresh, evicted := pod("a-2", corev1.PodRunning, false), pod("a-3", corev1.PodFailed, false)
	for name, c := range map[string]struct {
		pods []*corev1.Pod
		want provision.Usage
		ok   bool
	}{
		"Nothing":     {nil, provision.Usage{}, false},
		"Measured":    {[]*corev1.Pod{running}, provision.Usage{CPUMilli: 100, MemoryMiB: 200, PodsReady: 1, PodsTotal: 1}, true},
		"OneWaits":    {[]*corev1.Pod{running, waiting}, provision.Usage{CPUMilli: 100, MemoryMiB: 200, PodsReady: 1, PodsTotal: 2}, true},
		"AllWait":     {[]*corev1.Pod{waiting}, provision.Usage{PodsTotal: 1}, true},
		"OneIsNew":    {[]*corev1.Pod{running, fresh}, provision.Usage{}, false},
		"OneIsOver":   {[]*corev1.Pod{evicted, running}, provision.Usage{CPUMilli: 100, MemoryMiB: 200, PodsReady: 1, PodsTotal: 1}, true},
		"NothingMore": {[]*corev1.Pod{evicted}, provision.Usage{}, false},
	} {
		u, ok := usageOf(c.pods, used)
		if ok != c.ok || ok && u != c.want {
			t.Errorf("%s: got %+v, %v; want %+v, %v", name, u, ok, c.want, c.ok)
		}
	}
}

// hostAt is a host cluster that answers as told.
func hostAt(t *testing.T, answer http.HandlerFunc) *host {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	config := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\nclusters: [{name: a, cluster: {server: %q}}]\nusers: [{name: a, user: {}}]\n", server.URL)
	h, err := openHost(valuesFile(t, config), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	return h
}

package hostplane

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/tenants"
)

// The types of metrics.k8s.io, as far as they are served here.
type (
	podMetrics struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Timestamp         metav1.Time        `json:"timestamp"`
		Window            metav1.Duration    `json:"window"`
		Containers        []containerMetrics `json:"containers"`
	}
	containerMetrics struct {
		Name  string            `json:"name"`
		Usage map[string]string `json:"usage"`
	}
	nodeMetrics struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Timestamp         metav1.Time       `json:"timestamp"`
		Window            metav1.Duration   `json:"window"`
		Usage             map[string]string `json:"usage"`
	}
	metricsList[T any] struct {
		metav1.TypeMeta `json:",inline"`
		metav1.ListMeta `json:"metadata"`
		Items           []T `json:"items"`
	}
)

const metricsAPI = metricsGroup + "/" + metricsVersion

func metricsType(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: metricsAPI, Kind: kind}
}

// metricsHandler answers what clients of the metrics API ask: discovery, and gets and lists.
func (b *box) metricsHandler(m *meter) http.Handler {
	const root = "/apis/" + metricsAPI
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+root, func(w http.ResponseWriter, _ *http.Request) { answer(w, metricsResources()) })
	mux.HandleFunc("GET "+root+"/pods", func(w http.ResponseWriter, r *http.Request) { b.listPodMetrics(w, r, m) })
	mux.HandleFunc("GET "+root+"/namespaces/{namespace}/pods", func(w http.ResponseWriter, r *http.Request) { b.listPodMetrics(w, r, m) })
	mux.HandleFunc("GET "+root+"/namespaces/{namespace}/pods/{name}", func(w http.ResponseWriter, r *http.Request) { b.getPodMetrics(w, r, m) })
	mux.HandleFunc("GET "+root+"/nodes", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, metricsList[nodeMetrics]{TypeMeta: metricsType("NodeMetricsList"), Items: []nodeMetrics{b.nodeMetrics(m)}})
	})
	mux.HandleFunc("GET "+root+"/nodes/"+nodeName, func(w http.ResponseWriter, _ *http.Request) { answer(w, b.nodeMetrics(m)) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { refuse(w, http.StatusNotFound, r.URL.Path+" not found") })
	return mux
}

func metricsResources() metav1.APIResourceList {
	verbs := metav1.Verbs{"get", "list"}
	return metav1.APIResourceList{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"}, GroupVersion: metricsAPI,
		APIResources: []metav1.APIResource{
			{Name: "nodes", Kind: "NodeMetrics", Verbs: verbs},
			{Name: "pods", Kind: "PodMetrics", Namespaced: true, Verbs: verbs},
		},
	}
}

func answer(w http.ResponseWriter, object any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object)
}

func refuse(w http.ResponseWriter, code int, message string) {
	reason := metav1.StatusReasonNotFound
	if code == http.StatusBadRequest {
		reason = metav1.StatusReasonBadRequest
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Code: int32(code), Reason: reason, Message: message, //nolint:gosec // an HTTP status
	})
}

func (b *box) listPodMetrics(w http.ResponseWriter, r *http.Request, m *meter) {
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	pods, err := b.pods.Pods(r.PathValue("namespace")).List(selector)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	list := metricsList[podMetrics]{TypeMeta: metricsType("PodMetricsList"), Items: []podMetrics{}}
	for _, pod := range pods {
		if one, ok := b.podMetrics(pod, m); ok {
			list.Items = append(list.Items, one)
		}
	}
	answer(w, list)
}

func (b *box) getPodMetrics(w http.ResponseWriter, r *http.Request, m *meter) {
	pod, err := b.pods.Pods(r.PathValue("namespace")).Get(r.PathValue("name"))
	if err == nil {
		if one, ok := b.podMetrics(pod, m); ok {
			answer(w, one)
			return
		}
	}
	refuse(w, http.StatusNotFound, fmt.Sprintf("podmetrics.metrics.k8s.io %q not found", r.PathValue("namespace")+"/"+r.PathValue("name")))
}

// podMetrics are those of the process behind a tenant's pod; of several replicas the newest has
// it all.
func (b *box) podMetrics(pod *corev1.Pod, m *meter) (podMetrics, bool) {
	if !isTenant(pod) {
		return podMetrics{}, false
	}
	name := tenantOf(pod)
	newest, _ := b.newestPod(name)
	if newest == nil || newest.UID != pod.UID {
		return podMetrics{}, false
	}
	used, ok := m.of(b.tenants.State(name).PID)
	if !ok {
		return podMetrics{}, false
	}
	return podMetrics{
		TypeMeta:   metricsType("PodMetrics"),
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, Labels: pod.Labels, CreationTimestamp: metav1.NewTime(used.at)},
		Timestamp:  metav1.NewTime(used.at), Window: metav1.Duration{Duration: used.window.Truncate(time.Millisecond)},
		Containers: []containerMetrics{{Name: pod.Spec.Containers[0].Name, Usage: used.usage()}},
	}, true
}

func (b *box) nodeMetrics(m *meter) nodeMetrics {
	sum := usage{at: b.Now()}
	running := b.tenants.Running()
	running[tenants.Name{}] = tenants.State{PID: m.self}
	for _, s := range running {
		if one, ok := m.of(s.PID); ok {
			sum.cpu, sum.memory, sum.window = sum.cpu+one.cpu, sum.memory+one.memory, max(sum.window, one.window)
		}
	}
	return nodeMetrics{
		TypeMeta: metricsType("NodeMetrics"), ObjectMeta: metav1.ObjectMeta{Name: nodeName, CreationTimestamp: metav1.NewTime(sum.at)},
		Timestamp: metav1.NewTime(sum.at), Window: metav1.Duration{Duration: sum.window.Truncate(time.Millisecond)}, Usage: sum.usage(),
	}
}

package helmprovision

import (
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubebyon/kubebyon/core/kernel/id"
)

// recall is what this process remembers of what it has seen and asked. All of it
// may be forgotten: then it takes longer to come to the same verdict.
type recall struct {
	now func() time.Time

	mu        sync.Mutex
	spans     map[string]span
	probes    map[id.Cluster]probe
	texts     map[string]remark     // what a pod's container said, why a namespace has no pods
	questions map[string]bool       // under way
	words     map[id.Cluster]string // the namespace's version as last written, until it is seen
}

// span is how long something has been so, as often as somebody looked.
type span struct{ first, last time.Time }

type probe struct {
	about string // endpoint, certificate authority and incarnation
	first time.Time
	last  time.Time
	ok    bool
}

type remark struct {
	said string
	at   time.Time
}

const (
	// What nobody saw for so long may have been otherwise meanwhile.
	gap = 30 * time.Second
	// Texts are read again after so long.
	stale = 30 * time.Second
	// Each map is emptied of what is old when it grows beyond this.
	maxRecalled = 4096
)

func newRecall(now func() time.Time) *recall {
	return &recall{now: now, spans: map[string]span{}, probes: map[id.Cluster]probe{}, texts: map[string]remark{}, questions: map[string]bool{}, words: map[id.Cluster]string{}}
}

func (r *recall) since(key string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	s, ok := r.spans[key]
	if !ok || now.Sub(s.last) > gap || now.Before(s.first) {
		s.first = now
	}
	s.last = now
	if len(r.spans) >= maxRecalled {
		for k, old := range r.spans {
			if now.Sub(old.last) > gap {
				delete(r.spans, k)
			}
		}
	}
	r.spans[key] = s
	return now.Sub(s.first)
}

// probed reports whether the last question about this was answered, and since
// when it is asked without a gap.
func (r *recall) probed(cluster id.Cluster, about string) (ok bool, waited time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	q := r.probes[cluster]
	if q.about != about {
		if len(r.probes) >= maxRecalled {
			clear(r.probes)
		}
		q = probe{about: about, first: now, last: now}
	}
	if now.Sub(q.last) > gap || now.Before(q.first) {
		q.first = now
	}
	q.last = now
	r.probes[cluster] = q
	return q.ok, now.Sub(q.first)
}

func (r *recall) note(cluster id.Cluster, about string, ok bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q := r.probes[cluster]; q.about == about && ok {
		q.ok = true
		r.probes[cluster] = q
	}
	return ok
}

// forget lets a cluster's endpoint be asked anew.
func (r *recall) forget(cluster id.Cluster) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.probes, cluster)
}

func logKey(pod *corev1.Pod) string { return "logs/" + string(pod.UID) }

// endKey is one end of a pod's containers.
func endKey(pod *corev1.Pod) string {
	ends := 0
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if ends += int(s.RestartCount); s.State.Terminated != nil {
			ends++
		}
	}
	return logKey(pod) + "/" + strconv.Itoa(ends)
}

func (r *recall) last(pod *corev1.Pod) (said string, known bool) {
	said, _ = r.text(logKey(pod))
	_, known = r.text(endKey(pod))
	return said, known
}

func (r *recall) events(namespace string) string {
	said, _ := r.text("events/" + namespace)
	return said
}

func resumeKey(n *corev1.Namespace) string {
	return "resume/" + string(n.UID) + "/" + n.Annotations[noteTried]
}

func (r *recall) unfinished(n *corev1.Namespace) string {
	said, _ := r.text(resumeKey(n))
	return said
}

// text stays known while it is read again.
func (r *recall) text(key string) (said string, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.texts[key]
	return t.said, ok && r.now().Sub(t.at) < 20*stale
}

func (r *recall) say(pod *corev1.Pod, said string) {
	r.keep(logKey(pod), said)
	r.keep(endKey(pod), "")
}

func pinKey(n *corev1.Namespace) string { return "pin/" + string(n.UID) }

func (r *recall) keep(key, said string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.texts) >= maxRecalled {
		clear(r.texts)
	}
	r.texts[key] = remark{said, r.now()}
}

// begin reports whether a question may be asked: one of a kind at a time, and not
// too many at once.
func (r *recall) begin(question string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.questions[question] || len(r.questions) >= maxQuestions {
		return false
	}
	r.questions[question] = true
	return true
}

func (r *recall) done(question string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.questions, question)
}

// freshFor is how long what was found out of the host is gone by: its rights, its
// nodes' addresses.
const freshFor = time.Minute

// fresh reports whether a text was kept within the last minute.
func (r *recall) fresh(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.texts[key]
	return ok && r.now().Sub(t.at) < freshFor
}

// wrote remembers which version of a namespace has to be seen first.
func (r *recall) wrote(cluster id.Cluster, version string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.words) >= maxRecalled {
		clear(r.words)
	}
	r.words[cluster] = version
}

func (r *recall) written(cluster id.Cluster) (version string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.words[cluster]
}

func (r *recall) saw(cluster id.Cluster, version string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.words[cluster] == version {
		delete(r.words, cluster)
	}
}

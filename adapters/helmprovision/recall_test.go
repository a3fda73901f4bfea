package helmprovision

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestLastWordsAreReadAgainAfterEachEnd, and the older ones serve meanwhile.
func TestLastWordsAreReadAgainAfterEachEnd(t *testing.T) {
	t.Parallel()
	r, pod := newRecall(time.Now), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "pod"}}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
	for _, step := range []struct {
		status corev1.ContainerStatus
		known  bool
	}{
		{corev1.ContainerStatus{State: ended}, false},
		{corev1.ContainerStatus{RestartCount: 1, LastTerminationState: ended}, true}, // the same end
		{corev1.ContainerStatus{RestartCount: 1, State: ended, LastTerminationState: ended}, false},
		{corev1.ContainerStatus{RestartCount: 2, LastTerminationState: ended}, true},
	} {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{step.status}
		before, known := r.last(pod)
		if known != step.known || known && before != "no leader" {
			t.Errorf("with %d restarts: %q is known %v, want %v", step.status.RestartCount, before, known, step.known)
		}
		r.say(pod, "no leader")
	}
}

// TestTimeInWhichNobodyLookedDoesNotCount against a published endpoint.
func TestTimeInWhichNobodyLookedDoesNotCount(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r, c := newRecall(func() time.Time { return now }), newID()
	for _, step := range []struct{ passes, waited time.Duration }{
		{0, 0},
		{20 * time.Second, 20 * time.Second},
		{25 * time.Second, 45 * time.Second},
		{time.Hour, 0},
		{10 * time.Second, 10 * time.Second},
		{-time.Minute, 0}, // a clock that was set back
	} {
		now = now.Add(step.passes)
		if ok, waited := r.probed(c, "endpoint"); ok || waited != step.waited {
			t.Errorf("after %s more it waited for %s, want %s", step.passes, waited, step.waited)
		}
	}
	r.note(c, "endpoint", true)
	now = now.Add(time.Hour)
	if ok, _ := r.probed(c, "endpoint"); !ok {
		t.Error("an answer is forgotten because nobody looked")
	}
}

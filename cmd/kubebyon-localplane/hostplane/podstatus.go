package hostplane

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sight is what a kubelet sees of a pod. At most one of its parts says why it does not run.
type sight struct {
	started bool
	ready   bool
	done    bool // all containers ended well

	waiting *waiting // before the start
	ended   *ended   // after it

	again time.Duration // until the next look, when no event brings one
}

// waiting is a container that has not been started.
type waiting struct {
	reason, message string
	inInit          bool
}

// ended is a container that ended, and is started again after a while.
type ended struct {
	exitCode int32
	message  string
	at       time.Time
	times    int
	pause    time.Duration
}

// statusOf renders what is seen as the pod's status.
func (b *box) statusOf(pod *corev1.Pod, l *life, now sight) *corev1.PodStatus {
	s := pod.Status.DeepCopy()
	began := metav1.NewTime(l.began.Truncate(time.Second))
	s.StartTime = &began
	s.HostIP, s.HostIPs = b.nodeAddress(), []corev1.HostIP{{IP: b.nodeAddress()}}
	s.PodIP, s.PodIPs = l.ip, []corev1.PodIP{{IP: l.ip}}
	s.QOSClass = pod.Status.QOSClass
	s.ObservedGeneration = pod.Generation
	s.Phase = phaseOf(now)
	s.InitContainerStatuses = b.containers(pod.Spec.InitContainers, pod.Status.InitContainerStatuses, now, true)
	s.ContainerStatuses = b.containers(pod.Spec.Containers, pod.Status.ContainerStatuses, now, false)

	initialized := now.waiting == nil || !now.waiting.inInit
	ready, why := truth(now.ready), ""
	if now.done {
		why = "PodCompleted"
	} else if !now.ready {
		why = "ContainersNotReady"
	}
	b.condition(s, corev1.PodScheduled, corev1.ConditionTrue, "", "")
	b.condition(s, corev1.PodReadyToStartContainers, corev1.ConditionTrue, "", "")
	if initialized {
		b.condition(s, corev1.PodInitialized, corev1.ConditionTrue, "", "")
	} else {
		b.condition(s, corev1.PodInitialized, corev1.ConditionFalse, "ContainersNotInitialized", "containers with incomplete status: "+names(pod.Spec.InitContainers))
	}
	var message string
	if why == "ContainersNotReady" {
		message = "containers with unready status: " + names(pod.Spec.Containers)
	}
	b.condition(s, corev1.ContainersReady, ready, why, message)
	b.condition(s, corev1.PodReady, ready, why, message)
	return s
}

func phaseOf(now sight) corev1.PodPhase {
	switch {
	case now.done:
		return corev1.PodSucceeded
	case now.waiting != nil:
		return corev1.PodPending
	default:
		return corev1.PodRunning
	}
}

func truth(is bool) corev1.ConditionStatus {
	if is {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

func names(containers []corev1.Container) string {
	all := make([]string, len(containers))
	for i, c := range containers {
		all[i] = c.Name
	}
	return fmt.Sprint(all)
}

// condition keeps the time of the last change.
func (b *box) condition(s *corev1.PodStatus, kind corev1.PodConditionType, is corev1.ConditionStatus, reason, message string) {
	for i := range s.Conditions {
		c := &s.Conditions[i]
		if c.Type != kind {
			continue
		}
		if c.Status != is {
			c.LastTransitionTime = metav1.NewTime(b.Now().Truncate(time.Second))
		}
		c.Status, c.Reason, c.Message = is, reason, message
		return
	}
	s.Conditions = append(s.Conditions, corev1.PodCondition{
		Type: kind, Status: is, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(b.Now().Truncate(time.Second)),
	})
}

func (b *box) containers(specs []corev1.Container, before []corev1.ContainerStatus, now sight, areInit bool) []corev1.ContainerStatus {
	var out []corev1.ContainerStatus
	for i, spec := range specs {
		var was corev1.ContainerStatus
		for _, s := range before {
			if s.Name == spec.Name {
				was = s
			}
		}
		// Only the first fails; the others are there with it.
		out = append(out, b.container(spec, was, now, areInit, i == 0))
	}
	return out
}

func (b *box) container(spec corev1.Container, was corev1.ContainerStatus, now sight, isInit, isFirst bool) corev1.ContainerStatus {
	s := corev1.ContainerStatus{Name: spec.Name, Image: spec.Image, RestartCount: was.RestartCount, LastTerminationState: was.LastTerminationState}
	notStarted := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}
	switch {
	case isInit && now.waiting != nil && now.waiting.inInit && isFirst:
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: now.waiting.reason, Message: now.waiting.message}
	case isInit && now.waiting != nil && now.waiting.inInit:
		s.State = notStarted
	case isInit:
		s.State.Terminated = b.finished(was)
		s.Ready, s.Started = true, new(bool)
	case now.done:
		s.State.Terminated = b.finished(was)
		s.Started = new(bool)
	case now.waiting != nil && now.waiting.inInit:
		s.State, s.Started = notStarted, new(bool)
	case now.waiting != nil:
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: now.waiting.reason, Message: now.waiting.message}
		s.Started = new(bool)
	case now.ended != nil && isFirst:
		crashed(&s, spec, now.ended)
	default:
		s.State.Running = b.running(was)
		s.Ready = now.ready
		s.Started = &now.started
	}
	return s
}

// crashed is what the kubelet reports between the end of a container and its next start.
func crashed(s *corev1.ContainerStatus, spec corev1.Container, e *ended) {
	at := metav1.NewTime(e.at.Truncate(time.Second))
	s.RestartCount = int32(min(e.times, 1<<20)) //nolint:gosec // bounded
	s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
		ExitCode: e.exitCode, Reason: "Error", Message: e.message, StartedAt: at, FinishedAt: at,
	}
	s.State.Waiting = &corev1.ContainerStateWaiting{
		Reason:  "CrashLoopBackOff",
		Message: fmt.Sprintf("back-off %s restarting failed container=%s", e.pause, spec.Name),
	}
	s.Started = new(bool)
}

func (b *box) finished(was corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if was.State.Terminated != nil && was.State.Terminated.ExitCode == 0 {
		return was.State.Terminated
	}
	now := metav1.NewTime(b.Now().Truncate(time.Second))
	return &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: now, FinishedAt: now}
}

func (b *box) running(was corev1.ContainerStatus) *corev1.ContainerStateRunning {
	if was.State.Running != nil {
		return was.State.Running
	}
	return &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(b.Now().Truncate(time.Second))}
}

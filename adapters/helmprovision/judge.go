package helmprovision

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubebyon/kubebyon/ports/provision"
)

// verdict is an observation, with what has to be found out to go further.
type verdict struct {
	provision.Observed
	Probe    bool        // it runs: does it answer where it is published?
	Logs     *corev1.Pod // a container of it has ended: what did it say?
	Events   bool        // there is no pod: why not?
	Resume   bool        // the load balancer has its address: go on
	Culprits []string    // UIDs of what has failed: another attempt takes others
	CA       string      // a digest of the certificate authority
}

// memo is what a process remembers besides what it sees.
type memo interface {
	// since reports how long what key names has been so.
	since(key string) time.Duration
	// last returns what a pod's container said before it ended, and whether that is
	// of the last time that one did.
	last(pod *corev1.Pod) (said string, known bool)
	// events returns why the host makes no pods, if that is known.
	events(namespace string) string
	// unfinished returns why the chart was not installed when the load balancer had
	// its address, if that is known.
	unfinished(namespace *corev1.Namespace) string
}

func pending(stage provision.Stage) verdict {
	return verdict{Observed: provision.Observed{Phase: provision.Pending, Stage: stage}}
}

// waiting is pending, in plain sentences for people: they see them when it lasts.
func waiting(stage provision.Stage, format string, args ...any) verdict {
	v := pending(stage)
	v.Waiting = fmt.Sprintf(format, args...)
	return v
}

func failed(reason string, culprits ...string) verdict {
	return verdict{Observed: provision.Observed{Phase: provision.Failed, Reason: reason}, Culprits: culprits}
}

// judge says how far a control plane has come, up to the question whether it
// answers where it is published.
func (c Config) judge(s scene, m memo) verdict {
	switch {
	case s.namespace == nil:
		return verdict{Observed: provision.Observed{Phase: provision.Absent}}
	case s.namespace.DeletionTimestamp != nil || s.note(noteCondemned) != "":
		return verdict{Observed: provision.Observed{Phase: provision.Removing, Stage: provision.Deleting, Reason: blockers(s.namespace)}}
	}
	hash, work := s.note(noteHash), s.workload()
	if hash == "" {
		return c.judgeBalancer(s, m)
	}
	if work == nil || work.GetAnnotations()[noteHash] != hash {
		return pending(provision.InstallingChart)
	}
	if v, up := c.judgePods(s, hash, m); !up {
		return v
	}
	return c.judgeSecret(s)
}

// judgeBalancer waits for the address of a load balancer, without which nothing
// can be installed.
func (c Config) judgeBalancer(s scene, m memo) verdict {
	v := pending(provision.InstallingChart)
	if s.note(noteWant) == "" {
		return v
	}
	if balancer(s.service) != "" {
		if why := m.unfinished(s.namespace); why != "" {
			v = failed(why)
		}
		v.Resume = true
		return v
	}
	v.Waiting = "The host cluster has given the load balancer of the control plane no address yet."
	if m.since("balancer/"+string(s.namespace.UID)+"/"+s.note(noteTried)) >= c.PublishTimeout {
		return failed("The host cluster gave the load balancer of the control plane no address. Choose another public_access_mode, set control_plane_host, or give the host cluster a load balancer.")
	}
	return v
}

// judgePods looks for a pod that is ready. Pods of an earlier want do not count.
func (c Config) judgePods(s scene, hash string, m memo) (v verdict, up bool) {
	v = pending(provision.StartingPlane)
	var current []*corev1.Pod
	for _, pod := range s.pods {
		if pod.Annotations[noteHash] != hash || pod.DeletionTimestamp != nil || slices.Contains(strings.Split(s.note(noteGivenUp), ","), string(pod.UID)) {
			continue
		}
		if isReady(pod) {
			return v, true
		}
		current = append(current, pod)
	}
	if len(current) == 0 {
		return c.judgeNoPods(s, m), false
	}
	for _, pod := range current {
		f := c.judgePod(pod, m)
		if f.Phase == provision.Failed || f.Logs != nil || f.Stage != provision.StartingPlane {
			return f, false
		}
		v.Waiting = or(v.Waiting, f.Waiting)
	}
	return v, false
}

// judgeNoPods waits a while for a pod of what is wanted, and then wants to know why
// there is none. One of before that does not end keeps its place.
func (c Config) judgeNoPods(s scene, m memo) verdict {
	v := waiting(provision.StartingPlane, "The host cluster has made no pod for the control plane yet.")
	for _, pod := range s.pods {
		if pod.DeletionTimestamp != nil {
			v.Waiting = fmt.Sprintf("The pod %s of the control plane has not ended yet, and the host cluster makes no other before it has.", pod.Name)
		}
	}
	waited := m.since("nopods/" + string(s.namespace.UID) + "/" + s.note(noteHash) + "/" + s.note(noteTried))
	if waited < c.StuckTimeout {
		return v
	}
	for _, pod := range s.pods {
		if pod.DeletionTimestamp != nil {
			return failed(fmt.Sprintf("The pod %s of the control plane does not end, and the host cluster makes no other before it has. Look at its node and at its finalizers.", pod.Name))
		}
	}
	v.Events = true
	if why := m.events(s.namespace.Name); why != "" {
		return failed(fmt.Sprintf("The host cluster makes no pod for the control plane: %s.", clause(why)))
	}
	return v
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// restarts that a container may need before it counts as one that ends again and
// again: the first ones may come too early for what it depends on.
const restartsAllowed = 3

// judgePod says why a pod that is not ready is not.
func (c Config) judgePod(pod *corev1.Pod, m memo) verdict {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return c.stuck(pod, m, "unscheduled", "The host cluster has no place for the control plane: %s.", condition.Message)
		}
	}
	trouble := pending(provision.StartingPlane)
	for _, container := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		v := c.judgeContainer(pod, container, m)
		if v.Phase == provision.Failed {
			return v
		}
		if trouble.Waiting == "" {
			trouble.Waiting = v.Waiting
		}
		if trouble.Logs == nil {
			trouble.Logs = v.Logs
		}
	}
	if pod.Status.Phase == corev1.PodFailed {
		return failed(fmt.Sprintf("The host cluster ended the control plane's pod: %s.", clause(or(pod.Status.Message, pod.Status.Reason, "it does not say why"))), string(pod.UID))
	}
	isMain := func(s corev1.ContainerStatus) bool { return s.State.Running != nil }
	if slices.ContainsFunc(pod.Status.ContainerStatuses, isMain) {
		trouble.Stage = provision.WaitingControlPlane
		trouble.Waiting = or(trouble.Waiting, fmt.Sprintf("The pod %s of the control plane runs, and is not ready yet.", pod.Name))
	}
	trouble.Waiting = or(trouble.Waiting, fmt.Sprintf("The host cluster has not started the pod %s of the control plane yet.", pod.Name))
	return trouble
}

func (c Config) judgeContainer(pod *corev1.Pod, s corev1.ContainerStatus, m memo) verdict {
	if w := s.State.Waiting; w != nil {
		switch w.Reason {
		case "InvalidImageName", "ErrImageNeverPull":
			return failed(fmt.Sprintf("The image %s of the control plane cannot be had: %s.", s.Image, clause(or(w.Message, w.Reason))), string(pod.UID))
		case "ErrImagePull", "ImagePullBackOff", "RegistryUnavailable":
			return c.stuck(pod, m, "image", "The image "+s.Image+" of the control plane cannot be pulled: %s.", or(w.Message, w.Reason))
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
			return c.stuck(pod, m, "container", "The control plane's container cannot be made: %s.", or(w.Message, w.Reason))
		}
	}
	if t := s.State.Terminated; t != nil && t.ExitCode == 0 { // an init container that is done
		return pending(provision.StartingPlane)
	}
	ended := s.LastTerminationState.Terminated
	if s.State.Terminated != nil {
		ended = s.State.Terminated
	}
	if ended != nil && needsLicence(ended.Message) { // another attempt will not bring one
		return c.crashed(pod, ended, m)
	}
	if ended == nil {
		return pending(provision.StartingPlane)
	}
	if s.RestartCount < restartsAllowed || s.State.Running != nil && s.RestartCount < 2*restartsAllowed {
		return c.restarted(pod, ended, m)
	}
	return c.crashed(pod, ended, m)
}

// lastWords are what a container said before it ended, and whether they are of its
// last end: of an earlier one they are better than nothing.
func lastWords(pod *corev1.Pod, t *corev1.ContainerStateTerminated, m memo) (said string, known bool) {
	if said, known = strings.TrimSpace(t.Message), true; said == "" {
		said, known = m.last(pod)
	}
	return said, known
}

// restarted is a container that has ended and may yet do better.
func (c Config) restarted(pod *corev1.Pod, t *corev1.ContainerStateTerminated, m memo) verdict {
	said, known := lastWords(pod, t, m)
	if known && needsLicence(said) {
		return failed(c.licenceReason(said), string(pod.UID))
	}
	v := waiting(provision.StartingPlane, "The control plane has ended with exit code %d, and is started again: %s.", t.ExitCode, clause(or(lastLine(said), t.Reason, "it does not say why")))
	if !known {
		v.Logs = pod
	}
	return v
}

// crashed puts what a container said before it ended into a sentence.
func (c Config) crashed(pod *corev1.Pod, t *corev1.ContainerStateTerminated, m memo) verdict {
	said, known := lastWords(pod, t, m)
	if !known {
		return c.restarted(pod, t, m)
	}
	if needsLicence(said) {
		return failed(c.licenceReason(said), string(pod.UID))
	}
	if said = lastLine(said); said == "" {
		said = or(t.Reason, "it does not say why")
	}
	return failed(fmt.Sprintf("The control plane ends again and again, with exit code %d: %s.", t.ExitCode, clause(said)), string(pod.UID))
}

// needsLicence knows vCluster's refusal of what its licence does not hold.
func needsLicence(said string) bool {
	said = strings.ToLower(said)
	return strings.Contains(said, "vcluster pro feature") || strings.Contains(said, "license") && (strings.Contains(said, "disabled") || strings.Contains(said, "invalid") || strings.Contains(said, "expired") || strings.Contains(said, "required"))
}

func (c Config) licenceReason(said string) string {
	where := "KUBEBYON_VCLUSTER_LICENCE_SECRET names no Secret that holds one"
	if c.LicenceSecret != "" {
		where = "check the Secret " + c.LicenceSecret
	}
	return fmt.Sprintf("vCluster refuses to run for want of a licence: nodes of your own (privateNodes) need its licensed image and a licence that allows them; %s. It says: %s.", where, clause(lastLine(said)))
}

// lastLine is where programs say why they end.
func lastLine(said string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	return lines[len(lines)-1]
}

// stuck is what may pass by itself, until it has lasted too long.
func (c Config) stuck(pod *corev1.Pod, m memo, kind, format, message string) verdict {
	sentence := fmt.Sprintf(format, clause(or(message, "it does not say why")))
	if m.since(kind+"/"+string(pod.UID)) < c.StuckTimeout {
		return waiting(provision.StartingPlane, "%s", sentence)
	}
	return failed(sentence, string(pod.UID))
}

func or(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// judgeSecret looks whether a control plane that runs has its kubeconfig.
func (c Config) judgeSecret(s scene) verdict {
	given := strings.Split(s.note(noteGivenUp), ",")
	if s.secret == nil {
		return waiting(provision.ExportingKubeconfig, "The control plane runs, but the Secret vc-%s, in which it leaves its kubeconfig, is not there yet.", s.namespace.Name)
	}
	if slices.Contains(given, string(s.secret.UID)) {
		return waiting(provision.ExportingKubeconfig, "The Secret %s of the control plane held no kubeconfig that could be used, and there is no other yet.", s.secret.Name)
	}
	if s.unusable != nil {
		v := failed(fmt.Sprintf("The Secret %s of the control plane holds no kubeconfig that can be used: %s.", s.secret.Name, s.unusable), string(s.secret.UID))
		for _, pod := range s.pods {
			v.Culprits = append(v.Culprits, string(pod.UID))
		}
		return v
	}
	ca := fingerprint(s.key.ca)
	if known := s.note(noteExisted); known != "" && known != ca {
		return failed("The control plane has another certificate authority than before: what was in it is lost. Delete the cluster.")
	}
	host, port, err := net.SplitHostPort(s.note(noteEndpoint))
	if err != nil {
		return pending(provision.InstallingChart)
	}
	number, _ := strconv.Atoi(port)
	v := verdict{Probe: true, CA: ca}
	v.Observed = provision.Observed{
		Phase: provision.Ready, Stage: provision.Done, Endpoint: "https://" + net.JoinHostPort(host, port), Port: number, Incarnation: incarnation(s),
	}
	return v
}

func fingerprint(ca []byte) string {
	sum := sha256.Sum256(ca)
	return hex.EncodeToString(sum[:12])
}

// incarnation names the processes behind a control plane.
func incarnation(s scene) string {
	var all strings.Builder
	for _, pod := range s.pods {
		if pod.Annotations[noteHash] != s.note(noteHash) || !isReady(pod) || pod.DeletionTimestamp != nil {
			continue
		}
		all.WriteString(string(pod.UID))
		for _, c := range pod.Status.ContainerStatuses {
			all.WriteString("/" + strconv.Itoa(int(c.RestartCount)))
		}
	}
	sum := sha256.Sum256([]byte(all.String()))
	return hex.EncodeToString(sum[:8])
}

// balancer is the address that a load balancer gave a Service.
func balancer(s *corev1.Service) string {
	if s == nil {
		return ""
	}
	for _, in := range s.Status.LoadBalancer.Ingress {
		if at := or(in.IP, in.Hostname); at != "" {
			return at
		}
	}
	return ""
}

// blockers says what keeps a namespace from going.
func blockers(n *corev1.Namespace) string {
	if n.DeletionTimestamp == nil {
		return ""
	}
	var found []string
	for _, c := range n.Status.Conditions {
		blocks := c.Type == corev1.NamespaceContentRemaining || c.Type == corev1.NamespaceFinalizersRemaining ||
			c.Type == corev1.NamespaceDeletionDiscoveryFailure || c.Type == corev1.NamespaceDeletionContentFailure || c.Type == corev1.NamespaceDeletionGVParsingFailure
		if blocks && c.Status == corev1.ConditionTrue {
			found = append(found, clause(c.Message))
		}
	}
	if len(found) == 0 {
		return ""
	}
	return fmt.Sprintf("The namespace %s does not go: %s.", n.Name, strings.Join(found, "; "))
}

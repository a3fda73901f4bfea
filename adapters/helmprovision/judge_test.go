package helmprovision

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubebyon/kubebyon/ports/provision"
)

// remembers is a memo with fixed contents.
type remembers struct {
	waited time.Duration
	said   string
	knows  bool
	why    string
	undone string
}

func (r remembers) since(string) time.Duration      { return r.waited }
func (r remembers) last(*corev1.Pod) (string, bool) { return r.said, r.knows }
func (r remembers) events(string) string            { return r.why }

func (r remembers) unfinished(*corev1.Namespace) string { return r.undone }

// running is a scene in which all is well.
func running(t testing.TB) scene {
	t.Helper()
	marks := map[string]string{noteHash: "h1", noteEndpoint: "203.0.113.10:30443", noteWant: "{}", noteTried: "now"}
	return scene{
		namespace:   &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "demo", UID: "ns", Annotations: marks}},
		statefulSet: &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "demo", Annotations: map[string]string{noteHash: "h1"}}},
		pods: []*corev1.Pod{{
			ObjectMeta: metav1.ObjectMeta{Name: "demo-0", UID: "pod", Annotations: map[string]string{noteHash: "h1"}},
			Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
		}},
		secret: secretWith(t, authority(t)),
	}
}

// opened is s with what its Secret holds.
func opened(s scene) scene {
	if s.secret != nil {
		s.key, s.unusable = parseKubeconfig(s.secret)
	}
	return s
}

func authority(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func secretWith(t testing.TB, ca []byte) *corev1.Secret {
	t.Helper()
	file := api.NewConfig()
	file.Clusters["c"] = &api.Cluster{Server: "https://localhost:8443", CertificateAuthorityData: ca}
	file.AuthInfos["u"] = &api.AuthInfo{Token: "hunter2"}
	file.Contexts["x"] = &api.Context{Cluster: "c", AuthInfo: "u"}
	file.CurrentContext = "x"
	text, err := clientcmd.Write(*file)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "vc-demo", UID: "secret"}, Data: map[string][]byte{"config": text}}
}

func container(s *scene, status corev1.ContainerStatus) {
	s.pods[0].Status = corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{status}}
}

func waitsFor(reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Image: "ghcr.io/x:1", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
}

func crashes(times int32, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{
		RestartCount: times, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 10s"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 7, Reason: "Error", Message: message}},
	}
}

// TestEachStateIsOneThatPeopleCanActOn changes one thing in a scene in which all
// is well.
func TestEachStateIsOneThatPeopleCanActOn(t *testing.T) {
	t.Parallel()
	long := remembers{waited: time.Hour}
	for name, step := range map[string]struct {
		change func(s *scene)
		memo   remembers
		phase  provision.Phase
		stage  provision.Stage
		says   string
	}{
		"all is well":  {func(*scene) {}, remembers{}, provision.Ready, provision.Done, ""},
		"no namespace": {func(s *scene) { *s = scene{} }, remembers{}, provision.Absent, "", ""},
		"a namespace on its way out": {func(s *scene) {
			s.namespace.DeletionTimestamp = &metav1.Time{}
			s.namespace.Status.Conditions = []corev1.NamespaceCondition{{Type: corev1.NamespaceFinalizersRemaining, Status: corev1.ConditionTrue, Message: "Some content in the namespace has finalizers remaining: example.com/keep in 1 resource instances"}}
		}, remembers{}, provision.Removing, provision.Deleting, "example.com/keep"},
		"condemned":          {func(s *scene) { s.namespace.Annotations[noteCondemned] = "now" }, remembers{}, provision.Removing, provision.Deleting, ""},
		"nothing installed":  {func(s *scene) { s.statefulSet = nil }, long, provision.Pending, provision.InstallingChart, ""},
		"an earlier want's":  {func(s *scene) { s.statefulSet.Annotations[noteHash] = "h0" }, long, provision.Pending, provision.InstallingChart, ""},
		"an earlier pod":     {func(s *scene) { s.pods[0].Annotations[noteHash] = "h0" }, long, provision.Pending, provision.StartingPlane, ""},
		"no balancer yet":    {func(s *scene) { s.namespace.Annotations[noteHash] = "" }, remembers{}, provision.Pending, provision.InstallingChart, ""},
		"no balancer at all": {func(s *scene) { s.namespace.Annotations[noteHash] = "" }, long, provision.Failed, "", "load balancer"},
		"a balancer, and no chart": {func(s *scene) {
			s.namespace.Annotations[noteHash] = ""
			s.service = &corev1.Service{Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "203.0.113.9"}}}}}
		}, remembers{undone: "The chart refuses."}, provision.Failed, "", "The chart refuses."},
		"no pod yet":                         {func(s *scene) { s.pods = nil }, remembers{}, provision.Pending, provision.StartingPlane, ""},
		"no pod, it asks why":                {func(s *scene) { s.pods = nil }, long, provision.Pending, provision.StartingPlane, ""},
		"no pod at all":                      {func(s *scene) { s.pods = nil }, remembers{waited: time.Hour, why: "exceeded quota: pods=0."}, provision.Failed, "", "exceeded quota: pods=0."},
		"a pod that ends":                    {func(s *scene) { s.pods[0].DeletionTimestamp = &metav1.Time{} }, remembers{}, provision.Pending, provision.StartingPlane, ""},
		"a pod that never ends":              {func(s *scene) { s.pods[0].DeletionTimestamp = &metav1.Time{} }, long, provision.Failed, "", "The pod demo-0 of the control plane does not end"},
		"a quota that keeps the new pod out": {func(s *scene) { s.pods[0].Annotations[noteHash] = "h0" }, remembers{waited: time.Hour, why: "exceeded quota: cpu=1."}, provision.Failed, "", "exceeded quota: cpu=1."},
		"not scheduled": {func(s *scene) {
			s.pods[0].Status = corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available."}}}
		}, remembers{}, provision.Pending, provision.StartingPlane, ""},
		"never scheduled": {func(s *scene) {
			s.pods[0].Status = corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available."}}}
		}, long, provision.Failed, "", "no place for the control plane: 0/3 nodes are available."},
		"an image that comes late":  {func(s *scene) { container(s, waitsFor("ErrImagePull", "not found")) }, remembers{}, provision.Pending, provision.StartingPlane, ""},
		"an image that never comes": {func(s *scene) { container(s, waitsFor("ImagePullBackOff", "not found")) }, long, provision.Failed, "", "ghcr.io/x:1 of the control plane cannot be pulled: not found."},
		"an image that cannot be":   {func(s *scene) { container(s, waitsFor("InvalidImageName", "")) }, remembers{}, provision.Failed, "", "cannot be had: InvalidImageName."},
		"a secret that is missing":  {func(s *scene) { container(s, waitsFor("CreateContainerConfigError", `secret "x" not found`)) }, long, provision.Failed, "", `secret "x" not found`},
		"ended once":                {func(s *scene) { container(s, crashes(1, "no leader")) }, long, provision.Pending, provision.StartingPlane, ""},
		"ended again and again":     {func(s *scene) { container(s, crashes(3, "first\nno leader\n")) }, remembers{}, provision.Failed, "", "with exit code 7: no leader."},
		"ended, its log unread":     {func(s *scene) { container(s, crashes(3, "")) }, remembers{}, provision.Pending, provision.StartingPlane, ""},
		"ended, as its log says":    {func(s *scene) { container(s, crashes(3, "")) }, remembers{said: "x\npanic: y", knows: true}, provision.Failed, "", "panic: y."},
		"ended without a word":      {func(s *scene) { container(s, crashes(3, "")) }, remembers{knows: true}, provision.Failed, "", "Error."},
		"without a licence": {func(s *scene) {
			container(s, crashes(3, "you are trying to use a vCluster pro feature 'Private Nodes' that is not available in the open source vcluster or disabled in your license"))
		}, remembers{}, provision.Failed, "", "for want of a licence"},
		"evicted": {func(s *scene) {
			s.pods[0].Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on resource: memory."}
		}, remembers{}, provision.Failed, "", "low on resource: memory."},
		"given up already": {func(s *scene) {
			container(s, crashes(9, "no leader"))
			s.namespace.Annotations[noteGivenUp] = "other,pod"
		}, long, provision.Pending, provision.StartingPlane, ""},
		"it runs": {func(s *scene) {
			container(s, corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
		}, long, provision.Pending, provision.WaitingControlPlane, ""},
		"no kubeconfig yet":   {func(s *scene) { s.secret = nil }, long, provision.Pending, provision.ExportingKubeconfig, ""},
		"an empty secret":     {func(s *scene) { s.secret.Data = nil }, remembers{}, provision.Failed, "", `has no key "config"`},
		"a secret of rubbish": {func(s *scene) { s.secret.Data["config"] = []byte("hunter2: [") }, remembers{}, provision.Failed, "", "vc-demo"},
		"a secret without CA": {func(s *scene) {
			s.secret.Data["config"] = []byte(strings.ReplaceAll(string(s.secret.Data["config"]), "certificate-authority-data", "x"))
		}, remembers{}, provision.Failed, "", "vc-demo"},
		"a secret that runs a program": {func(s *scene) {
			s.secret.Data["config"] = []byte(strings.ReplaceAll(string(s.secret.Data["config"]), "token: hunter2", "token: hunter2\n    exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, interactiveMode: Never}"))
		}, remembers{}, provision.Failed, "", "run a program"},
		"a secret that reads a file": {func(s *scene) {
			s.secret.Data["config"] = []byte(strings.ReplaceAll(string(s.secret.Data["config"]), "token: hunter2", "tokenFile: /etc/hostname"))
		}, remembers{}, provision.Failed, "", "read a file"},
		"another authority": {func(s *scene) { s.namespace.Annotations[noteExisted] = "another" }, remembers{}, provision.Failed, "", "what was in it is lost"},
		"the same authority": {func(s *scene) {
			s.namespace.Annotations[noteExisted] = fingerprint(opened(*s).key.ca)
		}, remembers{}, provision.Ready, provision.Done, ""},
	} {
		s := running(t)
		step.change(&s)
		got := bare(t).judge(opened(s), step.memo)
		if got.Phase != step.phase || got.Stage != step.stage || !strings.Contains(got.Reason, step.says) {
			t.Errorf("%s: got %+v, want %s %s %q", name, got.Observed, step.phase, step.stage, step.says)
		}
		if got.Waiting != "" && (got.Phase != provision.Pending || !strings.HasSuffix(got.Waiting, ".") || strings.HasSuffix(got.Waiting, "..") || strings.Contains(got.Waiting, "hunter2")) {
			t.Errorf("%s: what is waited for is no sentence, or tells a secret: %q", name, got.Waiting)
		}
		if got.Reason != "" && !strings.HasSuffix(got.Reason, ".") || strings.HasSuffix(got.Reason, "..") || strings.Contains(got.Reason, "hunter2") {
			t.Errorf("%s: the reason is no sentence, or tells a secret: %q", name, got.Reason)
		}
	}
}

// TestEachStateThatMayPassSaysWhatIsWaitedFor, in words that stay the same while
// time passes.
func TestEachStateThatMayPassSaysWhatIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]struct {
		change func(s *scene)
		memo   remembers
		says   string
		logs   bool
	}{
		"no balancer yet":   {func(s *scene) { s.namespace.Annotations[noteHash] = "" }, remembers{}, "no address yet.", false},
		"no pod yet":        {func(s *scene) { s.pods = nil }, remembers{}, "made no pod", false},
		"a pod that ends":   {func(s *scene) { s.pods[0].DeletionTimestamp = &metav1.Time{} }, remembers{}, "demo-0 of the control plane has not ended yet", false},
		"nothing begun yet": {func(s *scene) { s.pods[0].Status = corev1.PodStatus{} }, remembers{}, "not started the pod demo-0", false},
		"not scheduled": {func(s *scene) {
			s.pods[0].Status = corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available."}}}
		}, remembers{}, "no place for the control plane: 0/3 nodes are available.", false},
		"an image that comes late":  {func(s *scene) { container(s, waitsFor("ErrImagePull", "not found")) }, remembers{}, "ghcr.io/x:1 of the control plane cannot be pulled: not found.", false},
		"a secret that comes late":  {func(s *scene) { container(s, waitsFor("CreateContainerConfigError", `secret "x" not found`)) }, remembers{}, `secret "x" not found`, false},
		"ended once":                {func(s *scene) { container(s, crashes(1, "first\nno leader")) }, remembers{}, "with exit code 7, and is started again: no leader.", false},
		"ended, its log unread":     {func(s *scene) { container(s, crashes(1, "")) }, remembers{}, "is started again: Error.", true},
		"ended, its last log known": {func(s *scene) { container(s, crashes(2, "")) }, remembers{said: "x\npanic: y", knows: true}, "panic: y.", false},
		"ended, an earlier one's":   {func(s *scene) { container(s, crashes(3, "")) }, remembers{said: "x\npanic: y"}, "panic: y.", true},
		"it runs again": {func(s *scene) {
			again := crashes(1, "no leader")
			again.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
			container(s, again)
		}, remembers{}, "no leader.", false},
		"it runs": {func(s *scene) {
			container(s, corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
		}, remembers{}, "demo-0 of the control plane runs, and is not ready yet.", false},
		"no kubeconfig yet": {func(s *scene) { s.secret = nil }, remembers{}, "the Secret vc-demo,", false},
		"none anew":         {func(s *scene) { s.namespace.Annotations[noteGivenUp] = "secret" }, remembers{}, "The Secret vc-demo ", false},
	} {
		s := running(t)
		step.change(&s)
		got := bare(t).judge(opened(s), step.memo)
		if got.Phase != provision.Pending || !strings.Contains(got.Waiting, step.says) || (got.Logs != nil) != step.logs {
			t.Errorf("%s: got %+v, want it to wait for %q, and logs %v", name, got.Observed, step.says, step.logs)
		}
		step.memo.waited = time.Second
		if later := bare(t).judge(opened(s), step.memo); later.Observed != got.Observed {
			t.Errorf("%s: after a second it is %+v, and was %+v", name, later.Observed, got.Observed)
		}
	}
}

// TestALicenceIsMissedAtTheFirstEnd: another attempt will not bring one.
func TestALicenceIsMissedAtTheFirstEnd(t *testing.T) {
	t.Parallel()
	s := running(t)
	container(&s, crashes(1, ""))
	if got := bare(t).judge(opened(s), remembers{said: "this is a vCluster pro feature", knows: true}); got.Phase != provision.Failed {
		t.Errorf("got %+v", got.Observed)
	}
}

func TestAnotherProcessBehindAControlPlaneIsAnotherIncarnation(t *testing.T) {
	t.Parallel()
	s := running(t)
	first := bare(t).judge(opened(s), remembers{}).Incarnation
	s.pods[0].Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 1}}
	second := bare(t).judge(opened(s), remembers{}).Incarnation
	s.pods[0].UID = types.UID("other")
	if third := bare(t).judge(opened(s), remembers{}).Incarnation; first == second || second == third || first == "" {
		t.Errorf("incarnations are %s, %s, %s", first, second, third)
	}
}

func TestALicenceIsAskedForByItsSecretsName(t *testing.T) {
	t.Parallel()
	c := bare(t)
	c.LicenceSecret = "platform/licence"
	s := running(t)
	container(&s, crashes(3, "this is a vCluster pro feature that is disabled in your license"))
	if got := c.judge(opened(s), remembers{}); !strings.Contains(got.Reason, "platform/licence") || len(got.Culprits) != 1 {
		t.Errorf("got %+v", got)
	}
}

// TestAPublishedEndpointLearnsNothing: users choose it.
func TestAPublishedEndpointLearnsNothing(t *testing.T) {
	t.Parallel()
	var asked []*http.Request
	code := http.StatusOK
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r)
		w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
		w.WriteHeader(code)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	c := bare(t)
	for status, want := range map[int]bool{200: true, 401: true, 403: true, 302: false, 500: false, 404: false} {
		if code = status; (c.answers(t.Context(), s.URL, ca) == nil) != want {
			t.Errorf("an answer of %d counts as %v", status, !want)
		}
	}
	before := len(asked)
	if c.answers(t.Context(), s.URL, authority(t)) == nil || len(asked) != before {
		t.Error("a server of another authority was asked")
	}
	if c.answers(t.Context(), strings.Replace(s.URL, "https", "http", 1), ca) == nil {
		t.Error("it spoke without TLS")
	}
	for _, r := range asked {
		if r.Method != http.MethodGet || r.URL.Path != "/readyz" || r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" || len(r.TLS.PeerCertificates) > 0 || r.TLS.Version < tls.VersionTLS12 {
			t.Errorf("it was asked %s %s with %v", r.Method, r.URL, r.Header)
		}
	}
}

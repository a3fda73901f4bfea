package helmprovision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubebyon/kubebyon/ports/provision"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// TestOnlyWhatPassesByItselfIsAway: an attempt that fails for anything else counts.
func TestOnlyWhatPassesByItselfIsAway(t *testing.T) {
	t.Parallel()
	post := func(err error) error { return &url.Error{Op: "Post", URL: "https://host.example", Err: err} }
	dial := post(&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connect: connection refused")})
	hooked := apierrors.NewInternalError(errors.New(`failed calling webhook "check.example.com": failed to call webhook: Post "https://x.svc": dial tcp: connection refused`))
	for name, step := range map[string]struct {
		err  error
		away bool
		code string
	}{
		"refused":         {dial, true, "host_unreachable"},
		"by Helm":         {fmt.Errorf("Kubernetes cluster unreachable: %w", dial), true, "host_unreachable"},
		"too slow":        {post(context.DeadlineExceeded), true, "host_unreachable"},
		"hung up":         {post(io.EOF), true, "host_unreachable"},
		"hung up midway":  {post(io.ErrUnexpectedEOF), true, "host_unreachable"},
		"429":             {apierrors.NewTooManyRequests("later", 1), true, "host_unreachable"},
		"503":             {apierrors.NewServiceUnavailable("later"), true, "host_unreachable"},
		"a timeout there": {apierrors.NewServerTimeout(schema.GroupResource{Resource: "pods"}, "create", 1), true, "host_unreachable"},
		"500":             {apierrors.NewInternalError(errors.New("hunter2")), false, "host_failed"},
		"a webhook":       {hooked, false, "host_webhook_failed"},
		"text of Helm's":  {errors.New("Kubernetes cluster unreachable"), false, "host_failed"},
		"no credentials":  {post(errors.New("getting credentials: exec: hunter2")), false, "host_failed"},
		"their alert":     {post(&net.OpError{Op: "remote error", Err: errors.New("tls: expired certificate")}), false, "host_untrusted"},
	} {
		err := told(step.err, "make a pod")
		f, ok := errors.AsType[*fault.Error](err)
		if !ok || f.Code != step.code || errors.Is(err, provision.ErrAway) != step.away {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.Contains(f.Msg, "hunter2") || !strings.HasSuffix(f.Msg, ".") {
			t.Errorf("%s: it says %q", name, f.Msg)
		}
	}
	if err := told(hooked, "make a pod"); !strings.Contains(err.Error(), "webhook check.example.com of the host") {
		t.Error(err)
	}
}

// TestAHostThatIsNotTrustedIsNotAway: neither for a call, nor while it is watched.
func TestAHostThatIsNotTrustedIsNotAway(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	https := &http.Client{Transport: new(http.Transport)}
	defer https.CloseIdleConnections()
	client, err := kubernetes.NewForConfigAndClient(&rest.Config{Host: s.URL}, https)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.CoreV1().Pods("demo").Create(t.Context(), &corev1.Pod{}, metav1.CreateOptions{})
	refused(t, told(err, "make a pod"), fault.Unavailable, "host_untrusted", "certificate signed by unknown authority")
	h := &host{client: client, watching: client}
	w := newWindow(h, "", nil, time.Now)
	w.heard(h.answers(t.Context()))
	err = w.clear()
	refused(t, err, fault.Unavailable, "host_untrusted", "sign of life")
	if errors.Is(err, provision.ErrAway) {
		t.Error("it is away")
	}
}

// TestAWatchStopsWithoutItsHost at once, however long nobody has answered.
func TestAWatchStopsWithoutItsHost(t *testing.T) {
	t.Parallel()
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("{clusters: [{name: a, cluster: {server: %q}}], contexts: [{name: a, context: {cluster: a}}], current-context: a}", away.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := openHost(path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	w := newWindow(h, "", nil, time.Now)
	if err := w.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second) // pauses grow: the next is 1.6 s at least
	began := time.Now()
	w.close()
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("it took %v", took)
	}
}

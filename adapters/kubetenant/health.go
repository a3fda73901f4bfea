package kubetenant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"

	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Probe asks whether the API server is ready, and for its version.
func (t *cluster) Probe(ctx context.Context) (v string, err error) {
	err = t.call(ctx, "ask for readiness", func(ctx context.Context) error {
		// A probe asks again by itself; waiting here would only hide the answer.
		err := t.core.RESTClient().Get().AbsPath("/readyz").MaxRetries(0).Do(ctx).Error()
		if checks := failedChecks(bodyOf(err)); checks != "" {
			return unreachable("The cluster's API server is not ready: "+checks+".", "ask for readiness", err)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return t.version(ctx)
}

// Contents asks for one object of each kind, and how many more there are.
func (t *cluster) Contents(ctx context.Context) (out tenant.Contents, err error) {
	one := metav1.ListOptions{Limit: 1}
	err = t.call(ctx, "count what is in the cluster", func(ctx context.Context) error {
		nodes, err := t.core.Nodes().List(ctx, one)
		if err != nil {
			return err
		}
		namespaces, err := t.core.Namespaces().List(ctx, one)
		if err != nil {
			return err
		}
		pods, err := t.core.Pods(metav1.NamespaceAll).List(ctx, one)
		if err != nil {
			return err
		}
		out = tenant.Contents{
			Nodes:      counted(len(nodes.Items), nodes.RemainingItemCount),
			Namespaces: counted(len(namespaces.Items), namespaces.RemainingItemCount),
			Pods:       counted(len(pods.Items), pods.RemainingItemCount),
		}
		return nil
	})
	return out, err
}

func counted(here int, remaining *int64) int {
	if remaining == nil {
		return here
	}
	return here + int(max(*remaining, 0))
}

// bodyOf returns what an answer said that was no Kubernetes Status.
func bodyOf(err error) string {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || status.ErrStatus.Details == nil {
		return ""
	}
	for _, c := range status.ErrStatus.Details.Causes {
		if c.Type == metav1.CauseTypeUnexpectedServerResponse {
			return c.Message
		}
	}
	return ""
}

// failedChecks picks the names out of lines like "[-]etcd failed: reason withheld".
func failedChecks(body string) string {
	var names []string
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, "[-]"); ok {
			name, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			names = append(names, clip(name))
		}
	}
	return listed(names)
}

// version is what the API server says it is, also where it emulates an older
// one.
func (t *cluster) version(ctx context.Context) (string, error) {
	var info version.Info
	err := t.call(ctx, "ask for the version", func(ctx context.Context) error {
		body, err := t.core.RESTClient().Get().AbsPath("/version").SetHeader("Accept", "application/json").Do(ctx).Raw()
		if err != nil {
			return err
		}
		if err := json.Unmarshal(body, &info); err != nil {
			return unreachable("What answers at the cluster's address is not a Kubernetes API server.", "ask for the version", err)
		}
		if !strings.HasPrefix(info.GitVersion, "v") {
			return unreachable("The cluster's API server does not tell its version.", "ask for the version", errNoVersion)
		}
		return nil
	})
	return info.GitVersion, err
}

var errNoVersion = errors.New("no gitVersion in /version")

const mostListed = 10

// listed names a few things, and says how many more there are.
func listed(names []string) string {
	if more := len(names) - mostListed; more > 0 {
		return strings.Join(names[:mostListed], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}

package helmprovision

import (
	"context"
	"fmt"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// rights are those without which no cluster comes or goes, or none is seen, on
// the whole host.
func (c Config) rights() []authorizationv1.ResourceAttributes {
	var out []authorizationv1.ResourceAttributes
	add := func(group, resource string, verbs ...string) {
		for _, verb := range verbs {
			out = append(out, authorizationv1.ResourceAttributes{Group: group, Resource: resource, Verb: verb})
		}
	}
	if c.LookOnly {
		for _, resource := range []string{"namespaces", "secrets", "services", "pods"} {
			add("", resource, "list", "watch")
		}
		add("apps", "statefulsets", "list", "watch")
		add("apps", "deployments", "list", "watch")
		return out
	}
	add("", "namespaces", "get", "list", "watch", "create", "patch", "delete")
	add("", "secrets", "list", "watch", "create", "update", "delete")
	add("", "services", "list", "watch", "create", "patch", "delete")
	add("", "serviceaccounts", "create", "patch", "delete")
	add("", "pods", "list", "watch", "delete")
	add("", "persistentvolumeclaims", "list", "delete")
	add("apps", "statefulsets", "list", "watch", "create", "patch", "delete")
	add("apps", "deployments", "list", "watch", "create", "patch", "delete")
	add("rbac.authorization.k8s.io", "roles", "create", "patch", "delete")
	add("rbac.authorization.k8s.io", "rolebindings", "create", "patch", "delete")
	add("coordination.k8s.io", "leases", "get", "create", "update", "delete")
	return out
}

// Ping says whether clusters can be provisioned, and if not, what an operator has
// to mend: the host, a right, the chart, the file of values. Of a process that
// only looks it says whether that sees anything.
func (p *Provisioner) Ping(ctx context.Context) error {
	if err := p.alive(); err != nil {
		return err
	}
	if err := p.window.await(ctx, patience); err != nil {
		return err
	}
	if err := p.checkRights(ctx); err != nil || p.config.LookOnly {
		return err
	}
	if _, err := readValues(p.config.ValuesFile); err != nil {
		return err
	}
	_, err := p.shelf.locate(ctx)
	if err == nil && p.shelf.isPath() && !p.recall.fresh("chart", rightsFor) {
		if _, err = p.shelf.take(ctx); err == nil {
			p.recall.keep("chart", "")
		}
	}
	return err
}

// rightsFor is how long rights are taken to be there, once they were.
const rightsFor = time.Minute

// checkRights asks the host which rights are missing.
func (p *Provisioner) checkRights(ctx context.Context) error {
	if p.recall.fresh("rights", rightsFor) {
		return nil
	}
	var missing []string
	for _, r := range p.config.rights() {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &r}}
		answer, err := p.host.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return told(err, "ask for its rights")
		}
		if !answer.Status.Allowed {
			missing = append(missing, right(r.Verb, r.Resource, r.Group))
		}
	}
	if len(missing) > 0 {
		return fault.Unavailable.New("host_forbidden", "%s", fmt.Sprintf("On the host cluster KubeBYON lacks the right to %s. Give its account this.", clause(strings.Join(missing, ", "))))
	}
	p.recall.keep("rights", "")
	return nil
}

package joinobjects

import (
	"context"
	"fmt"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// permission is something a joining machine must be allowed to do.
type permission struct {
	user, group string
	what        authorizationv1.ResourceAttributes
}

func permissions() []permission {
	const (
		joiner = "system:bootstrap:000000"
		node   = "system:node:any"
	)
	return []permission{
		{anonymous.Name, "system:unauthenticated", configMapNamed(metav1.NamespacePublic, "cluster-info")},
		{joiner, joiners, configMapNamed(metav1.NamespaceSystem, "kubeadm-config")},
		{joiner, joiners, configMapNamed(metav1.NamespaceSystem, "kubelet-config")},
		{joiner, joiners, authorizationv1.ResourceAttributes{Verb: "get", Resource: "nodes", Name: "any"}},
		{joiner, joiners, signingRequests("")},
		{joiner, joiners, signingRequests("nodeclient")},
		{node, nodes, signingRequests("selfnodeclient")},
	}
}

func configMapNamed(namespace, name string) authorizationv1.ResourceAttributes {
	return authorizationv1.ResourceAttributes{Verb: "get", Resource: "configmaps", Namespace: namespace, Name: name}
}

func signingRequests(kind string) authorizationv1.ResourceAttributes {
	return authorizationv1.ResourceAttributes{Verb: "create", Group: "certificates.k8s.io", Resource: "certificatesigningrequests", Subresource: kind}
}

// awaitEffective waits until the API server goes by the rules that were written: it reads them
// through caches, and for a moment refuses what they allow.
func awaitEffective(ctx context.Context, client kubernetes.Interface) error {
	for _, p := range permissions() {
		for {
			allowed, err := p.granted(ctx, client)
			if err != nil {
				return err
			}
			if allowed {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s may not %s %s: %w", p.user, p.what.Verb, p.what.Resource, ctx.Err())
			case <-time.After(pause):
			}
		}
	}
	return nil
}

func (p permission) granted(ctx context.Context, client kubernetes.Interface) (bool, error) {
	answer, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: p.user, Groups: []string{p.group}, ResourceAttributes: &p.what},
	}, metav1.CreateOptions{})
	if passing(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask what %s may do: %w", p.user, err)
	}
	return answer.Status.Allowed, nil
}

package kubetenant

import (
	"context"
	"errors"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applyrbac "k8s.io/client-go/applyconfigurations/rbac/v1"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// joinGroup is what the platform's bootstrap tokens, and no others, belong to.
//
// It is deliberately not bound to the cluster role ….nodeclient, which would
// have the controller manager approve every request of the group: the platform
// approves one machine a token, through DecideJoin.
const joinGroup = "system:bootstrappers:kubebyon:join"

const systemNamespace = "kube-system"

// PrepareJoin grants the group of join tokens what kubeadm join does before it
// has a certificate, and nodes the renewal of theirs.
func (t *cluster) PrepareJoin(ctx context.Context) error {
	for _, grant := range []func(context.Context) error{
		t.applyClusterBinding("kubebyon:node-bootstrapper", "system:node-bootstrapper"),
		t.applyClusterRole("kubebyon:get-nodes", applyrbac.PolicyRule().WithAPIGroups("").WithResources("nodes").WithVerbs("get")),
		t.applyClusterBinding("kubebyon:get-nodes", "kubebyon:get-nodes"),
		t.applyRole("kubebyon:join", applyrbac.PolicyRule().WithAPIGroups("").WithResources("configmaps").WithVerbs("get").
			WithResourceNames("kubeadm-config", "kubelet-config", "kube-proxy")),
		t.applyBinding("kubebyon:join", "kubebyon:join"),
		t.letNodesRenew,
	} {
		if err := t.call(ctx, "prepare the cluster for joins", grant); err != nil {
			if apierrors.IsNotFound(err) && !errors.Is(err, fault.Unavailable) { // not even kube-system is there
				return fault.Unavailable.New("cluster_not_ready", "The cluster is still starting.").Because(err)
			}
			return err
		}
	}
	return nil
}

func applyOptions() metav1.ApplyOptions {
	return metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
}

func joiners() *applyrbac.SubjectApplyConfiguration {
	return applyrbac.Subject().WithAPIGroup(rbacv1.GroupName).WithKind(rbacv1.GroupKind).WithName(joinGroup)
}

func (t *cluster) applyClusterRole(name string, rules ...*applyrbac.PolicyRuleApplyConfiguration) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := t.rbac.ClusterRoles().Apply(ctx, applyrbac.ClusterRole(name).WithRules(rules...), applyOptions())
		return err
	}
}

func (t *cluster) applyClusterBinding(name, role string) func(context.Context) error {
	return func(ctx context.Context) error {
		to := applyrbac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(role)
		_, err := t.rbac.ClusterRoleBindings().Apply(ctx, applyrbac.ClusterRoleBinding(name).WithRoleRef(to).WithSubjects(joiners()), applyOptions())
		return err
	}
}

func (t *cluster) applyRole(name string, rules ...*applyrbac.PolicyRuleApplyConfiguration) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := t.rbac.Roles(systemNamespace).Apply(ctx, applyrbac.Role(name, systemNamespace).WithRules(rules...), applyOptions())
		return err
	}
}

func (t *cluster) applyBinding(name, role string) func(context.Context) error {
	return func(ctx context.Context) error {
		to := applyrbac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("Role").WithName(role)
		_, err := t.rbac.RoleBindings(systemNamespace).Apply(ctx, applyrbac.RoleBinding(name, systemNamespace).WithRoleRef(to).WithSubjects(joiners()), applyOptions())
		return err
	}
}

// letNodesRenew makes the binding that kubeadm makes, under its name. One that
// is there is left as it is: it is the cluster's, and may say more. Without
// one, nodes work until their first certificate ends, a year later.
func (t *cluster) letNodesRenew(ctx context.Context) error {
	_, err := t.rbac.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "kubeadm:node-autoapprove-certificate-rotation"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: nodesGroup}},
	}, metav1.CreateOptions{FieldManager: fieldManager})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

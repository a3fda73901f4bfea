package plane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	rbacclient "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/component-helpers/auth/rbac/reconciliation"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

const (
	firstObjectsPatience = 30 * time.Second
	firstObjectsPause    = 100 * time.Millisecond
	firstObjectsParallel = 8
)

// writeFirstObjectsAtOnce replaces the two start-up hooks of kube-apiserver that write the
// default RBAC rules and priority classes. They begin with a second of sleep and then go one by
// one; a tenant's start would wait for them longer than for anything else. The rules are the
// same, reconciled by the same code.
func writeFirstObjectsAtOnce(config *app.Config) error {
	generic := config.KubeAPIs.ControlPlane.Generic
	generic.DisabledPostStartHooks.Insert(rbacrest.PostStartHookName, schedulingrest.PostStartHookName)
	return generic.AddPostStartHook("kubebyon/first-objects", func(hook server.PostStartHookContext) error {
		client, err := kubernetes.NewForConfig(hook.LoopbackClientConfig)
		if err != nil {
			return fmt.Errorf("make a client: %w", err)
		}
		ctx, cancel := context.WithTimeout(hook, firstObjectsPatience)
		defer cancel()
		var last error
		err = every(ctx, firstObjectsPause, func() bool {
			if last = writeFirstObjects(ctx, client); last != nil {
				klog.V(1).InfoS("Write the first objects again", "err", last)
			}
			return last == nil
		})
		if hook.Err() != nil {
			return nil // stopped before it was up
		}
		return errors.Join(err, last)
	})
}

func writeFirstObjects(ctx context.Context, client kubernetes.Interface) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(firstObjectsParallel)
	for _, write := range slices.Concat(clusterRules(client.RbacV1()), namespaceRules(client), priorityClasses(client)) {
		group.Go(func() error {
			err := write(ctx)
			if apierrors.IsAlreadyExists(err) {
				return nil
			}
			return err
		})
	}
	return group.Wait()
}

// write brings one object to what it should be.
type write func(context.Context) error

func clusterRules(client rbacclient.RbacV1Interface) (writes []write) {
	for _, role := range append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...) {
		writes = append(writes, writeRole(
			reconciliation.ClusterRoleRuleOwner{ClusterRole: &role},
			reconciliation.ClusterRoleModifier{Client: client.ClusterRoles()}))
	}
	for _, binding := range append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...) {
		writes = append(writes, writeBinding(
			reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: &binding},
			reconciliation.ClusterRoleBindingClientAdapter{Client: client.ClusterRoleBindings()}))
	}
	return writes
}

func namespaceRules(client kubernetes.Interface) (writes []write) {
	for _, roles := range bootstrappolicy.NamespaceRoles() {
		for _, role := range roles {
			writes = append(writes, writeRole(
				reconciliation.RoleRuleOwner{Role: &role},
				reconciliation.RoleModifier{Client: client.RbacV1(), NamespaceClient: client.CoreV1().Namespaces()}))
		}
	}
	for _, bindings := range bootstrappolicy.NamespaceRoleBindings() {
		for _, binding := range bindings {
			writes = append(writes, writeBinding(
				reconciliation.RoleBindingAdapter{RoleBinding: &binding},
				reconciliation.RoleBindingClientAdapter{Client: client.RbacV1(), NamespaceClient: client.CoreV1().Namespaces()}))
		}
	}
	return writes
}

func writeRole(role reconciliation.RuleOwner, client reconciliation.RuleOwnerModifier) write {
	return func(context.Context) error {
		options := reconciliation.ReconcileRoleOptions{Role: role, Client: client, Confirm: true}
		_, err := options.Run()
		return err
	}
}

func writeBinding(binding reconciliation.RoleBinding, client reconciliation.RoleBindingModifier) write {
	return func(context.Context) error {
		options := reconciliation.ReconcileRoleBindingOptions{RoleBinding: binding, Client: client, Confirm: true}
		_, err := options.Run()
		return err
	}
}

func priorityClasses(client kubernetes.Interface) (writes []write) {
	for _, class := range schedulingv1.SystemPriorityClasses() {
		writes = append(writes, func(ctx context.Context) error {
			classes := client.SchedulingV1().PriorityClasses()
			if _, err := classes.Get(ctx, class.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return err
			}
			_, err := classes.Create(ctx, class, metav1.CreateOptions{})
			return err
		})
	}
	return writes
}

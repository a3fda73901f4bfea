package helmprovision

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// account returns a kubeconfig of an account of the host's that has these rights.
func account(t *testing.T, b *hostBox, rules []rbacv1.PolicyRule) (file string, client kubernetes.Interface, role string) {
	t.Helper()
	client, ctx := b.client(t), t.Context()
	name := "account-" + strings.ToLower(newID().String()[3:])
	_, err := client.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: name},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: "default"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token, err := client.CoreV1().ServiceAccounts("default").CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(b.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range config.AuthInfos {
		u.ClientCertificateData, u.ClientKeyData, u.Token = nil, nil, token.Status.Token
	}
	file = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file, client, name
}

func TestTheMissingRightIsNamed(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	every := []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"pods", "services", "secrets", "statefulsets", "deployments"}, Verbs: []string{"*"}}}
	c := b.config(t)
	var client kubernetes.Interface
	var role string
	c.KubeconfigPath, client, role = account(t, b, every)
	p := start(t, c)
	refused(t, eventually(t, func() error { return p.Ping(t.Context()) }, "host_forbidden"), fault.Unavailable, "host_forbidden", "namespaces at the cluster scope")
	_, err := p.Observe(t.Context(), newID())
	refused(t, err, fault.Unavailable, "host_forbidden", "lacks the right to")
	// Looking is allowed now, and nothing else.
	rules := append(every, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get", "list", "watch"}})
	patch, err := json.Marshal(map[string]any{"rules": rules})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.RbacV1().ClusterRoles().Patch(t.Context(), role, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	stop(t, p)
	p = start(t, c)
	if err := p.window.await(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	refused(t, p.Ping(t.Context()), fault.Unavailable, "host_forbidden", "create namespaces")
	refused(t, p.Apply(t.Context(), wanted(t, p)), fault.Unavailable, "host_forbidden", "lacks the right to create namespaces at the cluster scope")
}

// TestRightsThatCannotBeGrantedAreNamed: an operator's values may make the chart's
// Role hold what the account does not.
func TestRightsThatCannotBeGrantedAreNamed(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	file, _, _ := account(t, b, []rbacv1.PolicyRule{
		look("rbac.authorization.k8s.io", "roles", "create"), look("", "pods", "get"),
	})
	h, err := openHost(file, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	for says, rules := range map[string][]rbacv1.PolicyRule{
		"hold: get, list storageclasses.storage.k8s.io. Give its account these rights; rbac.extraRules": {look("", "pods", "get"), look("storage.k8s.io", "storageclasses", "get list")},
		"get pods/log; get statefulsets.apps. Give":                                                     {look("", "pods/log", "get"), look("apps", "statefulsets", "get")},
	} {
		_, err = h.client.RbacV1().Roles("default").Create(t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Rules: rules}, metav1.CreateOptions{})
		refused(t, told(err, "install the chart"), fault.Unavailable, "host_forbidden", says)
		refused(t, told(errors.New(fmt.Sprint(err)), "install the chart"), fault.Unavailable, "host_forbidden", says) // Helm passes on the text
	}
}

package joinobjects

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// object is one of the set, with where it is written.
type object struct {
	resource  schema.GroupVersionResource
	namespace string // empty for the whole cluster
	name      string
	content   any
}

var (
	anonymous     = rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "system:anonymous"}
	joinersGroup  = rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: joiners}
	nodesSubject  = rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: nodes}
	readConfigMap = []string{"get"}
)

// all lists the set.
func all(s Settings) ([]object, error) {
	info, err := clusterInfo(s)
	if err != nil {
		return nil, err
	}
	cluster, err := clusterConfig(s)
	if err != nil {
		return nil, err
	}
	kubelet, err := kubeletConfig(s)
	if err != nil {
		return nil, err
	}
	const approve = "system:certificates.k8s.io:certificatesigningrequests:"
	objects := []object{
		configMap(metav1.NamespacePublic, "cluster-info", "kubeconfig", info),
		configMap(metav1.NamespaceSystem, "kubeadm-config", "ClusterConfiguration", cluster),
		configMap(metav1.NamespaceSystem, "kubelet-config", "kubelet", kubelet),

		getNodesRole(),
		clusterBinding("kubeadm:get-nodes", "kubeadm:get-nodes", joinersGroup),
		clusterBinding("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", joinersGroup),
		clusterBinding("kubeadm:node-autoapprove-bootstrap", approve+"nodeclient", joinersGroup),
		// Without it a node joins, and dies with its first certificate.
		clusterBinding("kubeadm:node-autoapprove-certificate-rotation", approve+"selfnodeclient", nodesSubject),
	}
	objects = append(objects, readable(metav1.NamespacePublic, "kubeadm:bootstrap-signer-clusterinfo", "cluster-info", anonymous)...)
	objects = append(objects, readable(metav1.NamespaceSystem, "kubeadm:nodes-kubeadm-config", "kubeadm-config", joinersGroup, nodesSubject)...)
	return append(objects, readable(metav1.NamespaceSystem, "kubeadm:kubelet-config", "kubelet-config", joinersGroup, nodesSubject)...), nil
}

func configMap(namespace, name, key, value string) object {
	return object{corev1.SchemeGroupVersion.WithResource("configmaps"), namespace, name, &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Data:       map[string]string{key: value},
	}}
}

// readable lets subjects read one ConfigMap: a Role and its binding of the same name.
func readable(namespace, name, configMap string, subjects ...rbacv1.Subject) []object {
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
	role := &rbacv1.Role{
		TypeMeta: rbacType("Role"), ObjectMeta: meta,
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{configMap}, Verbs: readConfigMap}},
	}
	binding := &rbacv1.RoleBinding{
		TypeMeta: rbacType("RoleBinding"), ObjectMeta: meta, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
	}
	return []object{
		{rbacv1.SchemeGroupVersion.WithResource("roles"), namespace, name, role},
		{rbacv1.SchemeGroupVersion.WithResource("rolebindings"), namespace, name, binding},
	}
}

// getNodesRole lets a joining machine see whether its name is taken.
func getNodesRole() object {
	const name = "kubeadm:get-nodes"
	return object{rbacv1.SchemeGroupVersion.WithResource("clusterroles"), "", name, &rbacv1.ClusterRole{
		TypeMeta: rbacType("ClusterRole"), ObjectMeta: metav1.ObjectMeta{Name: name},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get"}}},
	}}
}

func clusterBinding(name, role string, subject rbacv1.Subject) object {
	return object{rbacv1.SchemeGroupVersion.WithResource("clusterrolebindings"), "", name, &rbacv1.ClusterRoleBinding{
		TypeMeta: rbacType("ClusterRoleBinding"), ObjectMeta: metav1.ObjectMeta{Name: name},
		Subjects: []rbacv1.Subject{subject},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}}
}

func rbacType(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: kind}
}

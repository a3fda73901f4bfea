package workloads

import (
	"slices"
	"strings"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Kind is one of the kinds of objects that people work with.
type Kind struct {
	tenant.Kind
	Name string // "deployment"; of the audit stream and of messages
}

// kinds are all of them, by the name of their resource.
var kinds = map[string]Kind{ //nolint:gochecknoglobals // a constant table
	"deployments":               {in("apps", "v1", "deployments"), "deployment"},
	"statefulsets":              {in("apps", "v1", "statefulsets"), "statefulset"},
	"daemonsets":                {in("apps", "v1", "daemonsets"), "daemonset"},
	"replicasets":               {in("apps", "v1", "replicasets"), "replicaset"},
	"jobs":                      {in("batch", "v1", "jobs"), "job"},
	"cronjobs":                  {in("batch", "v1", "cronjobs"), "cronjob"},
	"pods":                      {in("", "v1", "pods"), "pod"},
	"services":                  {in("", "v1", "services"), "service"},
	"endpoints":                 {in("", "v1", "endpoints"), "endpoints"},
	"configmaps":                {in("", "v1", "configmaps"), "configmap"},
	"secrets":                   {in("", "v1", "secrets"), "secret"},
	"serviceaccounts":           {in("", "v1", "serviceaccounts"), "serviceaccount"},
	"events":                    {in("", "v1", "events"), "event"},
	"persistentvolumeclaims":    {in("", "v1", "persistentvolumeclaims"), "persistentvolumeclaim"},
	"ingresses":                 {in("networking.k8s.io", "v1", "ingresses"), "ingress"},
	"networkpolicies":           {in("networking.k8s.io", "v1", "networkpolicies"), "networkpolicy"},
	"horizontalpodautoscalers":  {in("autoscaling", "v2", "horizontalpodautoscalers"), "horizontalpodautoscaler"},
	"roles":                     {in("rbac.authorization.k8s.io", "v1", "roles"), "role"},
	"rolebindings":              {in("rbac.authorization.k8s.io", "v1", "rolebindings"), "rolebinding"},
	"clusterroles":              {of("rbac.authorization.k8s.io", "clusterroles"), "clusterrole"},
	"clusterrolebindings":       {of("rbac.authorization.k8s.io", "clusterrolebindings"), "clusterrolebinding"},
	"namespaces":                {of("", "namespaces"), "namespace"},
	"nodes":                     {of("", "nodes"), "node"},
	"persistentvolumes":         {of("", "persistentvolumes"), "persistentvolume"},
	"storageclasses":            {of("storage.k8s.io", "storageclasses"), "storageclass"},
	"customresourcedefinitions": {of("apiextensions.k8s.io", "customresourcedefinitions"), "customresourcedefinition"},
}

// in is a kind whose objects are in namespaces, of one whose objects are the
// cluster's.
func in(group, version, resource string) tenant.Kind {
	return tenant.Kind{Group: group, Version: version, Resource: resource, Namespaced: true}
}

func of(group, resource string) tenant.Kind {
	return tenant.Kind{Group: group, Version: "v1", Resource: resource}
}

// KindOf returns the kind of a resource, "deployments", or fault.NotFound, code
// kind_not_found.
func KindOf(resource string) (Kind, error) {
	k, ok := kinds[resource]
	if !ok {
		return Kind{}, fault.NotFound.New("kind_not_found", "There is no such kind of object here.")
	}
	return k, nil
}

// known is KindOf for those that this package names itself.
func known(resource string) Kind { return kinds[resource] }

// scales and restarts tell what can be done to a kind.
func (k Kind) scales() bool {
	return slices.Contains([]string{"deployments", "statefulsets"}, k.Resource)
}

func (k Kind) restarts() bool { return k.scales() || k.Resource == "daemonsets" }

// Protected reports whether a namespace is the cluster's own, which nobody
// deletes.
func Protected(namespace string) bool {
	return namespace == "default" || strings.HasPrefix(namespace, "kube-")
}

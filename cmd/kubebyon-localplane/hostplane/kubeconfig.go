package hostplane

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/tenants"
)

// dealKubeconfig writes the Secret vc-NAME of a tenant that is ready.
func (b *box) dealKubeconfig(ctx context.Context, t thing) error {
	name := tenants.Name{Namespace: t.namespace, Release: t.name}
	if b.tenants.State(name).Phase != tenants.Ready {
		return nil
	}
	pod, l := b.newestPod(name)
	if pod == nil {
		return nil
	}
	how := b.behaviour(pod)
	if how.word == noSecret {
		return nil
	}
	service, err := b.services.Services(t.namespace).Get(t.name)
	if apierrors.IsNotFound(err) {
		service = nil
	} else if err != nil {
		return err
	}
	data, err := b.kubeconfigOf(name, l)
	if err != nil {
		return err
	}
	if how.word == badSecret {
		data["config"] = []byte("apiVersion: v1\nkind: Config\nclusters: [{name: cut off")
	}
	return b.writeSecret(ctx, secretFor(name, service, data))
}

// newestPod is the one whose configuration counts.
func (b *box) newestPod(name tenants.Name) (*corev1.Pod, *life) {
	pods, _ := b.pods.Pods(name.Namespace).List(labels.SelectorFromSet(labels.Set{appLabel: tenantApp, releaseLabel: name.Release}))
	b.mu.Lock()
	defer b.mu.Unlock()
	var newest *corev1.Pod
	for _, pod := range pods {
		l := b.lives[pod.UID]
		if l == nil || l.want == nil || pod.DeletionTimestamp != nil {
			continue
		}
		if newest == nil || newest.CreationTimestamp.Before(&pod.CreationTimestamp) {
			newest = pod
		}
	}
	if newest == nil {
		return nil, nil
	}
	copied := *b.lives[newest.UID]
	return newest, &copied
}

// kubeconfigOf takes the administrator's credentials from the plane's own file.
func (b *box) kubeconfigOf(name tenants.Name, l *life) (map[string][]byte, error) {
	own, err := clientcmd.LoadFromFile(filepath.Join(b.tenants.Dir(name), "admin.kubeconfig"))
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig of %s: %w", name, err)
	}
	ownContext := own.Contexts[own.CurrentContext]
	if ownContext == nil || own.Clusters[ownContext.Cluster] == nil || own.AuthInfos[ownContext.AuthInfo] == nil {
		return nil, fmt.Errorf("the kubeconfig of %s is not whole", name)
	}
	cluster, user := own.Clusters[ownContext.Cluster], own.AuthInfos[ownContext.AuthInfo]
	called := cmp.Or(l.context, "my-vcluster")
	exported := api.Cluster{Server: l.server, CertificateAuthorityData: cluster.CertificateAuthorityData}
	if l.insecure {
		exported.CertificateAuthorityData, exported.InsecureSkipTLSVerify = nil, true
	}
	config, err := clientcmd.Write(api.Config{
		Clusters:       map[string]*api.Cluster{called: &exported},
		AuthInfos:      map[string]*api.AuthInfo{called: {ClientCertificateData: user.ClientCertificateData, ClientKeyData: user.ClientKeyData}},
		Contexts:       map[string]*api.Context{called: {Cluster: called, AuthInfo: called}},
		CurrentContext: called,
	})
	return map[string][]byte{
		"config": config, "certificate-authority": cluster.CertificateAuthorityData,
		"client-certificate": user.ClientCertificateData, "client-key": user.ClientKeyData,
	}, err
}

func secretFor(name tenants.Name, owner *corev1.Service, data map[string][]byte) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: name.Namespace, Name: "vc-" + name.Release,
			Labels: map[string]string{appLabel: tenantApp, "vcluster-name": name.Release},
		},
		Type: corev1.SecretTypeOpaque, Data: data,
	}
	if owner != nil {
		s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: owner.Name, UID: owner.UID}}
	}
	return s
}

func (b *box) writeSecret(ctx context.Context, want *corev1.Secret) error {
	secrets := b.client.CoreV1().Secrets(want.Namespace)
	have, err := secrets.Get(ctx, want.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = secrets.Create(ctx, want, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	if reflect.DeepEqual(have.Data, want.Data) && reflect.DeepEqual(have.OwnerReferences, want.OwnerReferences) {
		return nil
	}
	have.Data, have.OwnerReferences = want.Data, want.OwnerReferences
	if have.Labels == nil {
		have.Labels = map[string]string{}
	}
	maps.Copy(have.Labels, want.Labels)
	_, err = secrets.Update(ctx, have, metav1.UpdateOptions{})
	return err
}

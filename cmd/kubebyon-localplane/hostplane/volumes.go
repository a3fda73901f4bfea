package hostplane

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

var everything = labels.Everything() //nolint:gochecknoglobals // never changed

// dealClaim makes the volume that a claim of this box's class waits for. The binding is the
// controller-manager's.
func (b *box) dealClaim(ctx context.Context, t thing) error {
	claim, err := b.claims.PersistentVolumeClaims(t.namespace).Get(t.name)
	if err != nil {
		return err
	}
	if claim.DeletionTimestamp != nil || claim.Spec.VolumeName != "" || claim.Annotations[provisionerAnnotation] != provisioner {
		return nil
	}
	_, err = b.client.CoreV1().PersistentVolumes().Create(ctx, volumeFor(claim, b.Dir.Path("volumes", string(claim.UID))), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make a volume: %w", err)
	}
	return nil
}

const provisionerAnnotation = "volume.kubernetes.io/storage-provisioner"

// volumeFor is a volume in name only: what would be in it is the tenant's directory.
func volumeFor(claim *corev1.PersistentVolumeClaim, path string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        "pvc-" + string(claim.UID),
			Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": provisioner},
		},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName:              *claim.Spec.StorageClassName,
			AccessModes:                   claim.Spec.AccessModes,
			Capacity:                      claim.Spec.Resources.Requests,
			VolumeMode:                    claim.Spec.VolumeMode,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion,
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: path},
			},
		},
	}
}

// dealVolume deletes a volume whose claim is gone, as its provisioner has to.
func (b *box) dealVolume(ctx context.Context, t thing) error {
	volume, err := b.volumes.Get(t.name)
	if err != nil {
		return err
	}
	if volume.Status.Phase != corev1.VolumeReleased || volume.Annotations["pv.kubernetes.io/provisioned-by"] != provisioner {
		return nil
	}
	return b.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{})
}

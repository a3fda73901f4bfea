package joinobjects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// parallel is enough to keep two processors busy.
const parallel = 4

// Keep brings the objects to what the settings say. It may be repeated.
func Keep(ctx context.Context, config *rest.Config, s Settings) error {
	objects, err := all(s)
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, o := range objects {
		group.Go(func() error { return o.keep(ctx, client) })
	}
	return group.Wait()
}

// keep waits for the namespace, which the API server makes in the background of its first start.
func (o object) keep(ctx context.Context, client dynamic.Interface) error {
	body, err := json.Marshal(o.content)
	if err != nil {
		return fmt.Errorf("encode %s: %w", o.name, err)
	}
	for {
		_, err = client.Resource(o.resource).Namespace(o.namespace).
			Patch(ctx, o.name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: fieldManager, Force: ptr.To(true)})
		if !passing(err) {
			break
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", o.resource.Resource, o.name, err)
	}
	return nil
}

func passing(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err)
}

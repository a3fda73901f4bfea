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
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	parallel = 4 // enough to keep two processors busy
	pause    = 20 * time.Millisecond
)

// Keep brings the objects to what the settings say, and returns once the API server goes by them.
// It may be repeated.
func Keep(ctx context.Context, config *rest.Config, s Settings) error {
	objects, err := all(s)
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	asking, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	group, writing := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, o := range objects {
		group.Go(func() error { return o.keep(writing, client) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return awaitEffective(ctx, asking)
}

// keep waits for the namespace, which the API server makes in the background of its first start.
func (o object) keep(ctx context.Context, client dynamic.Interface) error {
	body, err := json.Marshal(o.content)
	if err != nil {
		return fmt.Errorf("encode %s: %w", o.name, err)
	}
	for {
		_, err = client.Resource(o.resource).Namespace(o.namespace).
			Patch(ctx, o.name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: fieldManager, Force: new(true)})
		if !passing(err) {
			break
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(pause):
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

package kubetenant

import (
	"context"
	"encoding/json"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// allowed asks the cluster whether the credential may do something.
func (t *cluster) allowed(ctx context.Context, about map[string]any) (bool, error) {
	body, err := json.Marshal(map[string]any{
		"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": map[string]any{"resourceAttributes": about},
	})
	if err != nil {
		return false, err
	}
	var review struct{ Status struct{ Allowed bool } }
	err = t.call(ctx, "ask for rights", func(ctx context.Context) error {
		text, err := sent(ctx, t.objects.Post().AbsPath("apis/authorization.k8s.io/v1/selfsubjectaccessreviews").
			SetHeader("Content-Type", "application/json").SetHeader("Accept", "application/json").Body(body))
		if status, ok := errors.AsType[*apierrors.StatusError](err); ok && status.ErrStatus.Code >= 400 && status.ErrStatus.Code < 429 {
			return nil // it does not even answer such questions
		}
		if err != nil {
			return err
		}
		_ = json.Unmarshal(text, &review)
		return nil
	})
	return review.Status.Allowed, err
}

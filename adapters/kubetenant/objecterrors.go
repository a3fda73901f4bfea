package kubetenant

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

var errNoObject = errors.New("an answer is no object")

// objectFault says what the API server has against a request about an object.
// What it is no matter of goes on to explain.
func objectFault(step string, err error) error {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok {
		return err
	}
	because := fmt.Errorf("%s: %w", step, short{err})
	if apierrors.IsUnexpectedServerError(err) {
		if strings.HasPrefix(bodyOf(err), "404 page not found") { // how API servers say it of paths
			return fault.NotFound.New("kind_not_found", "The cluster does not know this kind of object.").Because(because)
		}
		return err
	}
	switch says := said(status); status.ErrStatus.Code {
	case http.StatusNotFound:
		return objectNotFound().Because(because)
	case http.StatusForbidden:
		return fault.Denied.New("object_forbidden", "The cluster does not allow it: %s", says).Because(because)
	case http.StatusConflict:
		if status.ErrStatus.Reason == metav1.StatusReasonAlreadyExists {
			return fault.Conflict.New("object_exists", "The cluster has an object of this name already.").Because(because)
		}
		return fault.Conflict.New("object_stale", "The object has changed since it was read: %s", says).Because(because)
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusMethodNotAllowed,
		http.StatusUnsupportedMediaType, http.StatusRequestEntityTooLarge, http.StatusNotAcceptable:
		return fault.Invalid.New("object_invalid", "The cluster does not accept it: %s", says).Because(because)
	}
	return err
}

// said is the API server's sentence, as far as it can be shown: admission in
// the cluster may have written it.
func said(status *apierrors.StatusError) string {
	line := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, status.ErrStatus.Message)
	if line = strings.TrimSpace(clip(line)); line == "" {
		return "it does not say why."
	}
	return line
}

func objectNotFound() *fault.Error {
	return fault.NotFound.New("object_not_found", "The cluster has no such object.")
}

func noNamespace() error {
	return fault.Invalid.New("object_invalid", "An object of this kind needs a namespace.")
}

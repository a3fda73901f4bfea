package kubetenant

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// explain turns an error of client-go into one that callers can act on. Faults
// pass as they are. An end of ctx shows through: a canceled call is nobody's
// fault, and one whose deadline has passed is a tenant that did not answer.
func explain(ctx context.Context, step string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if ended := ctx.Err(); errors.Is(ended, context.Canceled) {
		return fmt.Errorf("%s: %w", step, ended)
	} else if ended != nil {
		err = errors.Join(ended, err)
	}
	err = short{err}
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok && ctx.Err() == nil {
		return answered(step, status, err)
	}
	return unreachable(silence(err), step, err)
}

// short is an error of which only the beginning is told: a tenant may have
// written it.
type short struct{ error }

func (s short) Error() string { return clip(s.error.Error()) }

func (s short) Unwrap() error { return s.error }

// accessRefused is the code of what a cluster does not let the platform do.
const accessRefused = "cluster_access_refused"

// answered explains what the API server itself said.
func answered(step string, status *apierrors.StatusError, err error) error {
	code := status.Status().Code
	switch {
	case code == http.StatusTooManyRequests:
		return busy(status, step, err)
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return fault.Unavailable.New(accessRefused, "The cluster does not let the platform in with the kubeconfig it has.").
			Because(fmt.Errorf("%s: %w", step, err))
	case code == 0 || code >= http.StatusInternalServerError || apierrors.IsUnexpectedServerError(err):
		return unreachable("The cluster's API server answers with errors.", step, err)
	}
	return fmt.Errorf("%s: %w", step, err)
}

func busy(status *apierrors.StatusError, step string, err error) error {
	e := unreachable("The cluster's API server is too busy to answer.", step, err)
	if d := status.Status().Details; d != nil {
		e.RetryAfter = time.Duration(d.RetryAfterSeconds) * time.Second
	}
	return e
}

func unreachable(sentence, step string, cause error) *fault.Error {
	return fault.Unavailable.New("cluster_unreachable", "%s", sentence).Because(fmt.Errorf("%s: %w", step, cause))
}

// silence says why there was no answer.
func silence(err error) string {
	var (
		hostname  x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		alert     tls.AlertError
		lookup    *net.DNSError
		network   net.Error
	)
	switch {
	case errors.Is(err, errTooLarge), errors.Is(err, errEndless):
		return "The cluster's API server sends more than the platform takes in."
	case errors.As(err, &hostname), errors.As(err, &authority), errors.As(err, &invalid), errors.As(err, &verify):
		return "The cluster's API server shows a certificate that its kubeconfig does not trust."
	case errors.As(err, &alert):
		return "The cluster's API server does not accept the platform's certificate."
	case errors.As(err, &lookup):
		return "The address of the cluster's API server cannot be found."
	case errors.Is(err, syscall.ECONNREFUSED):
		return "The cluster's API server refuses connections."
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "The cluster's API server does not answer in time."
	}
	return "The cluster's API server cannot be reached."
}

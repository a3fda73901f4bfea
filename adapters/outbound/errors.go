package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// refusal is the rule that an address breaks, to follow "must" or stand after
// the name of a field: "must be an http or https address".
type refusal string

func (r refusal) Error() string { return string(r) }

func refused(rule error) *fault.Error {
	return fault.Denied.New("address_refused", "The request was not sent: its address %s.", rule)
}

// unreachable says what kept a request from being answered. The cause, for the
// log, may name the host and its address.
func unreachable(err error) *fault.Error {
	msg := "The connection could not be made, or broke off."
	var nameless *net.DNSError
	var badCertificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled):
		msg = "The request was given up before its answer came."
	case isTimeout(err):
		msg = "There was no answer in time."
	case errors.As(err, &nameless):
		msg = "The host's name could not be resolved."
	case errors.As(err, &badCertificate):
		msg = "The host's certificate is not valid for it."
	}
	return fault.Unavailable.New("address_unreachable", "%s", msg).Because(err)
}

func isTimeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || ok && n.Timeout()
}

// bare takes away the URL that net/http puts around errors.
func bare(err error) error {
	for {
		u, ok := errors.AsType[*url.Error](err)
		if !ok {
			return err
		}
		err = u.Err
	}
}

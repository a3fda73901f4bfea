package sso

import "github.com/kubebyon/kubebyon/core/kernel/fault"

// Failed is the error of a sign-in that the provider refused, or that it
// answered with something that cannot be true. The reason is for the log.
func Failed(reason error) error {
	return fault.Denied.New("sso_failed", "The sign-in provider did not let this sign-in pass. Try again, or use another way to sign in.").Because(reason)
}

// Canceled is the error of a sign-in that the person did not go on with.
func Canceled() error {
	return fault.Denied.New("sso_canceled", "The sign-in was canceled at the provider.")
}

// Unavailable is the error of a provider that cannot be reached or is out of
// order. The reason is for the log.
func Unavailable(reason error) error {
	return fault.Unavailable.New("sso_unavailable", "The sign-in provider does not answer at the moment. Try again in a while, or use another way to sign in.").Because(reason)
}

package helmprovision

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/url"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/text"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// told turns an error of the host cluster, or of Helm about it, into one that
// people can act on. Doing is what was tried, as in "install the chart".
func told(err error, doing string) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if isAway(err) { // also when a request of its own has taken too long
		return away("The host cluster could not be reached to %s.", doing).Because(errors.Join(provision.ErrAway, err))
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	for _, judge := range []func(error, string) *fault.Error{certificateFault, hookFault, removingFault, rightFault, refusedFault, busyFault} {
		if f := judge(err, doing); f != nil {
			return f.Because(err)
		}
	}
	return fault.Unavailable.New("host_failed", "KubeBYON could not %s: the host cluster, or Helm, has failed to.", doing).Because(err)
}

// away is about the host cluster as a whole: nothing is said of any control plane.
func away(sentence string, args ...any) *fault.Error {
	return fault.Unavailable.New("host_unreachable", sentence, args...).Because(provision.ErrAway)
}

// isAway tells a host cluster that cannot be reached at the moment from one that
// has refused or failed at something: only a connection that fails, a time that is
// over, and a host that asks to come again later.
func isAway(err error) bool {
	if apierrors.IsServiceUnavailable(err) || apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) {
		return true
	}
	request, ok := errors.AsType[*url.Error](err)
	if !ok || certificateFault(err, "") != nil {
		return false
	}
	if _, ok := errors.AsType[net.Error](request.Err); ok {
		return true
	}
	return utilnet.IsProbableEOF(request.Err) || utilnet.IsHTTP2ConnectionLost(request.Err) || utilnet.IsConnectionReset(request.Err) || utilnet.IsConnectionRefused(request.Err) ||
		errors.Is(request.Err, io.ErrUnexpectedEOF)
}

// certificateFault is about a host that answers, and which this process does not
// believe, or the other way round: that does not pass by itself.
func certificateFault(err error, doing string) *fault.Error {
	why := ""
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		why = e.Err.Error()
	} else if e, ok := errors.AsType[*net.OpError](err); ok && strings.HasPrefix(e.Err.Error(), "tls: ") {
		why = e.Err.Error()
	}
	if why == "" {
		return nil
	}
	return fault.Unavailable.New("host_untrusted", "KubeBYON could not %s: it and the host cluster do not accept each other's certificates: %s. Check those in KubeBYON's kubeconfig, and the host cluster's.", doing, clause(why))
}

// hook is how Kubernetes names an admission webhook that has failed.
var hook = regexp.MustCompile(`failed calling webhook "([^"]+)"`) //nolint:gochecknoglobals // a constant

func hookFault(err error, doing string) *fault.Error {
	h := hook.FindStringSubmatch(err.Error())
	if h == nil {
		return nil
	}
	return fault.Unavailable.New("host_webhook_failed", "KubeBYON could not %s: the admission webhook %s of the host cluster has failed. Repair it, or let it pass over the namespaces of control planes.", doing, clause(h[1]))
}

func removing() *fault.Error {
	return fault.Unavailable.New("control_plane_removing", "The control plane is being removed.")
}

func removingFault(err error, _ string) *fault.Error {
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || strings.Contains(err.Error(), "because it is being terminated") {
		return removing()
	}
	return nil
}

// denial is how Kubernetes says which right is missing. Helm passes some errors
// on as text only.
var denial = regexp.MustCompile(`cannot ([a-z]+) resource "([^"]+)" in API group "([^"]*)"( in the namespace "[^"]*"| at the cluster scope)?`) //nolint:gochecknoglobals // a constant

// surplus is how Kubernetes refuses to let a role be made with rights that its
// maker does not have.
const surplus = "attempting to grant RBAC permissions not currently held"

func rightFault(err error, doing string) *fault.Error {
	said := err.Error()
	if d := denial.FindStringSubmatch(said); d != nil {
		return fault.Unavailable.New("host_forbidden", "KubeBYON could not %s: on the host cluster it lacks the right to %s. Give its account this right.", doing, right(d[1], d[2], d[3])+d[4])
	}
	switch {
	case strings.Contains(said, surplus):
		return fault.Unavailable.New("host_forbidden", "KubeBYON could not %s: the chart's roles hold rights that its account on the host cluster lacks, and nobody may grant what he does not hold: %s. Give its account these rights; rbac.extraRules of KubeBYON's Helm chart does so.", doing, lacking(said))
	case strings.Contains(said, "exceeded quota"):
		return fault.Unavailable.New("host_quota", "KubeBYON could not %s: a quota of the host cluster is used up.", doing)
	case apierrors.IsUnauthorized(err):
		return fault.Unavailable.New("host_unauthorized", "The host cluster does not accept KubeBYON's credentials.")
	case apierrors.IsForbidden(err):
		return fault.Unavailable.New("host_forbidden", "KubeBYON could not %s: the host cluster forbids it: %s.", doing, clause(statusOf(err)))
	}
	return nil
}

// compactRule is how Kubernetes writes a rule into a refusal.
var compactRule = regexp.MustCompile(`APIGroups:\[([^\]]*)\](?:, Resources:\[([^\]]*)\])?(?:, ResourceNames:\[[^\]]*\])?, Verbs:\[([^\]]*)\]`) //nolint:gochecknoglobals // a constant

// lacking lists the rights that a refusal to grant names.
func lacking(said string) string {
	words := func(list string) []string { return strings.Fields(strings.ReplaceAll(list, `"`, " ")) }
	var out []string
	for _, rule := range compactRule.FindAllStringSubmatch(said, -1) {
		groups := words(rule[1])
		if len(groups) == 0 { // the core group has no name
			groups = []string{""}
		}
		for _, resource := range words(rule[2]) {
			for _, group := range groups {
				out = append(out, right(strings.Join(words(rule[3]), ", "), resource, group))
			}
		}
	}
	if len(out) == 0 {
		_, rules, _ := strings.Cut(said, surplus)
		return clause(strings.TrimLeft(rules, ": \n"))
	}
	return clause(strings.Join(out, "; "))
}

// right names one, as in "create namespaces" or "patch deployments.apps".
func right(verb, resource, group string) string {
	if group != "" {
		resource += "." + group
	}
	return verb + " " + resource
}

func refusedFault(err error, doing string) *fault.Error {
	switch {
	case strings.Contains(err.Error(), "provided port is already allocated"):
		return fault.Unavailable.New("node_port_taken", "KubeBYON could not %s: its node port is in use by another Service of the host cluster.", doing)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return fault.Invalid.New("host_refused", "KubeBYON could not %s: the host cluster refuses it: %s.", doing, clause(statusOf(err)))
	}
	return nil
}

func busyFault(err error, _ string) *fault.Error {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || strings.Contains(err.Error(), "another operation") || strings.Contains(err.Error(), "already exists") {
		return busy()
	}
	return nil
}

func busy() *fault.Error {
	return fault.Unavailable.New("control_plane_busy", "Another process is changing this control plane at the moment.")
}

func statusOf(err error) string {
	var s apierrors.APIStatus
	if errors.As(err, &s) {
		return s.Status().Message
	}
	return err.Error()
}

const maxClause = 400

// clause makes foreign text fit to stand in a sentence: one line, not too long,
// without its own full stop.
func clause(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.TrimRight(text.Clip(s, maxClause), ". ")
}

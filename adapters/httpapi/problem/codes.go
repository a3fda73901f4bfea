package problem

import (
	"net/http"
	"slices"
	"strings"
)

// Code is something that clients may act on. Codes are part of the API: one
// may be added, none may change or go.
type Code struct {
	Name    string
	Status  int
	Meaning string
}

// codes are all that the API may answer. testdata/error-codes.txt repeats them,
// so that a change is seen as one.
var codes = []Code{ //nolint:gochecknoglobals // a constant table
	{"validation_failed", 400, "The request does not fit its description; errors says where."},
	{"kubeconfig_invalid", 400, "The kubeconfig or the token cannot be used; the detail says why."},
	{"malformed_request", 400, "What was sent is not an HTTP request."},
	{"captcha_failed", 400, "The captcha was not solved, or its solution is too old."},
	{"captcha_required", 400, "A captcha has to be solved first: send captcha_token."},
	{"verification_code_invalid", 400, "The code is wrong, was used or replaced, is too old, or has been tried too often."},
	{"namespace_mismatch", 400, "The namespace is not the vcluster_name."},
	{"unauthenticated", 401, "There is no credential, or one that is not good (any more)."},
	{"invalid_credentials", 401, "The e-mail address or the password is wrong."},
	{"password_incorrect", 401, "The password of the account is wrong."},
	{"forbidden", 403, "The account's role does not allow this."},
	{"csrf_rejected", 403, "A browser sent this for a site that is not trusted."},
	{"account_banned", 403, "The account has been banned."},
	{"registration_closed", 403, "People cannot make accounts themselves here."},
	{"session_required", 403, "This needs a session: an API key may not do it."},
	{"token_expired", 403, "The join token has expired."},
	{"token_revoked", 403, "The join token has been revoked."},
	{"token_unknown", 403, "The join token is not known."},
	{"token_used", 403, "The join token has been used."},
	{"not_found", 404, "There is nothing under this path."},
	{"cluster_not_found", 404, "There is no such cluster, or it is somebody else's."},
	{"node_not_found", 404, "There is no such node, or it is somebody else's."},
	{"delivery_not_found", 404, "There is no such message in the log."},
	{"token_not_found", 404, "There is no such join token, or it is somebody else's."},
	{"user_not_found", 404, "There is no such account."},
	{"method_not_allowed", 405, "The path takes other methods: Allow names them."},
	{"request_timeout", 408, "The request's body did not arrive in time."},
	{"channel_not_configured", 409, "The channel has not been set up, or its settings are not valid."},
	{"cluster_disabled", 409, "The cluster is disabled in the fleet."},
	{"cluster_hosted", 409, "The cluster is hosted here: its name and its credential are not set by hand."},
	{"cluster_imported", 409, "The cluster is not run here."},
	{"cluster_not_ready", 409, "The cluster is not ready for machines to join yet. The join script for older clients answers it with 503."},
	{"cluster_not_updatable", 409, "The cluster is being deleted."},
	{"clusters_exist", 409, "The account has clusters. They have to be deleted, and gone, before."},
	{"delivery_not_dead", 409, "The message was not given up: only one that was can be sent again."},
	{"delivery_not_kept", 409, "What the message said is not kept: it held a code, was given up over 7 days ago, or had lost its reason."},
	{"delivery_target_gone", 409, "The message is to a target that is not the person's own any more."},
	{"default_taken", 409, "Another cluster became the default at the same moment."},
	{"drain_blocked", 409, "Pods are in the way that the options do not allow to evict."},
	{"email_taken", 409, "There is an account with this e-mail address. Only whoever has the code that was mailed to it is told so."},
	{"idempotency_mismatch", 409, "The Idempotency-Key was used for a different request."},
	{"kubeconfig_pending", 409, "The kubeconfig is not there yet."},
	{"last_admin", 409, "The account is the only administrator's."},
	{"name_taken", 409, "A live cluster has this vcluster_name."},
	{"not_in_cluster", 409, "The server does not run in a Kubernetes cluster."},
	{"own_account", 409, "Administrators may not do this to their own account."},
	{"password_not_set", 409, "The account has no password to confirm with."},
	{"quota_exceeded", 409, "The account has as many clusters as it may have."},
	{"stale_version", 409, "Somebody else changed it at the same moment. Read again, then try again."},
	{"too_many_api_keys", 409, "The account has as many API keys as it may have."},
	{"too_many_tokens", 409, "The cluster has too many join tokens that can be used."},
	{"body_too_large", 413, "The body is over the limit of 1 MiB, or of 2 MiB for a picture."},
	{"unsupported_media_type", 415, "The body is not application/json, or no form where a file is asked for."},
	{"expectation_failed", 417, "The request expects what this server does not do."},
	{"rate_limited", 429, "Too many requests. Retry-After says when to try again."},
	{"header_too_large", 431, "The header of the request is over the limit of 32 KiB."},
	{"internal", 500, "Something went wrong on the server's side."},
	{"not_implemented", 501, "The request has a transfer encoding that this server does not know."},
	{"captcha_unavailable", 503, "It cannot be told whether the captcha was solved. Try again."},
	{"mail_not_configured", 503, "The installation cannot send e-mail yet."},
	{"delivery_failed", 502, "The other side did not take the message. The detail says why."},
	{"starting", 503, "The server is waiting for what it needs to start. /readyz says for what."},
	{"cluster_unreachable", 503, "The cluster's API does not answer."},
	{"cluster_access_refused", 503, "The cluster's API refuses the platform."},
	{"credential_unreadable", 503, "The registered credential cannot be opened with the server's keys."},
	{"store_busy", 503, "The database is busy. Try again."},
	{"store_unavailable", 503, "The database does not answer. Try again."},
	{"drain_timeout", 504, "Not every pod went in time. The answer says which did and which are left."},
	{"picture_busy", 503, "Too many pictures are being looked at. Try again."},
	{"http_version_not_supported", 505, "The request is of an HTTP version that this server does not speak."},
}

// Codes returns all codes, by status and name.
func Codes() []Code {
	out := slices.Clone(codes)
	slices.SortFunc(out, func(a, b Code) int {
		if a.Status != b.Status {
			return a.Status - b.Status
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

// Lookup finds codes by name. It panics on one that is not listed: an operation
// that documents it is wrong for everyone.
func Lookup(names ...string) []Code {
	out := make([]Code, 0, len(names))
	for _, c := range Codes() {
		if slices.Contains(names, c.Name) {
			out = append(out, c)
		}
	}
	if len(out) != len(names) {
		panic("problem: a code is not listed, or named twice: " + strings.Join(names, ", "))
	}
	return out
}

// Example is a problem as the documents show it.
func (c Code) Example() *Problem {
	p := &Problem{
		Type: "urn:kubebyon:problem:" + c.Name, Title: http.StatusText(c.Status), Status: c.Status,
		Detail: c.Meaning, Instance: "urn:kubebyon:request:4q7d1m0v9k2x3b5n", Code: c.Name,
	}
	if c.Name == "validation_failed" {
		p.Errors = []Field{{Location: "body.name", Message: "must be 1 to 63 printable characters"}}
	}
	return p
}

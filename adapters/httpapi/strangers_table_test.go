package httpapi_test

import "net/http"

// verdict is what becomes of a request about the owner's things.
type verdict int

const (
	nothing         verdict = iota // not said: see [may]
	sees                           // done, and the answer is about the owner's things
	own                            // done, and the answer holds nothing of the owner's things
	notFound                       // 404: as if there were no such thing
	forbidden                      // 403
	unauthenticated                // 401
	csrfRejected                   // 403
)

func (v verdict) done() bool { return v == sees || v == own }

func (v verdict) String() string {
	return [...]string{"nothing", "sees", "own", "not_found", "forbidden", "unauthenticated", "csrf_rejected"}[v]
}

// may says what becomes of an operation on the owner's things, by who asks. Who
// is left out may do nothing:
//
//	anonymous    unauthenticated; so is everybody whose credential is not good any more
//	other        notFound: somebody with the role user and other things of their own
//	operator     forbidden
//	admin        forbidden
//	owner        forbidden
//	foreignPage  the owner's browser, for a site that is not trusted: csrfRejected, but
//	             what only reads is as for the owner: the browser keeps the answer from the page
type may struct {
	owner, other, operator, admin, anonymous, foreignPage verdict

	// ownSiteOnly: a foreign page is refused whatever the credential.
	ownSiteOnly bool

	// body is sent; nil: what the document gives as examples, where a body is needed.
	body func(*strangers) any
}

// consoleTable is what each may do in the API of the console, one row an
// operation.
func consoleTable() map[string]may {
	var (
		everybody         = may{owner: own, other: own, operator: own, admin: own, anonymous: own}
		signedIn          = may{owner: own, other: own, operator: own, admin: own}
		oneself           = may{owner: sees, other: own, operator: own, admin: own}
		whoReadsAll       = may{owner: sees, other: notFound, operator: sees, admin: sees}
		listOfClusters    = may{owner: sees, other: own, operator: sees, admin: sees}
		whoManages        = may{owner: sees, other: notFound, operator: forbidden, admin: sees}
		whoseNodes        = may{owner: sees, other: notFound, operator: sees, admin: sees}
		whoHasTheToken    = may{owner: sees, other: sees, operator: sees, admin: sees, anonymous: sees, foreignPage: sees}
		whoHasThePassword = may{owner: sees, other: sees, operator: sees, admin: sees, anonymous: sees, ownSiteOnly: true}
		admins            = may{owner: forbidden, other: forbidden, operator: forbidden, admin: sees}
	)
	return map[string]may{
		// The server itself says nothing of anybody.
		"getHealth":    everybody,
		"getReadiness": everybody,
		"getVersion":   everybody,

		// Signing in takes the password and nothing else.
		"listAuthProviders": everybody,
		"login":             whoHasThePassword.with(func(*strangers) any { return map[string]any{"email": userEmail, "password": password} }),
		"logout":            everybody,

		// One's own account.
		"getCurrentUser": oneself,
		"getProfile":     oneself,
		"updateProfile":  oneself,

		// Clusters: operators read them, and change nothing about them.
		"listKubernetesVersions": signedIn,
		"createCluster":          oneself.with(func(s *strangers) any { return map[string]any{"name": s.word("made")} }),
		"listClusters":           listOfClusters,
		"getCluster":             whoReadsAll,
		"listClusterOperations":  whoReadsAll,
		"getControlPlaneMetrics": whoReadsAll,
		"updateCluster":          whoManages.with(func(*strangers) any { return map[string]any{"public_access_enabled": false} }),
		"deleteCluster":          whoManages,
		"readKubeconfig":         whoManages,

		// Join tokens: making one is giving away a place in the cluster. Whoever has
		// the value needs nothing else.
		"createJoinToken":      whoManages,
		"revokeToken":          whoManages,
		"getJoinScript":        whoHasTheToken,
		"getClusterJoinScript": whoHasTheToken,

		// Nodes: operators write to the nodes of all.
		"listNodes":      listOfClusters,
		"listNodeEvents": listOfClusters,
		"getNode":        whoseNodes,
		"cordonNode":     whoseNodes,
		"uncordonNode":   whoseNodes,
		"drainNode":      whoseNodes,
		"deleteNode":     whoseNodes,

		// What happened. An overview counts what one may read and names what one did.
		"getOverview":       oneself,
		"listActivities":    oneself,
		"listAllActivities": admins,
		"listClusterJobs":   admins,
	}
}

// undocumented are the routes that are no operations of a document, with what
// they are for. All of them are for everybody and say nothing of anybody.
func undocumented() map[string]string {
	return map[string]string{
		"GET /openapi.json":     "the document",
		"GET /openapi.yaml":     "the document",
		"GET /openapi-3.0.json": "the document",
		"GET /openapi-3.0.yaml": "the document",
		"* /docs/*":             "the document's reader",
		"HEAD /join":            "whether a token can be used",
		"HEAD /api/join/clusters/{clusterID}/script": "whether a token can be used",
	}
}

func (m may) with(body func(*strangers) any) may {
	m.body = body
	return m
}

// standing is as whom the table knows somebody.
type standing int

const (
	asOwner standing = iota
	asOther
	asOperator
	asAdmin
	asAnonymous
	asForeignPage
)

// verdict fills in what the table leaves out.
func (m may) verdict(of member, method string) verdict {
	who := of.as
	if of.foreign && m.ownSiteOnly {
		who = asForeignPage
	}
	reads := method == http.MethodGet
	if who == asForeignPage && m.foreignPage == nothing && reads {
		who = asOwner
	}
	said := [...]verdict{m.owner, m.other, m.operator, m.admin, m.anonymous, m.foreignPage}[who]
	if said != nothing {
		return said
	}
	return [...]verdict{forbidden, notFound, forbidden, forbidden, unauthenticated, csrfRejected}[who]
}

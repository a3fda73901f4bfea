package httpapi_test

import (
	"net/http"
	"time"
)

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
	does                           // done to the owner's things, and the answer holds nothing of them
	sessionRequired                // 403: a key may not
)

func (v verdict) done() bool { return v == sees || v == own || v == does }

func (v verdict) String() string {
	return [...]string{"nothing", "sees", "own", "not_found", "forbidden", "unauthenticated", "csrf_rejected", "does", "session_required"}[v]
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

	// inPerson: what a session may do, a key may not.
	inPerson bool

	// ready is done to the world, after the owner got something, for those who may.
	ready func(*strangers)

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
		whoeverComes      = may{owner: own, other: own, operator: own, admin: own, anonymous: own, ownSiteOnly: true}
		whoHasThePassword = may{owner: sees, other: sees, operator: sees, admin: sees, anonymous: sees, ownSiteOnly: true}
		admins            = may{owner: forbidden, other: forbidden, operator: forbidden, admin: sees}
		adminsOnly        = may{owner: forbidden, other: forbidden, operator: forbidden, admin: own}
		adminsBlindly     = may{owner: forbidden, other: forbidden, operator: forbidden, admin: does}
		whoRegisters      = may{owner: forbidden, other: forbidden, operator: own, admin: own}
		oneselfInPerson   = may{owner: sees, other: own, operator: own, admin: own, inPerson: true}
	)
	return map[string]may{
		// The server itself says nothing of anybody.
		"getHealth":    everybody,
		"getReadiness": everybody,
		"getVersion":   everybody,

		// Signing in takes the password, and setting one the code; nothing else.
		"listAuthProviders": everybody,
		"login":             whoHasThePassword.with(func(*strangers) any { return map[string]any{"email": userEmail, "password": password} }),
		"logout":            everybody,

		// A provider's word opens an account; without it the browser goes to the page
		// where people sign in.
		"beginSSO":    everybody,
		"completeSSO": everybody,

		// Codes go to whoever reads the mail; the answer says nothing of anybody.
		"sendRegistrationCode": whoeverComes.with(func(s *strangers) any { return map[string]any{"email": s.word("new") + "@kubebyon.test"} }),
		"sendResetCode":        whoeverComes.with(func(s *strangers) any { return map[string]any{"email": s.word("new") + "@kubebyon.test"} }),
		"register":             whoeverComes.with(func(s *strangers) any { return s.registration(s.word("new") + "@kubebyon.test") }),
		"resetPassword":        whoHasThePassword.with(func(s *strangers) any { s.clock.advance(time.Minute); return s.reset(userEmail) }),

		// One's own account.
		"getNotificationSettings":    signedIn,
		"updateNotificationSettings": signedIn.with(func(*strangers) any { return map[string]any{"slack_target": "U012AB3CD", "slack_notifications": true} }),
		"getCurrentUser":             oneself,
		"getProfile":                 oneself,
		"updateProfile":              oneself,
		"uploadAvatar":               oneself.with(func(*strangers) any { return formOf(redSquare) }),
		"deleteCurrentUser": oneselfInPerson.after(func(s *strangers) { s.endClusters() }).
			with(func(*strangers) any { return map[string]any{"password": password} }),

		// API keys: others do not get to know which there are, and nothing happens to
		// those that they name.
		"listAPIKeys":  oneself,
		"createAPIKey": {owner: own, other: own, operator: own, admin: own, inPerson: true},
		"deleteAPIKey": oneselfInPerson,

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

		// The fleet: who registers clusters changes what is kept of them. Of hosted ones
		// only who may delete them takes them out.
		"listFleet":        listOfClusters,
		"getFleetCluster":  whoReadsAll,
		"testFleetCluster": {owner: does, other: notFound, operator: does, admin: does},
		"registerCluster": whoRegisters.with(func(s *strangers) any {
			return map[string]any{"name": s.word("guest"), "credential": map[string]any{"kubeconfig": aKubeconfig}}
		}),
		"testNewCluster":     whoRegisters.with(func(*strangers) any { return map[string]any{"credential": map[string]any{"kubeconfig": aKubeconfig}} }),
		"updateFleetCluster": may{owner: forbidden, other: forbidden, operator: sees, admin: sees}.with(func(*strangers) any { return map[string]any{"description": "changed"} }),
		"removeFleetCluster": {owner: does, other: notFound, operator: forbidden, admin: does},

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

		// The installation's settings say nothing of anybody.
		"getSystemSettings":    {owner: forbidden, other: forbidden, operator: forbidden, admin: own},
		"updateSystemSettings": may{owner: forbidden, other: forbidden, operator: forbidden, admin: own}.with(func(*strangers) any { return map[string]any{"settings": map[string]any{"registration_enabled": false}} }),
		// How messages leave the installation says nothing of anybody; the log of
		// them names accounts.
		"getNotificationConfig": adminsOnly,
		"updateNotificationConfig": adminsOnly.with(func(*strangers) any {
			return map[string]any{"config": map[string]any{"notification_delivery": map[string]any{"enabled_channels": []string{"email"}}}}
		}),
		"testNotification": adminsOnly.with(func(*strangers) any {
			return map[string]any{"channel": "email", "target": "ada@example.com", "template": "welcome"}
		}),
		"listDeliveries": admins,
		"retryDelivery":  admins,

		// All accounts.
		"listUsers":         admins,
		"getUser":           admins,
		"setUserStatus":     admins.with(func(*strangers) any { return map[string]any{"status": "active"} }),
		"setUserRole":       admins.byPerson().with(func(*strangers) any { return map[string]any{"role": "user"} }),
		"resetUserPassword": adminsBlindly.byPerson().with(func(*strangers) any { return map[string]any{"new_password": password} }),
		"listUserLogins":    admins,
	}
}

// kiteTable is what each may do in Kite's API, which is for admins alone.
func kiteTable() map[string]may {
	var (
		sees = may{owner: forbidden, other: forbidden, operator: forbidden, admin: sees}
		does = may{owner: forbidden, other: forbidden, operator: forbidden, admin: does}
		own  = may{owner: forbidden, other: forbidden, operator: forbidden, admin: own}
	)
	return map[string]may{
		"kiteListClusters": sees,
		"kiteCreateCluster": own.with(func(s *strangers) any {
			return map[string]any{"name": s.word("registered"), "config": aKubeconfig}
		}),
		"kiteUpdateCluster": does.with(func(*strangers) any { return map[string]any{"description": "changed"} }),
		"kiteDeleteCluster": does,
		"kiteImportClusters": own.after(func(s *strangers) { s.endClusters() }).
			with(func(*strangers) any { return map[string]any{"config": aKubeconfig} }),
	}
}

// aKubeconfig is one as tenants in memory take it.
const aKubeconfig = "staging https://203.0.113.10:6443 secret"

// undocumented are the routes that are no operations of a document, with what
// they are for. All of them are for everybody and say nothing of anybody.
func undocumented() map[string]string {
	return map[string]string{
		"GET /openapi.json":                          "the document",
		"GET /openapi.yaml":                          "the document",
		"GET /openapi-3.0.json":                      "the document",
		"GET /openapi-3.0.yaml":                      "the document",
		"* /docs/*":                                  "the document's reader",
		"GET /avatars/{userID}/{picture}":            "a picture, for whoever knows its address",
		"HEAD /join":                                 "whether a token can be used",
		"HEAD /api/join/clusters/{clusterID}/script": "whether a token can be used",
	}
}

func (m may) with(body func(*strangers) any) may {
	m.body = body
	return m
}

func (m may) byPerson() may {
	m.inPerson = true
	return m
}

func (m may) after(ready func(*strangers)) may {
	m.ready = ready
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
	if of.byKey && m.inPerson && said.done() {
		return sessionRequired
	}
	if said != nothing {
		return said
	}
	return [...]verdict{forbidden, notFound, forbidden, forbidden, unauthenticated, csrfRejected}[who]
}

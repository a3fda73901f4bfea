package main_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every secret that a run makes or is given is of one of these kinds.
const (
	initialPassword  secretKind = "password that the first start made"
	madePassword     secretKind = "password that kubebyon admin made"
	tempPassword     secretKind = "password that an administrator had made"
	chosenPassword   secretKind = "password that somebody chose"
	wrongPassword    secretKind = "password that is wrong"
	refusedPassword  secretKind = "password that was refused"
	sessionValue     secretKind = "session"
	apiKeyValue      secretKind = "API key"
	joinTokenValue   secretKind = "join token"
	madeUpCredential secretKind = "credential that nobody gave out"
	bootstrapValue   secretKind = "bootstrap secret"
	adminKey         secretKind = "key of a cluster's administrator"
	authorityKey     secretKind = "key of an authority"
	accountsKey      secretKind = "key that signs service accounts"
	componentKey     secretKind = "key of a component"
	nodeKey          secretKind = "key of a node"
	accountToken     secretKind = "token of a service account"
	serverKey        secretKind = "key of the server"
	dataKey          secretKind = "data key of the server"
	databasePassword secretKind = "password of the database"
	brokerPassword   secretKind = "password of the broker"
	hostCredential   secretKind = "credential for the host"
	lastWord         secretKind = "secret in a control plane's last words"
	credentialHash   secretKind = "hash of a credential"
	settingSecret    secretKind = "secret in the system settings"
	channelSecret    secretKind = "secret of a channel for messages"
	hookAddress      secretKind = "address of a webhook"
	mailedWord       secretKind = "code from a letter"
	captchaWord      secretKind = "captcha token"
	wayCookie        secretKind = "cookie of a way to a sign-in provider"
	wayState         secretKind = "state or nonce of a way to a sign-in provider"
	wayVerifier      secretKind = "PKCE verifier"
	wayCode          secretKind = "code of a sign-in provider"
)

// givenOut says where each kind of secret is given out. Anywhere else it is a
// leak. A row that a run does not meet is wrong too.
var givenOut = []struct {
	kind   secretKind
	places []string // as in path.Match, but that * is anything
	runs   string   // where it is met: sqlite, postgres, both of them, states, host, or account
}{
	{initialPassword, []string{"file initial-admin-password", "output of kubebyon dev"}, "sqlite"},
	{madePassword, []string{"output of kubebyon admin create", "output of kubebyon admin reset"}, "both"},
	{tempPassword, []string{"answer to POST /api/console/admin/users/{id}/reset-password"}, "both"},
	{chosenPassword, nil, "both"},
	{wrongPassword, nil, "both"},
	{refusedPassword, nil, "both"},
	{sessionValue, []string{"answer's header Set-Cookie of POST /api/auth/login", "answer's header Set-Cookie of GET /api/auth/me"}, "both"},
	{apiKeyValue, []string{"answer to POST /api/console/api-keys"}, "both"},
	// curl is told in its arguments, as the join command stands in the answer. The
	// token serves once, and soon not at all.
	{joinTokenValue, []string{"answer to POST /api/console/clusters/{id}/join-token", "arguments of curl"}, "both"},
	{madeUpCredential, nil, "both"},
	{bootstrapValue, []string{
		"answer to GET /join", "answer to GET /api/join/clusters/{id}/script", "file planes/data/ID/etcd",
		"temporary file kubebyon-join/join.yaml", "temporary file kubebyon-join/mask.sed",
	}, "both"},
	{adminKey, []string{"answer to POST /api/console/clusters/{id}/kubeconfig", "file planes/data/ID/pki/admin.key", "file planes/data/ID/admin.kubeconfig"}, "both"},
	{authorityKey, []string{"file planes/data/ID/pki/ca.key", "file planes/data/ID/pki/front-proxy-ca.key"}, "both"},
	{accountsKey, []string{"file planes/data/ID/pki/sa.key"}, "both"},
	{componentKey, []string{"file planes/data/ID/pki/*.key", "file planes/data/ID/components/*.kubeconfig"}, "both"},
	{nodeKey, []string{"node's file node/*"}, "both"},
	{accountToken, nil, "both"}, // kubectl alone sees it
	{serverKey, []string{"file secret.key"}, "sqlite"},
	{serverKey, []string{"environment of kubebyon dev", "environment of kubebyon admin rotate-key"}, "postgres"}, // because this run gives it there
	{dataKey, nil, "both"},
	{databasePassword, []string{
		"environment of kubebyon dev", "environment of kubebyon admin create", "environment of kubebyon admin reset", "environment of kubebyon admin list",
		"environment of kubebyon admin rotate-key",
	}, "postgres"},
	{lastWord, nil, "both"},
	{settingSecret, nil, "both"},
	{credentialHash, []string{"database"}, "both"},
	// What kubebyon serve and its workers are given, in states in which they cannot
	// work, and with a host on which they do.
	{databasePassword, nil, "states"},
	{brokerPassword, nil, "states"},
	{hostCredential, nil, "states"},
	{serverKey, nil, "states"},
	{chosenPassword, nil, "states"},
	{refusedPassword, nil, "states"},
	{databasePassword, nil, "host"},
	{brokerPassword, nil, "host"},
	{hostCredential, nil, "host"},
	{serverKey, nil, "host"},
	{chosenPassword, nil, "host"},
	{sessionValue, []string{"answer's header Set-Cookie of POST /api/auth/login"}, "host"},
	{adminKey, []string{"answer to POST /api/console/clusters/{id}/kubeconfig"}, "host"},
	{credentialHash, []string{"database"}, "host"},
	// The life of an account, wherever accounts can live.
	{chosenPassword, nil, "account"},
	{serverKey, nil, "account"},
	{sessionValue, []string{
		"answer's header Set-Cookie of POST /api/auth/register", "answer's header Set-Cookie of POST /api/auth/login",
		"answer's header Set-Cookie of GET /api/auth/sso/company/callback",
	}, "account"},
	{apiKeyValue, []string{"answer to POST /api/console/api-keys"}, "account"},
	{mailedWord, []string{"letter"}, "account"},
	{captchaWord, nil, "account"},
	{wayCookie, []string{"answer's header Set-Cookie of GET /api/auth/sso/company/login"}, "account"},
	{wayState, []string{"answer's header Location of GET /api/auth/sso/company/login"}, "account"},
	{wayVerifier, nil, "account"},
	{wayCode, nil, "account"},
	{settingSecret, nil, "account"},
	{channelSecret, nil, "account"},
	{hookAddress, []string{"answer to GET /api/console/admin/notifications/config", "answer to PUT /api/console/admin/notifications/config"}, "account"},
	{credentialHash, []string{"database"}, "account"},
}

func isGivenOut(h hit) bool {
	for _, row := range givenOut {
		if row.kind == h.kind && slices.ContainsFunc(row.places, func(p string) bool { return isPlace(p, h.place) }) {
			return true
		}
	}
	return false
}

func isPlace(pattern, place string) bool {
	return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$").MatchString(place)
}

// A full run of the main job, with the failures that belong to it, on each
// database; then everything that it left anywhere is searched for every secret
// that it has seen.
func TestSecretsAreOnlyWhereTheyAreGivenOut(t *testing.T) {
	t.Parallel()
	requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	requireProgram(t, "KUBEBYON_KUBECTL", "kubectl")
	l, root := newLedger(), t.TempDir()
	stop := l.watchProcesses(t, root)
	ran := map[string]bool{"both": true}
	t.Run("runs", func(t *testing.T) {
		t.Run("sqlite", func(t *testing.T) {
			t.Parallel()
			ran["sqlite"] = true
			newLeakRun(t, l, root, "sqlite").all()
		})
		t.Run("postgres", func(t *testing.T) {
			r := newLeakRun(t, l, root, "postgres")
			if !r.usePostgres() {
				t.Skip("there is no PostgreSQL")
			}
			ran["postgres"] = true
			t.Parallel()
			r.all()
		})
	})
	rounds, processes := stop()
	if t.Failed() {
		return // what a broken run leaves says nothing of a whole one
	}
	texts := l.lookAtEvidence()
	l.judge(t, ran)
	t.Logf("looked at %d processes in %d rounds, %d texts, bytes by place: %v", processes, rounds, texts, l.searched)
}

// judge compares what was found with the table.
func (l *ledger) judge(t *testing.T, ran map[string]bool) {
	t.Helper()
	var leaks []string
	for h, n := range l.hits {
		if !isGivenOut(h) {
			leaks = append(leaks, fmt.Sprintf("a %s is in %s, %d times; first: %s", h.kind, h.place, n, l.first[h]))
		}
	}
	for _, e := range l.exposed {
		leaks = append(leaks, e)
	}
	slices.Sort(leaks)
	for _, leak := range leaks {
		t.Error(leak)
	}
	counts := map[secretKind]int{}
	for _, row := range givenOut {
		if counts[row.kind] = len(l.values[row.kind]); counts[row.kind] == 0 && ran[row.runs] {
			t.Errorf("the run has seen no %s", row.kind)
		}
		for _, p := range row.places {
			met := false
			for h := range l.hits {
				met = met || h.kind == row.kind && isPlace(p, h.place)
			}
			if !met && ran[row.runs] {
				t.Errorf("the table says that a %s is given out in %q, but none is there", row.kind, p)
			}
		}
	}
	for kind := range l.values {
		if _, listed := counts[kind]; !listed {
			t.Errorf("the table has no row for a %s", kind)
		}
	}
	t.Logf("searched for %v, as %d texts", counts, len(l.secrets))
}

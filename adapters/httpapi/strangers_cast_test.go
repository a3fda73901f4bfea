package httpapi_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi/session"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// member is somebody who asks, and as whom the table knows them.
type member struct {
	name string
	as   standing
	come func(*strangers) caller // with a session of their own, where they have one

	byKey   bool // with an API key
	foreign bool // a foreign page sends a credential that a browser would not add by itself
}

const (
	foreignOrigin = "https://evil.test"
	bannedEmail   = "bruno@kubebyon.test"
	resetEmail    = "rita@kubebyon.test"
	leavingEmail  = "lena@kubebyon.test"
	goneEmail     = "gus@kubebyon.test"
)

// theCast is everybody who asks. Those whose credential is not good any more
// were admins: a check that is missing lets them do everything.
func theCast() []member {
	signedIn := func(email string, headers ...string) func(*strangers) caller {
		return func(s *strangers) caller { return s.as(email).with(headers...) }
	}
	byKey := func(email string, headers ...string) func(*strangers) caller {
		return func(s *strangers) caller { return s.byKey(email, nil).with(headers...) }
	}
	beside := func(key, cookie string, headers ...string) func(*strangers) caller {
		return func(s *strangers) caller {
			return s.as(cookie).with("Authorization", s.byKey(key, nil).header.Get("Authorization")).with(headers...)
		}
	}
	cast := []member{
		{name: "the owner", as: asOwner, come: signedIn(userEmail)},
		{name: "the owner, from the server's own site", as: asOwner, come: signedIn(userEmail, "Origin", "http://"+host, "Sec-Fetch-Site", "same-origin")},
		{name: "the owner, by key", byKey: true, as: asOwner, come: byKey(userEmail)},
		{name: "the owner's key, sent by a foreign page", byKey: true, as: asOwner, foreign: true, come: byKey(userEmail, "Origin", foreignOrigin, "Sec-Fetch-Site", "cross-site")},
		{name: "the owner's key beside another's cookie", byKey: true, as: asOwner, come: beside(userEmail, otherEmail)},
		{name: "another", as: asOther, come: signedIn(otherEmail)},
		{name: "another, by key", byKey: true, as: asOther, come: byKey(otherEmail)},
		{name: "another's key beside the owner's cookie", byKey: true, as: asOther, come: beside(otherEmail, userEmail)},
		{name: "another's key beside an admin's cookie, from a foreign page", byKey: true, as: asOther, foreign: true, come: beside(otherEmail, adminEmail, "Origin", foreignOrigin)},
		{name: "an operator", as: asOperator, come: signedIn(operatorMail)},
		{name: "an operator, by key", byKey: true, as: asOperator, come: byKey(operatorMail)},
		{name: "an admin", as: asAdmin, come: signedIn(adminEmail)},
		{name: "an admin, by key", byKey: true, as: asAdmin, come: byKey(adminEmail)},

		{name: "nobody", as: asAnonymous, come: func(s *strangers) caller { return s.anybody() }},
		{name: "an empty Authorization beside an admin's cookie", as: asAnonymous, come: signedIn(adminEmail, "Authorization", "")},
		{name: "Basic beside an admin's cookie", as: asAnonymous, come: signedIn(adminEmail, "Authorization", "Basic YTpi")},
		{name: "an unknown key beside an admin's cookie", as: asAnonymous, come: signedIn(adminEmail, "Authorization", "Bearer kbk_unknown")},

		{name: "the owner, from a foreign page", as: asForeignPage, come: signedIn(userEmail, "Origin", foreignOrigin)},
		{name: "the owner, from a foreign page of the same site", as: asForeignPage, come: signedIn(userEmail, "Origin", "https://evil."+host, "Sec-Fetch-Site", "same-site")},
		{name: "the owner, from a page without an origin", as: asForeignPage, come: signedIn(userEmail, "Origin", "null")},
		{name: "the owner, from another site that does not say which", as: asForeignPage, come: signedIn(userEmail, "Sec-Fetch-Site", "cross-site")},
		{name: "the owner, from a page that forges the host", as: asForeignPage, come: signedIn(userEmail, "Origin", foreignOrigin, "X-Forwarded-Host", "evil.test", "X-Forwarded-Proto", "https")},
		{name: "the owner, from two origins", as: asForeignPage, come: func(s *strangers) caller {
			c := s.as(userEmail).with()
			c.header["Origin"] = []string{"http://" + host, foreignOrigin}
			return c
		}},
	}
	for _, name := range deadCredentials {
		cast = append(cast, member{name: name, as: asAnonymous, come: func(s *strangers) caller { return s.dead[name] }})
	}
	return cast
}

// deadCredentials were good once, or never.
var deadCredentials = []string{
	"an admin who signed out", "an admin who was away for a week", "an admin whose session is a month old",
	"an admin whose password was reset", "a banned admin", "a banned admin, by key", "an admin, by a key that has expired",
	"an admin who is no more", "an admin who is no more, by key",
	"an unknown session", "a session with one character changed", "a session as a key", "a key as a session",
	"two keys", "a good session before a bad one",
}

// strangers is a world with somebody who owns things and everybody who asks for
// them.
type strangers struct {
	*world
	mem   *memstore.Store
	deeds *deeds
	dead  map[string]caller
	words int
}

func newStrangers(t testing.TB) *strangers {
	t.Helper()
	mem, d := memstore.New(), new(deeds)
	s := &strangers{mem: mem, deeds: d, dead: map[string]caller{}}
	s.world = newWorldOf(t, parts{
		store: watchedStore{mem, d}, perUser: 1000,
		connect: func(c tenant.Connector) tenant.Connector { return watchedTenants{c, d} },
	})
	for _, email := range []string{bannedEmail, resetEmail, leavingEmail, goneEmail} {
		s.account(email, actor.Admin)
	}
	s.endSessions()
	return s
}

func (w *world) account(email string, role actor.Role) {
	w.t.Helper()
	if _, err := w.people.Create(w.t.Context(), identity.NewAccount{Email: email, Role: role, Password: secret.New(password)}); err != nil {
		w.t.Fatal(err)
	}
}

const day = 24 * time.Hour

// endSessions has good credentials end in every way there is, each after it
// has been seen to be good.
func (s *strangers) endSessions() {
	s.t.Helper()
	good := func(c caller) caller {
		c.do("GET", "/api/console/admin/activities", nil).want(200, "")
		return c
	}
	used, idle := good(s.as(leavingEmail)), good(s.as(leavingEmail))
	for range 4 {
		s.clock.advance(6 * day)
		good(used)
	}
	s.clock.advance(6*day - time.Millisecond)
	good(used) // a month but for a moment
	s.clock.advance(time.Millisecond)
	s.dead["an admin whose session is a month old"] = used
	s.dead["an admin who was away for a week"] = idle

	out := good(s.as(leavingEmail))
	out.do("POST", "/api/auth/logout", nil).want(204, "")
	s.dead["an admin who signed out"] = out

	reset := good(s.as(resetEmail))
	if _, err := s.people.ResetPassword(s.t.Context(), resetEmail, secret.New("another password")); err != nil {
		s.t.Fatal(err)
	}
	s.dead["an admin whose password was reset"] = reset

	s.dead["a banned admin"], s.dead["a banned admin, by key"] = good(s.as(bannedEmail)), good(s.byKey(bannedEmail, nil))
	s.ban(bannedEmail)

	s.dead["an admin who is no more"], s.dead["an admin who is no more, by key"] = good(s.as(goneEmail)), good(s.byKey(goneEmail, nil))
	s.write(func(ctx context.Context, tx store.Tx) error {
		u, err := tx.Users().ByEmail(ctx, goneEmail)
		if err != nil {
			return err
		}
		return tx.Users().Remove(ctx, u.ID, s.clock.now())
	})

	now := s.clock.now()
	s.dead["an admin, by a key that has expired"] = s.byKey(adminEmail, &now)
	s.forge()
}

// forge makes credentials that never were good.
func (s *strangers) forge() {
	s.t.Helper()
	admin, key := s.as(adminEmail), s.byKey(adminEmail, nil)
	cookie := func(tokens ...string) caller {
		var pairs []string
		for _, token := range tokens {
			pairs = append(pairs, session.CookieName+"="+token)
		}
		return s.anybody().with("Cookie", strings.Join(pairs, "; "))
	}
	token := strings.TrimPrefix(admin.header.Get("Cookie"), session.CookieName+"=")
	unknown := "kbs_" + strings.Repeat("A", 43)
	s.dead["an unknown session"] = cookie(unknown)
	s.dead["a session with one character changed"] = cookie(altered(token))
	s.dead["a session as a key"] = s.anybody().with("Authorization", "Bearer "+token)
	s.dead["a key as a session"] = cookie(strings.TrimPrefix(key.header.Get("Authorization"), "Bearer "))
	s.dead["a good session before a bad one"] = cookie(token, unknown)
	two := s.anybody()
	two.header["Authorization"] = slices.Repeat(key.header["Authorization"], 2)
	s.dead["two keys"] = two
}

// altered is text with one character in its middle changed: of an identifier,
// one of the same moment that was not given out.
func altered(text string) string {
	i := len(text) - 10
	c, other := byte('a'), byte('b')
	if strings.Trim(text, "0123456789") == "" { // of a number, another
		c, other = '7', '8'
	}
	if text[i] == c {
		c = other
	}
	return text[:i] + string(c) + text[i+1:]
}

// byKey makes an API key.
func (w *world) byKey(email string, expires *time.Time) caller {
	w.t.Helper()
	_, value := w.apiKey(email, expires)
	return w.anybody().with("Authorization", "Bearer "+value)
}

// apiKey puts one where they are kept, however many there are.
func (w *world) apiKey(email string, expires *time.Time) (key, value string) {
	w.t.Helper()
	raw, err := w.random.secret()
	if err != nil {
		w.t.Fatal(err)
	}
	value = fmt.Sprintf("kbk_%x", raw)
	sum := sha256.Sum256([]byte(value))
	i := id.New[id.APIKeyKind](w.clock.now(), w.random.id())
	u := w.user(email)
	w.write(func(ctx context.Context, tx store.Tx) error {
		return tx.APIKeys().Insert(ctx, store.APIKey{
			ID: i, UserID: u.ID, Name: "key", DisplayPrefix: value[:10],
			ValueHash: sum[:], CreatedAt: w.clock.now(), ExpiresAt: expires,
		})
	})
	return i.String(), value
}

func (w *world) user(email string) store.User {
	w.t.Helper()
	u, there := w.find(email)
	if !there {
		w.t.Fatalf("there is no %s", email)
	}
	return u
}

func (w *world) find(email string) (u store.User, there bool) {
	w.t.Helper()
	err := w.store.View(w.t.Context(), func(ctx context.Context, tx store.Tx) (err error) {
		u, err = tx.Users().ByEmail(ctx, email)
		return err
	})
	if err != nil && !errors.Is(err, fault.NotFound) {
		w.t.Fatal(err)
	}
	return u, err == nil
}

// revive makes the accounts anew that have been deleted.
func (w *world) revive() {
	w.t.Helper()
	for email, role := range members {
		if _, there := w.find(email); !there {
			w.account(email, role)
		}
	}
}

// endClusters has all clusters of all be gone.
func (w *world) endClusters() {
	w.t.Helper()
	w.write(func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Clusters().List(ctx, store.Everyone(), store.ClusterFilter{}, page.Query{Limit: page.MaxLimit})
		if err != nil {
			return err
		}
		for _, rec := range all.Items {
			c := clusters.Of(rec)
			c.Vanish(w.clock.now())
			rec = c.Record()
			if err := tx.Clusters().Update(ctx, &rec); err != nil {
				return err
			}
		}
		return nil
	})
}

// word is one that was not there before.
func (s *strangers) word(prefix string) string {
	s.words++
	return fmt.Sprintf("%s-%d", prefix, s.words)
}

// estate is what somebody owns: everything that a request can name.
type estate struct {
	owner string            // the e-mail address
	named map[string]string // by the name of a parameter
	marks []string          // of the owner and of all that is the owner's
}

// estate gives somebody a cluster with everything in it.
func (w *world) estate(email, name string) *estate {
	w.t.Helper()
	c := w.as(email)
	cluster := c.cluster(name+"-cluster", true)
	tokenID, value := c.token(cluster)
	e := &estate{owner: email, named: map[string]string{
		"clusterID": cluster, "tokenID": tokenID, "nodeID": w.node(cluster, name+"-node"),
		"cluster_id": cluster, "token": value, "provider": "company",
	}}
	e.named["node_id"] = e.named["nodeID"]
	e.named["number"] = w.number(cluster)
	e.named["id"] = e.named["number"]
	w.written(email)
	e.named["userID"] = w.user(email).ID.String()
	e.named["keyID"], _ = w.apiKey(email, nil)
	e.named["deliveryID"] = w.givenUp(email)
	used := w.used(cluster, 9_100_000_000+int64(crc32.ChecksumIEEE([]byte(name))))
	e.marks = append(idRE.FindAllString(w.holdings(e), -1), email, name, value[:10], "kubeconfig-secret-material", used)
	slices.Sort(e.marks)
	e.marks = slices.Compact(e.marks)
	return e
}

// number is the cluster's, spelt so that it is found in no other text.
func (w *world) number(cluster string) (text string) {
	w.t.Helper()
	w.write(func(ctx context.Context, tx store.Tx) error {
		rec, err := tx.Clusters().Get(ctx, store.Everyone(), w.clusterID(cluster))
		text = fmt.Sprintf("%012d", rec.Number)
		return err
	})
	return text
}

// written has a message to somebody wait to be delivered.
func (w *world) written(email string) {
	w.t.Helper()
	err := w.store.InTx(w.t.Context(), func(ctx context.Context, tx store.Tx) error {
		u, err := tx.Users().ByEmail(ctx, email)
		if err != nil {
			return err
		}
		return w.messages.Send(ctx, tx, identity.Letter{To: email, Template: "welcome", UserID: u.ID, Key: "welcome/" + u.ID.String()})
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// givenUp has a message to somebody given up, and returns its id.
func (w *world) givenUp(email string) string {
	w.t.Helper()
	var given id.Delivery
	err := w.store.InTx(w.t.Context(), func(ctx context.Context, tx store.Tx) error {
		u, err := tx.Users().ByEmail(ctx, email)
		if err != nil {
			return err
		}
		key := id.New[id.DeliveryKind](w.clock.now(), w.random.id()).String()
		if err := w.messages.Send(ctx, tx, identity.Letter{To: email, Template: "welcome", UserID: u.ID, Key: key}); err != nil {
			return err
		}
		now := w.clock.now()
		all, err := tx.Deliveries().Claim(ctx, "giver", notifications.Email, now, now.Add(time.Minute), 1000)
		for _, d := range all {
			if d.Key == "mail/"+key {
				d.Status, d.LastError, given = store.DeliveryDead, "No such user.", d.ID
			}
			if _, wrong := tx.Deliveries().Settle(ctx, d, "giver"); wrong != nil {
				return wrong
			}
		}
		return err
	})
	if err != nil || given.IsZero() {
		w.t.Fatalf("a message was not given up: %v", err)
	}
	return given.String()
}

// used has a cluster's control plane use so much of the processors at this
// minute, which no other one does, and returns it as text.
func (w *world) used(cluster string, cpu int64) string {
	w.t.Helper()
	err := w.store.InTx(w.t.Context(), func(ctx context.Context, tx store.Tx) error {
		_, err := tx.ControlPlaneSamples().Append(ctx, store.ControlPlaneSample{
			ClusterID: w.clusterID(cluster), At: w.clock.now().Truncate(time.Minute), Resolution: time.Minute, Measurements: 1,
			CPUMilli: cpu, MemoryMiB: 512, PodsReady: 1, PodsTotal: 2,
		})
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return strconv.FormatInt(cpu, 10)
}

var idRE = regexp.MustCompile(`[a-z]+_[0-9a-z]{26}`)

// holdings is all that is kept about an estate and its owner, as text.
func (w *world) holdings(e *estate) string {
	w.t.Helper()
	var b strings.Builder
	all := page.Query{Limit: page.MaxLimit}
	cluster := w.clusterID(e.named["clusterID"])
	token, err := id.Parse[id.TokenKind](e.named["tokenID"])
	if err != nil {
		w.t.Fatal(err)
	}
	err = w.store.View(w.t.Context(), func(ctx context.Context, tx store.Tx) error {
		owner, err := tx.Users().ByEmail(ctx, e.owner)
		note(&b, owner, err)
		keys, err := tx.APIKeys().List(ctx, owner.ID, all)
		note(&b, keys.Items, err)
		logins, err := tx.SignIns().List(ctx, owner.ID, all)
		note(&b, logins.Items, err)
		c, err := tx.Clusters().Get(ctx, store.OwnedBy(owner.ID), cluster)
		note(&b, c, err)
		t, err := tx.Tokens().Get(ctx, store.OwnedBy(owner.ID), token)
		note(&b, t, err)
		operations, err := tx.Operations().List(ctx, cluster, all)
		note(&b, operations.Items, err)
		jobs, err := tx.Jobs().List(ctx, store.JobFilter{ClusterID: cluster}, all)
		note(&b, jobs.Items, err)
		machines, err := tx.Nodes().List(ctx, store.OwnedBy(owner.ID), store.NodeFilter{ClusterID: cluster}, all)
		note(&b, machines.Items, err)
		events, err := tx.NodeEvents().List(ctx, store.OwnedBy(owner.ID), store.NodeEventFilter{ClusterID: cluster}, all)
		note(&b, events.Items, err)
		samples, err := tx.ControlPlaneSamples().Steps(ctx, store.OwnedBy(owner.ID), cluster, time.UnixMilli(0), w.clock.now().Add(time.Hour), time.Minute)
		note(&b, samples, err)
		audit, err := tx.Audit().List(ctx, store.AuditFilter{Actor: owner.ID}, all)
		note(&b, audit.Items, err)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return b.String()
}

func note(b *strings.Builder, what any, err error) { fmt.Fprintf(b, "%+v %v\n", what, err) }

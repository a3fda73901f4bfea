package httpapi_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/kubebyon/kubebyon/adapters/bunstore"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// deeds are what has been done to the state since somebody last looked.
type deeds struct {
	mu   sync.Mutex
	done []string
}

func (d *deeds) note(deed string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = append(d.done, deed)
}

// take returns the deeds and forgets them.
func (d *deeds) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.done
	d.done = nil
	return out
}

// watchedStore notes every transaction that was committed, as the tables that
// it used. What was not committed changed nothing, and a View cannot.
type watchedStore struct {
	store.Store
	deeds *deeds
}

func (s watchedStore) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	var used *usedTables
	err := s.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		used = &usedTables{Tx: tx}
		return do(ctx, used)
	})
	if err == nil && used != nil {
		slices.Sort(used.names)
		s.deeds.note(strings.Join(slices.Compact(used.names), " "))
	}
	return err
}

type usedTables struct {
	store.Tx
	names []string
}

func (u *usedTables) use(name string) store.Tx {
	u.names = append(u.names, name)
	return u.Tx
}

func (u *usedTables) Users() store.Users       { return u.use("users").Users() }
func (u *usedTables) Sessions() store.Sessions { return u.use("sessions").Sessions() }
func (u *usedTables) APIKeys() store.APIKeys   { return u.use("api_keys").APIKeys() }
func (u *usedTables) Codes() store.Codes       { return u.use("codes").Codes() }
func (u *usedTables) SSOIdentities() store.SSOIdentities {
	return u.use("sso_identities").SSOIdentities()
}
func (u *usedTables) SignIns() store.SignIns            { return u.use("sign_ins").SignIns() }
func (u *usedTables) Avatars() store.Avatars            { return u.use("avatars").Avatars() }
func (u *usedTables) Preferences() store.AllPreferences { return u.use("preferences").Preferences() }
func (u *usedTables) Settings() store.Settings          { return u.use("settings").Settings() }
func (u *usedTables) Deliveries() store.Deliveries      { return u.use("deliveries").Deliveries() }
func (u *usedTables) Clusters() store.Clusters          { return u.use("clusters").Clusters() }
func (u *usedTables) Fleet() store.Fleet                { return u.use("fleet").Fleet() }
func (u *usedTables) Operations() store.Operations      { return u.use("operations").Operations() }
func (u *usedTables) Jobs() store.Jobs                  { return u.use("jobs").Jobs() }
func (u *usedTables) Tokens() store.Tokens              { return u.use("tokens").Tokens() }
func (u *usedTables) Nodes() store.Nodes                { return u.use("nodes").Nodes() }
func (u *usedTables) NodeEvents() store.NodeEvents      { return u.use("node_events").NodeEvents() }
func (u *usedTables) Audit() store.Audit                { return u.use("audit").Audit() }
func (u *usedTables) Outbox() store.Outbox              { return u.use("outbox").Outbox() }
func (u *usedTables) Replies() store.Replies            { return u.use("replies").Replies() }
func (u *usedTables) Leases() store.Leases              { return u.use("leases").Leases() }
func (u *usedTables) Facts() store.Facts                { return u.use("facts").Facts() }

// watchedTenants note every call that may change a tenant.
type watchedTenants struct {
	tenant.Connector
	deeds *deeds
}

func (w watchedTenants) Connect(ctx context.Context, cluster id.Cluster, kubeconfig secret.Text) (tenant.Tenant, error) {
	t, err := w.Connector.Connect(ctx, cluster, kubeconfig)
	return watchedTenant{t, w.deeds}, err
}

type watchedTenant struct {
	tenant.Tenant
	deeds *deeds
}

func (w watchedTenant) PutBootstrapToken(ctx context.Context, b tenant.BootstrapToken) error {
	w.deeds.note("tenant: put bootstrap token")
	return w.Tenant.PutBootstrapToken(ctx, b)
}

func (w watchedTenant) DeleteBootstrapToken(ctx context.Context, bootstrap string) error {
	w.deeds.note("tenant: delete bootstrap token")
	return w.Tenant.DeleteBootstrapToken(ctx, bootstrap)
}

func (w watchedTenant) DecideJoin(ctx context.Context, name tenant.JoinRequest, approve bool, reason string) error {
	w.deeds.note("tenant: decide join")
	return w.Tenant.DecideJoin(ctx, name, approve, reason)
}

func (w watchedTenant) SetUnschedulable(ctx context.Context, node string, unschedulable bool) (tenant.Node, error) {
	w.deeds.note("tenant: set unschedulable")
	return w.Tenant.SetUnschedulable(ctx, node, unschedulable)
}

func (w watchedTenant) Drain(ctx context.Context, node string, o tenant.DrainOptions) (tenant.DrainReport, error) {
	w.deeds.note("tenant: drain")
	return w.Tenant.Drain(ctx, node, o)
}

func (w watchedTenant) DeleteNode(ctx context.Context, node string) error {
	w.deeds.note("tenant: delete node")
	return w.Tenant.DeleteNode(ctx, node)
}

// openSQLite and openPostgres return stores with empty tables.
func openSQLite(t *testing.T) store.Store {
	return openStore(t, "sqlite:"+filepath.Join(t.TempDir(), "kubebyon.db"))
}

func openPostgres(t *testing.T) store.Store { return openStore(t, emptyPostgres(t)) }

// emptyPostgres is the address of a schema of the test's own.
func emptyPostgres(t *testing.T) string {
	t.Helper()
	at := os.Getenv("KUBEBYON_TEST_DATABASE_URL")
	if at == "" {
		at = "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"
	}
	c, err := pgx.Connect(t.Context(), at)
	if err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	schema := "kubebyon_rubbish_" + strings.ToLower(rand.Text())
	if _, err := c.Exec(t.Context(), "CREATE SCHEMA "+schema); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := c.Exec(context.Background(), "DROP SCHEMA "+schema+" CASCADE")
		if err != nil {
			t.Error(err)
		}
		_ = c.Close(context.Background())
	})
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("search_path", schema)
	q.Set("synchronous_commit", "off")
	u.RawQuery = q.Encode()
	return u.String()
}

func openStore(t *testing.T, at string) store.Store {
	t.Helper()
	s, err := bunstore.New(bunstore.Config{URL: at, MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// place is a cluster with all that requests can be about.
type place struct{ cluster, number, tokenID, token, node, key, delivery string }

// stage is a world in which there is always something to ask for.
type stage struct {
	*world
	deeds   *deeds
	people  map[string]caller
	person  string // the id of an account that asks for nothing
	places  []place
	cursors map[string]string // the next page of each list
	made    int
}

const placesKept = 3

func newStage(t *testing.T, s store.Store) *stage {
	t.Helper()
	d := new(deeds)
	st := &stage{deeds: d, people: map[string]caller{}, cursors: map[string]string{}}
	st.world = newWorldOf(t, parts{
		store: watchedStore{s, d}, perUser: 1_000_000,
		connect: func(c tenant.Connector) tenant.Connector { return watchedTenants{c, d} },
	})
	for _, email := range []string{userEmail, otherEmail, adminEmail, operatorMail} {
		st.people[email] = st.as(email)
	}
	const nobody = "noah@kubebyon.test"
	st.account(nobody, actor.User)
	st.person = st.user(nobody).ID.String()
	return st
}

// place returns a place that has everything, and makes what is missing.
func (s *stage) place(n int) place {
	s.t.Helper()
	for len(s.places) < placesKept {
		s.made++
		s.places = append(s.places, place{cluster: s.people[userEmail].cluster(fmt.Sprintf("stage-%d", s.made), true)})
	}
	p := &s.places[n%placesKept]
	if p.number == "" {
		p.number = s.number(p.cluster)
	}
	if p.token == "" {
		p.tokenID, p.token = s.people[userEmail].token(p.cluster)
	}
	if p.node == "" {
		s.made++
		p.node = s.node(p.cluster, fmt.Sprintf("worker-%d", s.made))
	}
	if p.key == "" {
		p.key, _ = s.apiKey(userEmail, nil)
	}
	if p.delivery == "" {
		p.delivery = s.givenUp(userEmail)
	}
	s.deeds.take()
	return *p
}

// after keeps the stage small: what an accepted request made or broke goes.
func (s *stage) after(operation string, about place, a answer) {
	s.t.Helper()
	switch operation {
	case "createCluster":
		s.remove(a.text("cluster", "id"))
	case "registerCluster":
		s.remove(a.text("cluster", "cluster_id"))
	case "kiteCreateCluster":
		s.remove(s.numbered(a))
	case "kiteImportClusters":
		s.endClusters()
		s.places = nil
	case "deleteCluster", "removeFleetCluster", "kiteDeleteCluster":
		s.remove(about.cluster)
		s.leave(about)
	case "updateCluster":
		s.change(about.cluster, func(c *clusters.Cluster) { c.Reach(s.clock.now()) })
	case "createAPIKey":
		s.dropKey(a.text("api_key", "id"))
	case "retryDelivery":
		for i := range s.places {
			if s.places[i].delivery == about.delivery {
				s.places[i].delivery = ""
			}
		}
	case "revokeToken", "deleteNode", "deleteAPIKey":
		for i := range s.places {
			if operation == "revokeToken" && s.places[i].tokenID == about.tokenID {
				s.places[i].token = ""
			}
			if operation == "deleteAPIKey" && s.places[i].key == about.key {
				s.dropKey(about.key) // it was not deleted by somebody whose it is not
				s.places[i].key = ""
			}
			if operation == "deleteNode" && s.places[i].node == about.node {
				s.places[i].node = ""
			}
		}
	}
	s.deeds.take()
}

// numbered is the cluster whose number an answer tells as its id.
func (s *stage) numbered(a answer) (cluster string) {
	s.t.Helper()
	number, _ := a.at("id").(float64)
	s.write(func(ctx context.Context, tx store.Tx) error {
		m, err := tx.Fleet().ByNumber(ctx, store.Everyone(), int64(number))
		cluster = m.Cluster.ID.String()
		return err
	})
	return cluster
}

// dropKey deletes an API key, whosever it is.
func (s *stage) dropKey(key string) {
	s.t.Helper()
	i, err := id.Parse[id.APIKeyKind](key)
	if err != nil {
		s.t.Fatal(err)
	}
	for email := range s.people {
		u := s.user(email)
		s.write(func(ctx context.Context, tx store.Tx) error {
			_, err := tx.APIKeys().Delete(ctx, u.ID, i)
			return err
		})
	}
}

// leave has another place take about's.
func (s *stage) leave(about place) {
	s.places = slices.DeleteFunc(s.places, func(p place) bool { return p.cluster == about.cluster })
}

// remove does what a worker would do to a cluster that is not wanted.
func (s *stage) remove(cluster string) {
	s.t.Helper()
	s.write(func(ctx context.Context, tx store.Tx) error {
		rec, err := tx.Clusters().Get(ctx, store.Everyone(), s.clusterID(cluster))
		if err != nil {
			return err
		}
		c := clusters.Of(rec)
		c.Vanish(s.clock.now())
		rec = c.Record()
		return tx.Clusters().Update(ctx, &rec)
	})
}

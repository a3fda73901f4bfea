package bunstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

// keptRecords are what a fixture holds, as the store tells them: something in
// every table.
type keptRecords struct {
	Users       []store.User
	Sessions    []store.Session
	APIKeys     []store.APIKey
	Codes       []store.Code
	Identities  []store.SSOIdentity
	SignIns     []store.SignIn
	Avatars     []store.Avatar
	Preferences []store.Preferences
	Settings    []store.Setting
	Deliveries  []store.Delivery
	Clusters    []store.Cluster
	Deleted     []store.Cluster
	Operations  []store.Operation
	Jobs        []store.Job
	Tokens      []store.Token
	Nodes       []store.Node
	NodeEvents  []store.NodeEvent
	Audit       []store.AuditEvent
	Outbox      []store.OutboxMessage
	Replies     []store.Reply
	Leases      []keptLease
	Facts       map[string][]byte
	Samples     []store.ControlPlaneSample
}

// keptLease is told by the table: not every program's port could.
type keptLease struct{ Name, Holder string }

// keptAt is when the records of a fixture were written.
var keptAt = time.Date(2026, 11, 21, 10, 50, 18, 123e6, time.UTC)

func keptID[K id.Kind](n byte) id.ID[K] {
	return id.New[K](keptAt.Add(time.Duration(n)*time.Second), [10]byte{9: n})
}

// newRecords is two of most things, with text that is easily damaged.
func newRecords() keptRecords {
	later := keptAt.Add(time.Hour)
	ann, bob := keptID[id.UserKind](1), keptID[id.UserKind](2)
	live, gone := keptID[id.ClusterKind](1), keptID[id.ClusterKind](2)
	cluster := func(i id.Cluster, owner id.User, name string) store.Cluster {
		return store.Cluster{
			ID: i, OwnerUserID: owner, Origin: "console", Name: name, VclusterName: "vc-" + name, Namespace: "tenant-" + name,
			ControlPlaneHost: name + ".example.com", FormerHosts: []string{"old.example.com", "älter.example.com"}, KubernetesVersion: "v1.34.1",
			WorkloadCPULimitMilli: 2500, WorkloadMemoryLimitMiB: 4096, ControlPlaneCPURequestMilli: 200, ControlPlaneMemoryRequestMiB: 512,
			PublicAccessEnabled: true, PublicAccessMode: "direct", PublicAccessPort: 6443, APIEndpoint: "https://127.0.0.1:6443",
			Status: "ready", ConnectionStatus: "reachable", KubeconfigAvailableAt: &keptAt, LastObservedAt: &later,
			LastErrorMessage: "it's \"100%\" _ ? ?0 $1 \\ 日本 🙂\n--", Generation: 3, ObservedGeneration: 2, CreatedAt: keptAt, UpdatedAt: later,
		}
	}
	deleted := cluster(gone, bob, "gone")
	deleted.Status, deleted.DeletedAt = "deleted", &later
	out := keptRecords{
		Users: []store.User{
			{ID: ann, Email: "ann@example.com", Name: "Ann Zoë 日本", AvatarURL: "https://example.com/a.png", Role: "admin", Status: "active", PasswordHash: "$argon2id$ann", CreatedAt: keptAt, UpdatedAt: later, LastLoginAt: &later},
			{ID: bob, Email: "bob@example.com", Name: "Bob", Role: "user", Status: "banned", CreatedAt: keptAt, UpdatedAt: keptAt},
		},
		Sessions: []store.Session{{ID: keptID[id.SessionKind](1), UserID: ann, TokenHash: []byte("session \x00\xff"), CreatedAt: keptAt, ExpiresAt: later, EndsAt: later, IP: "::1", UserAgent: "curl/8"}},
		APIKeys: []store.APIKey{
			{ID: keptID[id.APIKeyKind](1), UserID: ann, Number: 1, Name: "ci", DisplayPrefix: "kbk_ab", ValueHash: []byte("key 1"), CreatedAt: keptAt, ExpiresAt: &later, LastUsedAt: &later},
			{ID: keptID[id.APIKeyKind](2), UserID: bob, Number: 1, Name: "for ever", DisplayPrefix: "kbk_cd", ValueHash: []byte("key 2"), CreatedAt: keptAt},
		},
		Codes:      []store.Code{{Purpose: "reset", Address: "ann@example.com", Hash: []byte{0, 255}, CreatedAt: keptAt, ExpiresAt: later, Tries: 2}},
		Identities: []store.SSOIdentity{{Provider: "github", SubjectHash: []byte{1, 0, 255}, UserID: ann, CreatedAt: keptAt, LastUsedAt: later}},
		SignIns: []store.SignIn{
			{ID: keptID[id.SignInKind](1), UserID: ann, At: keptAt, IP: "::1", UserAgent: "curl/8", Method: "password", Result: "success"},
			{ID: keptID[id.SignInKind](2), At: later, IP: "10.0.0.1", Method: "github", Result: "failure"},
		},
		Avatars:     []store.Avatar{{UserID: ann, Tag: "00ff", ContentType: "image/png", Body: []byte("\x89PNG\x00"), UpdatedAt: later}},
		Preferences: []store.Preferences{{UserID: bob, Email: true, Slack: true, SlackTarget: "#日本", Telegram: true, TelegramChatID: "-100", UpdatedAt: keptAt}},
		Settings:    []store.Setting{{Name: "smtp", Value: []byte(`{"host":"ä"}`), Sealed: []byte("sealed \x00"), Version: 1, UpdatedAt: later}},
		Deliveries: []store.Delivery{
			{ID: keptID[id.DeliveryKind](1), Key: "welcome/ann", Template: "welcome", Channel: "email", UserID: ann, Target: "a***@example.com", Status: "delivered", Attempts: 2, DueAt: keptAt, LastError: "once", CreatedAt: keptAt, UpdatedAt: later, DeliveredAt: &later},
			{ID: keptID[id.DeliveryKind](2), Key: "alert/1", Template: "cluster-alert", Channel: "slack", Target: "#ops", Sealed: []byte{0, 255}, Status: "pending", Attempts: 1, DueAt: keptAt, Holder: "dev", LeasedUntil: &later, CreatedAt: keptAt, UpdatedAt: keptAt},
		},
		Clusters: []store.Cluster{cluster(live, ann, "Demo")},
		Deleted:  []store.Cluster{deleted},
		Audit: []store.AuditEvent{
			{ID: keptID[id.AuditKind](1), OccurredAt: keptAt, ActorUserID: ann, ActorType: "person", ActorMethod: "session", ResourceType: "cluster", ResourceID: live.String(), Action: "create", Result: "success", Message: "Asked for it.", ClusterID: live, ClusterName: "Demo", NodeName: "n"},
			{ID: keptID[id.AuditKind](2), OccurredAt: later, ActorType: "process", ResourceType: "session", Action: "login", Result: "failure", Message: "No.", Security: true},
		},
		Outbox: []store.OutboxMessage{
			{ID: keptID[id.MessageKind](2), Type: "job", Key: live.String(), At: later, Body: []byte(`{"a":"\u0000"}`)},
			{ID: keptID[id.MessageKind](1), Type: "job", Key: live.String(), At: keptAt, Body: []byte{0, 255}},
		},
		Replies: []store.Reply{{ReplyKey: store.ReplyKey{User: ann, Operation: "create-cluster", Key: "k 1"}, RequestHash: []byte{1, 2}, Sealed: []byte("sealed"), CreatedAt: keptAt}},
		Leases:  []keptLease{{Name: "watch/" + live.String(), Holder: "dev"}},
		Facts:   map[string][]byte{"secret-key-check": []byte("sealed \x00")},
	}
	out.addWork(live, ann, later)
	return out
}

// addWork adds what happened to a cluster.
func (r *keptRecords) addWork(live id.Cluster, ann id.User, later time.Time) {
	done, open := keptID[id.OperationKind](1), keptID[id.OperationKind](2)
	r.Operations = []store.Operation{
		{ID: done, ClusterID: live, Type: "create", Status: "succeeded", Stage: "done", RequestedByUserID: ann, Generation: 1, StartedAt: &keptAt, FinishedAt: &later, CreatedAt: keptAt, UpdatedAt: later},
		{ID: open, ClusterID: live, Type: "update", Status: "pending", Stage: "queued", ErrorMessage: "not yet", Generation: 2, CreatedAt: later, UpdatedAt: later},
	}
	r.Jobs = []store.Job{
		{ID: keptID[id.JobKind](1), ClusterID: live, OperationID: done, Type: "create", Status: "succeeded", AttemptCount: 2, PublishedAt: &keptAt, NotBefore: keptAt, WorkerID: "dev/0", LastError: "once", StartedAt: &keptAt, FinishedAt: &later, CreatedAt: keptAt, UpdatedAt: later},
		{ID: keptID[id.JobKind](2), ClusterID: live, OperationID: open, Type: "update", Status: store.JobPending, NotBefore: later, CreatedAt: later, UpdatedAt: later},
	}
	minute := keptAt.Truncate(time.Minute)
	r.Samples = []store.ControlPlaneSample{
		{ClusterID: live, At: minute.Truncate(15 * time.Minute).Add(-time.Hour), Resolution: 15 * time.Minute, Measurements: 14, CPUMilli: 1400, MemoryMiB: 4200, PodsReady: 13, PodsTotal: 14},
		{ClusterID: live, At: minute, Resolution: time.Minute, Measurements: 1, CPUMilli: 123, MemoryMiB: 305, PodsReady: 1, PodsTotal: 2},
	}
	node := keptID[id.NodeKind](1)
	r.Tokens = []store.Token{
		{ID: keptID[id.TokenKind](1), ClusterID: live, ValueHash: []byte("token 1"), DisplayPrefix: "kbt_ab", BootstrapID: "abcdef", BootstrapSecretName: "bootstrap-token-abcdef", Status: "used", ClaimedNodeName: "worker-1", ClaimedKeyHash: "sha256:00", CreatedByUserID: ann, UsedByNodeID: node, ExpiresAt: later, CreatedAt: keptAt, UsedAt: &later},
		{ID: keptID[id.TokenKind](2), ClusterID: live, ValueHash: []byte("token 2"), DisplayPrefix: "kbt_cd", BootstrapID: "ghijkl", Status: "active", SecretInTenant: true, ExpiresAt: later, CreatedAt: keptAt},
	}
	r.Nodes = []store.Node{
		{ID: node, ClusterID: live, Name: "worker-1", UID: "uid", Status: "ready", InternalIP: "10.0.0.1", PodCIDR: "10.1.0.0/24", OSImage: "Debian", KubeletVersion: "v1.34.1", ContainerRuntimeVersion: "containerd://2", Labels: map[string]string{"a/b": "ü"}, CPUAllocatableMilli: 4000, MemoryAllocatableBytes: 8 << 30, EphemeralStorageAllocatable: 1 << 40, Source: "watch", LastSeenAt: &later, ReadyAt: &later, CreatedAt: keptAt, UpdatedAt: later},
		{ID: keptID[id.NodeKind](2), ClusterID: live, Name: "worker-2", Status: "offline", Unschedulable: true, CPUAllocatableMilli: 1000, OfflineAt: &later, CreatedAt: keptAt, UpdatedAt: later},
	}
	r.NodeEvents = []store.NodeEvent{
		{ID: keptID[id.NodeEventKind](1), ClusterID: live, NodeID: node, NodeName: "worker-1", Type: "joined", NewStatus: "ready", Message: "It has joined.", ObservedAt: keptAt},
		{ID: keptID[id.NodeEventKind](2), ClusterID: live, NodeID: keptID[id.NodeKind](2), NodeName: "worker-2", Type: "offline", OldStatus: "ready", NewStatus: "offline", Message: "It is gone.", ObservedAt: later},
	}
}

// keep writes the records in one transaction.
func (r keptRecords) keep(t testing.TB, s *Store) {
	t.Helper()
	err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		each(t, r.Users, func(v store.User) error { return tx.Users().Insert(ctx, v) })
		each(t, r.Sessions, func(v store.Session) error { return tx.Sessions().Insert(ctx, v) })
		each(t, r.APIKeys, func(v store.APIKey) error { return tx.APIKeys().Insert(ctx, v) })
		each(t, r.Codes, func(v store.Code) error { return tx.Codes().Put(ctx, v) })
		each(t, r.Identities, func(v store.SSOIdentity) error { return tx.SSOIdentities().Insert(ctx, v) })
		each(t, r.SignIns, func(v store.SignIn) error { return tx.SignIns().Append(ctx, v) })
		each(t, r.Avatars, func(v store.Avatar) error { return tx.Avatars().Put(ctx, v) })
		each(t, r.Preferences, func(v store.Preferences) error { return tx.Preferences().Put(ctx, v) })
		each(t, r.Settings, func(v store.Setting) error { v.Version = 0; return tx.Settings().Put(ctx, &v) })
		each(t, r.Deliveries, func(v store.Delivery) error { return tx.Deliveries().Insert(ctx, v) })
		each(t, slices.Concat(r.Clusters, r.Deleted), func(v store.Cluster) error { return tx.Clusters().Insert(ctx, &v) })
		each(t, r.Operations, func(v store.Operation) error { return tx.Operations().Insert(ctx, v) })
		each(t, r.Jobs, func(v store.Job) error { return tx.Jobs().Insert(ctx, v) })
		each(t, r.Tokens, func(v store.Token) error { return tx.Tokens().Insert(ctx, v) })
		each(t, r.Nodes, func(v store.Node) error { return tx.Nodes().Insert(ctx, v) })
		each(t, r.NodeEvents, func(v store.NodeEvent) error { return tx.NodeEvents().Append(ctx, v) })
		each(t, r.Audit, func(v store.AuditEvent) error { return tx.Audit().Append(ctx, v) })
		each(t, r.Outbox, func(v store.OutboxMessage) error { return tx.Outbox().Append(ctx, v) })
		each(t, r.Replies, func(v store.Reply) error { return tx.Replies().Insert(ctx, v) })
		each(t, r.Leases, func(v keptLease) error {
			_, err := tx.Leases().Acquire(ctx, []string{v.Name}, v.Holder, keptAt, keptAt.Add(time.Hour))
			return err
		})
		each(t, r.Samples, func(v store.ControlPlaneSample) error { _, err := tx.ControlPlaneSamples().Append(ctx, v); return err })
		return tx.Facts().Set(ctx, "secret-key-check", r.Facts["secret-key-check"])
	})
	if err != nil {
		t.Fatal(err)
	}
}

func each[R any](t testing.TB, all []R, do func(R) error) {
	t.Helper()
	for _, v := range all {
		if err := do(v); err != nil {
			t.Fatalf("%T: %v", v, err)
		}
	}
}

// readRecords reads through the port everything that keep has written.
func readRecords(t testing.TB, s *Store, known keptRecords) (r keptRecords) {
	t.Helper()
	all, q := store.Everyone(), page.Query{}
	err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) (err error) {
		r.Users = oldest(tx.Users().List(ctx, store.UserFilter{}, q))
		for _, v := range known.Sessions {
			got, _, err := tx.Sessions().ByTokenHash(ctx, v.TokenHash)
			r.Sessions = append(r.Sessions, must(got, err))
		}
		for _, v := range known.APIKeys {
			got, _, err := tx.APIKeys().ByValueHash(ctx, v.ValueHash)
			r.APIKeys = append(r.APIKeys, must(got, err))
		}
		r.readProfiles(ctx, s, tx, known)
		r.Clusters = oldest(tx.Clusters().List(ctx, all, store.ClusterFilter{}, q))
		for _, v := range known.Deleted {
			r.Deleted = append(r.Deleted, must(deletedCluster(ctx, s, v.ID)))
		}
		for _, c := range known.Clusters {
			r.Operations = append(r.Operations, oldest(tx.Operations().List(ctx, c.ID, q))...)
		}
		r.Jobs = oldest(tx.Jobs().List(ctx, store.JobFilter{}, q))
		for _, v := range known.Tokens {
			got, err := tx.Tokens().Get(ctx, all, v.ID)
			r.Tokens = append(r.Tokens, must(got, err))
		}
		r.Nodes = oldest(tx.Nodes().List(ctx, all, store.NodeFilter{}, q))
		r.NodeEvents = oldest(tx.NodeEvents().List(ctx, all, store.NodeEventFilter{}, q))
		r.Audit = oldest(tx.Audit().List(ctx, store.AuditFilter{}, q))
		got, err := tx.Outbox().Claim(ctx, 100)
		r.Outbox = must(got, err)
		for _, v := range known.Replies {
			got, err := tx.Replies().Get(ctx, v.ReplyKey)
			r.Replies = append(r.Replies, must(got, err))
		}
		for _, v := range known.Samples {
			got, err := tx.ControlPlaneSamples().Steps(ctx, all, v.ClusterID, v.At, v.At.Add(v.Resolution), v.Resolution)
			r.Samples = append(r.Samples, must(got, err)...)
		}
		r.Facts = map[string][]byte{}
		for name := range known.Facts {
			got, err := tx.Facts().Get(ctx, name)
			r.Facts[name] = must(got, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.reader.NewRaw("SELECT name, holder FROM leases ORDER BY name").Scan(t.Context(), &r.Leases); err != nil {
		t.Fatal(err)
	}
	return r
}

// readProfiles reads what is each person's own.
func (r *keptRecords) readProfiles(ctx context.Context, s *Store, tx store.Tx, known keptRecords) {
	for _, v := range known.Codes {
		got, err := tx.Codes().Get(ctx, v.Purpose, v.Address)
		r.Codes = append(r.Codes, must(got, err))
	}
	for _, v := range known.Identities {
		got, _, err := tx.SSOIdentities().Get(ctx, v.Provider, v.SubjectHash)
		r.Identities = append(r.Identities, must(got, err))
	}
	for _, v := range known.SignIns {
		var row signInRow // those of nobody known are in no list
		err := s.reader.NewSelect().Model(&row).Where("g.id = ?", v.ID.String()).Scan(ctx)
		r.SignIns = append(r.SignIns, must(row.record(), err))
	}
	settings, err := tx.Settings().All(ctx)
	r.Settings = must(settings, err)
	r.Deliveries = oldest(tx.Deliveries().List(ctx, store.DeliveryFilter{}, page.Query{}))
	for _, v := range known.Avatars {
		got, err := tx.Avatars().Get(ctx, v.UserID, v.Tag)
		r.Avatars = append(r.Avatars, must(got, err))
	}
	for _, v := range known.Preferences {
		got, err := tx.Preferences().Get(ctx, v.UserID)
		r.Preferences = append(r.Preferences, must(got, err))
	}
}

// deletedCluster reads what the port does not show.
func deletedCluster(ctx context.Context, s *Store, c id.Cluster) (store.Cluster, error) {
	var r clusterRow
	err := s.reader.NewSelect().Model(&r).Where("c.id = ?", c.String()).Scan(ctx)
	return r.record(), err
}

// must is for what only a broken test makes fail.
func must[R any](v R, err error) R {
	if err != nil {
		panic(err)
	}
	return v
}

func oldest[R any](p page.Of[R], err error) []R {
	slices.Reverse(must(p, err).Items)
	return p.Items
}

// differences names the fields that a fixture's records have and that are
// otherwise now. Fields that have come since then are not compared.
func differences(t testing.TB, kept []byte, now any) (out []string) {
	t.Helper()
	var was, is any
	if err := errors.Join(json.Unmarshal(kept, &was), json.Unmarshal(must(json.Marshal(now)), &is)); err != nil {
		t.Fatal(err)
	}
	compareJSON("", was, is, &out)
	return out
}

func compareJSON(path string, was, is any, out *[]string) {
	switch was := was.(type) {
	case map[string]any:
		now, ok := is.(map[string]any)
		if !ok {
			break
		}
		for _, k := range slices.Sorted(maps.Keys(was)) {
			compareJSON(path+"."+k, was[k], now[k], out)
		}
		return
	case []any:
		now, ok := is.([]any)
		if !ok || len(now) != len(was) {
			break
		}
		for i := range was {
			compareJSON(fmt.Sprintf("%s[%d]", path, i), was[i], now[i], out)
		}
		return
	}
	if !reflect.DeepEqual(was, is) {
		*out = append(*out, fmt.Sprintf("%s was %v and is %v", path, was, is))
	}
}

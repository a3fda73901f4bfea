package storetest

import (
	"context"
	"encoding/binary"
	"fmt"
	"reflect"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// start is when everything in a world begins.
var start = time.Date(2030, 1, 2, 3, 4, 5, 678e6, time.UTC)

func after(d time.Duration) time.Time { return start.Add(d) }

// newID makes identifiers that rise.
func newID[K id.Kind](w *world) id.ID[K] {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.made++
	var random [10]byte
	binary.BigEndian.PutUint32(random[:], w.made)
	return id.New[K](start, random)
}

// number is one that nothing else has.
func (w *world) number() uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.made++
	return w.made
}

// fill gives every field that is zero a value that no other field has, with
// text and times that are easily damaged.
func fill(rec any, seed int) {
	n := seed * 1000
	fillValue(reflect.ValueOf(rec).Elem(), "", &n)
}

var timeType = reflect.TypeFor[time.Time]()

func fillValue(v reflect.Value, name string, n *int) {
	*n++
	switch {
	case !v.CanSet() || v.Kind() != reflect.Struct && !v.IsZero():
		return
	case v.Type() == timeType && v.IsZero():
		v.Set(reflect.ValueOf(after(time.Duration(*n) * 1001 * time.Millisecond)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("%s %d Zoë 日本 🙂 'it''s' \"x\" \\ %% _ ? ?0 $1 :a {} \t\r\n --", name, *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n) + 1<<20)
	case reflect.Struct: // an identifier has no field that can be set
		for field, f := range v.Fields() {
			fillValue(f, field.Name, n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillValue(v.Elem(), name, n)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(fmt.Appendf(nil, "%s %d \x00\xff\\'", name, *n))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fillValue(v.Index(0), name, n)
		fillValue(v.Index(1), name, n)
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{name + "/ключ": "a<b>&c", "b.c/d-e": "", "quo'te\"": "\\"}))
	default:
		panic("storetest: cannot fill a " + v.Type().String())
	}
}

// same compares records field by field. Times have to be the same in UTC;
// nothing and emptiness are one.
func same[R any](w *world, got, want R) {
	w.Helper()
	g, m := reflect.ValueOf(got), reflect.ValueOf(want)
	for field, f := range g.Fields() {
		if other := m.FieldByIndex(field.Index); !equal(f, other) {
			w.Errorf("%T.%s: got %#v, want %#v", got, field.Name, show(f), show(other))
		}
	}
}

func equal(a, b reflect.Value) bool {
	if k := a.Kind(); (k == reflect.Slice || k == reflect.Map) && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

func show(v reflect.Value) any {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if s, ok := reflect.TypeAssert[fmt.Stringer](v); ok {
		return s.String()
	}
	return v.Interface()
}

// user stores an account that may own things.
func (w *world) user(change ...func(*store.User)) store.User {
	w.Helper()
	u := w.newUser(change...)
	w.tx(func(ctx context.Context, tx store.Tx) (err error) {
		w.must(tx.Users().Insert(ctx, u))
		u, err = tx.Users().Get(ctx, u.ID)
		return err
	})
	return u
}

func (w *world) newUser(change ...func(*store.User)) store.User {
	u := store.User{ID: newID[id.UserKind](w), Role: "user", Status: "active"}
	u.Email = u.ID.String() + "@example.com"
	return finish(w, u, change)
}

// finish fills what a sample left open and lets the check have its way.
func finish[R any](w *world, rec R, change []func(*R)) R {
	w.mu.Lock()
	seed := int(w.made)
	w.mu.Unlock()
	fill(&rec, seed)
	for _, c := range change {
		c(&rec)
	}
	return rec
}

// cluster stores a live cluster.
func (w *world) cluster(owner store.User, change ...func(*store.Cluster)) store.Cluster {
	w.Helper()
	c := w.newCluster(owner, change...)
	w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Clusters().Insert(ctx, &c) })
	return c
}

func (w *world) newCluster(owner store.User, change ...func(*store.Cluster)) store.Cluster {
	c := store.Cluster{ID: newID[id.ClusterKind](w), OwnerUserID: owner.ID, Status: "ready"}
	c.VclusterName = "vc-" + c.ID.String()
	return finish(w, c, append([]func(*store.Cluster){func(c *store.Cluster) { c.DeletedAt = nil }}, change...))
}

// bury marks a cluster as deleted.
func (w *world) bury(c *store.Cluster) {
	w.Helper()
	c.DeletedAt, c.Status = new(start), "deleted"
	w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Clusters().Update(ctx, c) })
}

func (w *world) session(u store.User, change ...func(*store.Session)) store.Session {
	w.Helper()
	s := w.newSession(u, change...)
	w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Sessions().Insert(ctx, s) })
	return s
}

func (w *world) newSession(u store.User, change ...func(*store.Session)) store.Session {
	return finish(w, store.Session{ID: newID[id.SessionKind](w), UserID: u.ID}, change)
}

func (w *world) apiKey(u store.User, change ...func(*store.APIKey)) store.APIKey {
	w.Helper()
	k := w.newAPIKey(u, change...)
	w.tx(func(ctx context.Context, tx store.Tx) error { return tx.APIKeys().Insert(ctx, k) })
	return k
}

func (w *world) newAPIKey(u store.User, change ...func(*store.APIKey)) store.APIKey {
	return finish(w, store.APIKey{ID: newID[id.APIKeyKind](w), UserID: u.ID}, change)
}

func (w *world) operation(c store.Cluster) store.Operation {
	w.Helper()
	o := w.newOperation(c)
	w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Operations().Insert(ctx, o) })
	return o
}

func (w *world) newOperation(c store.Cluster) store.Operation {
	return finish(w, store.Operation{ID: newID[id.OperationKind](w), ClusterID: c.ID, RequestedByUserID: c.OwnerUserID}, nil)
}

// job stores a job that is pending and due.
func (w *world) job(c store.Cluster, change ...func(*store.Job)) store.Job {
	w.Helper()
	o := w.operation(c)
	j := w.newJob(o, change...)
	w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Jobs().Insert(ctx, j) })
	return j
}

func (w *world) newJob(o store.Operation, change ...func(*store.Job)) store.Job {
	j := store.Job{
		ID: newID[id.JobKind](w), ClusterID: o.ClusterID, OperationID: o.ID, Type: "create", Status: store.JobPending,
		NotBefore: start, CreatedAt: start, UpdatedAt: start,
	}
	for _, c := range change {
		c(&j)
	}
	return j
}

func (w *world) token(c store.Cluster, change ...func(*store.Token)) store.Token {
	w.Helper()
	t := w.newToken(c, change...)
	w.tx(func(ctx context.Context, tx store.Tx) (err error) {
		w.must(tx.Tokens().Insert(ctx, t))
		t, err = tx.Tokens().ByValueHash(ctx, t.ValueHash)
		return err
	})
	return t
}

func (w *world) newToken(c store.Cluster, change ...func(*store.Token)) store.Token {
	return finish(w, store.Token{
		ID: newID[id.TokenKind](w), ClusterID: c.ID, Status: "active",
		CreatedByUserID: c.OwnerUserID, UsedByNodeID: newID[id.NodeKind](w), RevokedByUserID: c.OwnerUserID,
	}, change)
}

func (w *world) node(c store.Cluster, change ...func(*store.Node)) store.Node {
	w.Helper()
	n := w.newNode(c, change...)
	w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Nodes().Insert(ctx, n) })
	return n
}

func (w *world) newNode(c store.Cluster, change ...func(*store.Node)) store.Node {
	return finish(w, store.Node{ID: newID[id.NodeKind](w), ClusterID: c.ID}, change)
}

func (w *world) newNodeEvent(c store.Cluster, change ...func(*store.NodeEvent)) store.NodeEvent {
	return finish(w, store.NodeEvent{ID: newID[id.NodeEventKind](w), ClusterID: c.ID, NodeID: newID[id.NodeKind](w)}, change)
}

func (w *world) newAuditEvent(change ...func(*store.AuditEvent)) store.AuditEvent {
	return finish(w, store.AuditEvent{
		ID: newID[id.AuditKind](w), ActorUserID: newID[id.UserKind](w), ClusterID: newID[id.ClusterKind](w),
	}, change)
}

func (w *world) newMessage() store.OutboxMessage {
	return finish(w, store.OutboxMessage{ID: newID[id.MessageKind](w)}, nil)
}

func (w *world) newReply(change ...func(*store.Reply)) store.Reply {
	return finish(w, store.Reply{ReplyKey: store.ReplyKey{User: newID[id.UserKind](w)}}, change)
}

package helmprovision

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubebyon/kubebyon/core/kernel/bell"
)

// locks lets one goroutine at a time work on a name.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	turn  chan struct{}
	users int
}

func newLocks() *locks { return &locks{held: map[string]*lock{}} }

func (l *locks) lock(ctx context.Context, name string) (unlock func(), err error) {
	l.mu.Lock()
	k := l.held[name]
	if k == nil {
		k = &lock{turn: make(chan struct{}, 1)}
		l.held[name] = k
	}
	k.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.held, name)
		}
	}
	select {
	case k.turn <- struct{}{}:
		return func() { <-k.turn; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

const (
	leaseName = "kubebyon"
	// A holder that has not renewed its lease for so long is taken for dead. Who
	// waits for one has to see this for itself, and so waits for longer.
	normalLease = 15 * time.Second
)

func selfName() string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	name, _ := os.Hostname()
	return name + "-" + hex.EncodeToString(random[:])
}

// errTaken ends an attempt whose lease another process may have.
var errTaken = errors.New("the lease of the control plane is lost")

// reserve keeps other processes from changing a control plane: Helm itself has no
// lock. It fails with fault.Unavailable when another one that lives goes on having it.
func (p *Provisioner) reserve(ctx context.Context, namespace string) (*grip, error) {
	began, seen, since := p.config.Now(), holding{}, p.config.Now()
	hasSaid := false
	for {
		asked := p.config.Now()
		mine, held, err := p.takeLease(ctx, namespace, seen.version != "" && asked.Sub(since) >= p.leaseTime)
		if err != nil {
			return nil, told(err, "reserve the namespace "+namespace)
		}
		if mine != nil {
			if hasSaid {
				p.config.Log.InfoContext(ctx, "the other process has let go of the control plane", "namespace", namespace, "waited", asked.Sub(began))
			}
			return p.hold(mine, asked), nil
		}
		if held.version != seen.version {
			seen, since = held, p.config.Now()
		}
		if !hasSaid && held.by != "" && asked.Sub(began) >= telling {
			hasSaid = true
			p.config.Log.InfoContext(ctx, "another process is changing the control plane; waiting for it, or for its lease to run out if it has died", "namespace", namespace, "holder", held.by, "lease", p.leaseTime)
		}
		if p.config.Now().Sub(began) >= 2*p.leaseTime {
			return nil, busy()
		}
		if !bell.Wait(ctx, nil, 200*time.Millisecond) {
			return nil, ctx.Err()
		}
	}
}

// telling is after how long a wait the log is told of it: most are shorter.
const telling = time.Second

// holding is somebody else's lease.
type holding struct{ version, by string }

// takeLease returns the lease when it has it, and else what is known of the
// holder's. A holder is dead when its version has not changed for long: nobody's
// clock is compared with anybody else's.
func (p *Provisioner) takeLease(ctx context.Context, namespace string, isDead bool) (mine *coordinationv1.Lease, held holding, err error) {
	leases := p.host.client.CoordinationV1().Leases(namespace)
	seconds, now := int32(max(p.leaseTime.Seconds(), 1)), metav1.NewMicroTime(p.config.Now())
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: leaseName, Namespace: namespace, Labels: map[string]string{managedBy: managedName}},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &p.self, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now},
	}
	mine, err = leases.Create(ctx, lease, metav1.CreateOptions{})
	if err == nil {
		return mine, holding{}, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, holding{}, err
	}
	found, err := leases.Get(ctx, leaseName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, holding{version: "gone"}, nil
	}
	if err != nil {
		return nil, holding{}, err
	}
	if holder := holderOf(found); holder != "" && holder != p.self && !isDead {
		return nil, holding{found.ResourceVersion, holder}, nil
	}
	found.Spec = lease.Spec
	mine, err = leases.Update(ctx, found, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil, holding{version: "changed"}, nil
	}
	if err != nil {
		return nil, holding{}, err
	}
	return mine, holding{}, nil
}

func holderOf(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// grip is a lease for as long as this process has it.
type grip struct {
	p        *Provisioner
	lost     context.Context //nolint:containedctx // ends with the lease, with the cause errTaken
	lose     context.CancelCauseFunc
	stop     context.CancelFunc
	renewing sync.WaitGroup

	mu    sync.Mutex
	lease *coordinationv1.Lease
	until time.Time
}

// hold renews a lease, asked for at that time, until it is released or lost.
func (p *Provisioner) hold(lease *coordinationv1.Lease, asked time.Time) *grip {
	g := &grip{p: p}
	g.lost, g.lose = context.WithCancelCause(context.Background())
	g.renewed(lease, asked)
	var ctx context.Context
	ctx, g.stop = context.WithCancel(context.Background())
	g.renewing.Go(func() { g.keep(ctx) })
	return g
}

// renewed counts from when it was asked for. A quarter of the time is left for
// what the host is still about to do when the lease is lost.
func (g *grip) renewed(lease *coordinationv1.Lease, asked time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lease, g.until = lease, asked.Add(g.p.leaseTime-g.p.leaseTime/4)
}

// holds fails when another process may have the lease: also for one that was
// frozen, and has not come to know it yet.
func (g *grip) holds() error {
	g.mu.Lock()
	isOver := !g.p.config.Now().Before(g.until)
	g.mu.Unlock()
	if isOver {
		g.lose(errTaken)
	}
	if g.lost.Err() != nil {
		return busy().Because(errTaken)
	}
	return nil
}

// while returns a ctx that ends also when the lease is lost.
func (g *grip) while(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(g.lost, func() { cancel(errTaken) })
	return ctx, func() { unhook(); cancel(nil) }
}

// orTaken says that an attempt failed for want of the lease, when it did.
func (g *grip) orTaken(err error) error {
	if err != nil && g.lost.Err() != nil {
		return busy().Because(errors.Join(errTaken, err))
	}
	return err
}

func (g *grip) keep(ctx context.Context) {
	pause := g.p.leaseTime / 4
	for bell.Wait(ctx, nil, pause) {
		err := g.renew(ctx)
		if ctx.Err() != nil {
			return
		}
		pause = g.p.leaseTime / 4
		if err != nil {
			g.p.config.Log.WarnContext(ctx, "lease of a control plane not renewed; trying again", "namespace", g.lease.Namespace, "err", err)
			pause /= 4
		}
		if g.holds() != nil {
			g.p.config.Log.WarnContext(ctx, "lease of a control plane is lost; what was under way stops", "namespace", g.lease.Namespace)
			return
		}
	}
}

// renew takes no longer than a fraction of what it gains.
func (g *grip) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, g.p.leaseTime/4)
	defer cancel()
	leases := g.p.host.client.CoordinationV1().Leases(g.lease.Namespace)
	asked := g.p.config.Now()
	now, next := metav1.NewMicroTime(asked), g.lease.DeepCopy()
	next.Spec.RenewTime = &now
	made, err := leases.Update(ctx, next, metav1.UpdateOptions{})
	switch {
	case err == nil:
		g.renewed(made, asked)
		return nil
	case apierrors.IsNotFound(err):
		g.lose(errTaken)
		return nil
	case !apierrors.IsConflict(err):
		return err
	}
	found, err := leases.Get(ctx, leaseName, metav1.GetOptions{}) // an earlier renewal that arrived late?
	switch {
	case apierrors.IsNotFound(err), err == nil && !g.isMine(found):
		g.lose(errTaken)
		return nil
	case err != nil:
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lease = found
	return errors.New("it was changed meanwhile")
}

func (g *grip) isMine(l *coordinationv1.Lease) bool {
	return l.UID == g.lease.UID && holderOf(l) == g.p.self
}

// release gives the lease back, and leaves it alone when another process has it.
func (g *grip) release() {
	g.stop()
	g.renewing.Wait()
	defer g.lose(errTaken)
	if g.lost.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.p.config.RequestTimeout)
	defer cancel()
	leases := g.p.host.client.CoordinationV1().Leases(g.lease.Namespace)
	found, err := leases.Get(ctx, leaseName, metav1.GetOptions{})
	if err == nil && g.isMine(found) {
		err = leases.Delete(ctx, leaseName, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &found.UID, ResourceVersion: &found.ResourceVersion}})
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		g.p.config.Log.DebugContext(ctx, "lease of a control plane not given back; it runs out", "namespace", g.lease.Namespace, "err", err)
	}
}

// guard lets no request pass once a lease is lost: Helm knows of none.
type guard struct {
	grip *grip
	next http.RoundTripper
}

func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.grip.holds(); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	return g.next.RoundTrip(r)
}

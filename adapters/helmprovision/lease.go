package helmprovision

import (
	"context"
	"crypto/rand"
	"encoding/hex"
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

// reserve keeps other processes from changing a control plane: Helm itself has no
// lock. It fails with fault.Unavailable when another one that lives goes on having it.
func (p *Provisioner) reserve(ctx context.Context, namespace string) (release func(), err error) {
	began, seen, since := p.config.Now(), "", p.config.Now()
	for {
		version, err := p.takeLease(ctx, namespace, seen != "" && p.config.Now().Sub(since) >= p.leaseTime)
		if err != nil {
			return nil, told(err, "reserve the namespace "+namespace)
		}
		if version == "" {
			return p.keepLease(namespace), nil
		}
		if version != seen {
			seen, since = version, p.config.Now()
		}
		if p.config.Now().Sub(began) >= 2*p.leaseTime {
			return nil, busy()
		}
		if !bell.Wait(ctx, nil, 200*time.Millisecond) {
			return nil, ctx.Err()
		}
	}
}

// takeLease returns "" when it has the lease, and else the version of the
// holder's. A holder is dead when its version has not changed for long: nobody's
// clock is compared with anybody else's.
func (p *Provisioner) takeLease(ctx context.Context, namespace string, isDead bool) (held string, err error) {
	leases := p.host.client.CoordinationV1().Leases(namespace)
	seconds, now := int32(max(p.leaseTime.Seconds(), 1)), metav1.NewMicroTime(p.config.Now())
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: leaseName, Namespace: namespace, Labels: map[string]string{managedBy: managedName}},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &p.self, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now},
	}
	_, err = leases.Create(ctx, lease, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return "", err
	}
	found, err := leases.Get(ctx, leaseName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "gone", nil
	}
	if err != nil {
		return "", err
	}
	if holder := found.Spec.HolderIdentity; holder != nil && *holder != "" && *holder != p.self && !isDead {
		return found.ResourceVersion, nil
	}
	found.Spec = lease.Spec
	if _, err = leases.Update(ctx, found, metav1.UpdateOptions{}); apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return "changed", nil
	}
	return "", err
}

// keepLease renews the lease until it is released.
func (p *Provisioner) keepLease(namespace string) (release func()) {
	ctx, stop := context.WithCancel(context.Background())
	var renewing sync.WaitGroup
	renewing.Go(func() {
		for bell.Wait(ctx, nil, p.leaseTime/4) {
			if _, err := p.takeLease(ctx, namespace, false); err != nil && ctx.Err() == nil {
				p.config.Log.WarnContext(ctx, "lease of a control plane not renewed; trying again", "namespace", namespace, "err", err)
			}
		}
	})
	return func() {
		stop()
		renewing.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), p.config.RequestTimeout)
		defer cancel()
		err := p.host.client.CoordinationV1().Leases(namespace).Delete(ctx, leaseName, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			p.config.Log.DebugContext(ctx, "lease of a control plane not given back; it runs out", "namespace", namespace, "err", err)
		}
	}
}

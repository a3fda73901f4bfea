package helmprovision

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
)

// Destroy implements provision.Provisioner: first the release, then the volume
// claims, then the namespace. The host cluster goes on with what has begun when
// ctx ends.
func (p *Provisioner) Destroy(ctx context.Context, cluster id.Cluster) error {
	if err := errors.Join(ctx.Err(), p.mayChange(), p.alive()); err != nil {
		return err
	}
	return p.do(ctx, func(ctx context.Context) error { return p.destroy(ctx, cluster) })
}

var errBlocked = errors.New("the removal has passed its deadline")

func (p *Provisioner) destroy(ctx context.Context, cluster id.Cluster) error {
	late, cancel := context.WithTimeoutCause(ctx, p.config.DeleteDeadline, errBlocked)
	defer cancel()
	found, err := p.owned(late, cluster)
	if err != nil {
		return err
	}
	for _, n := range found {
		err := p.remove(late, n)
		if err == nil {
			err = p.awaitGone(late, n)
		}
		if err != nil && errors.Is(context.Cause(late), errBlocked) && ctx.Err() == nil {
			return p.blocked(ctx, n.Name)
		}
		if err != nil {
			return err
		}
		p.config.Log.InfoContext(ctx, "control plane is removed", "cluster", cluster.String(), "name", n.Name)
	}
	return p.awaitUnseen(late, cluster)
}

// owned are the namespaces of a cluster: one or none.
func (p *Provisioner) owned(ctx context.Context, cluster id.Cluster) ([]corev1.Namespace, error) {
	if cluster.IsZero() {
		return nil, nil
	}
	list, err := p.host.client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{
		LabelSelector: p.config.selector() + "=" + cluster.String(),
	})
	if err != nil {
		return nil, told(err, "look for the namespace of the cluster")
	}
	return list.Items, nil
}

// remove asks for the end of all that is in the namespace, and of itself.
func (p *Provisioner) remove(ctx context.Context, n corev1.Namespace) error {
	unlock, err := p.names.lock(ctx, n.Name)
	if err != nil {
		return err
	}
	defer unlock()
	now, err := p.host.client.CoreV1().Namespaces().Get(ctx, n.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && (now.UID != n.UID || now.DeletionTimestamp != nil) {
		return nil
	}
	if err != nil {
		return told(err, "look at the namespace "+n.Name)
	}
	if _, err := p.annotate(ctx, n.Name, map[string]any{noteCondemned: p.config.Now().UTC().Format(time.RFC3339)}); err != nil {
		return told(err, "write to the namespace "+n.Name)
	}
	g, err := p.reserve(ctx, n.Name)
	if errors.Is(err, fault.Unavailable) && fault.CodeOf(err) == "control_plane_removing" {
		return nil
	}
	if err != nil {
		return err
	}
	defer g.release()
	held, cancel := g.while(ctx)
	defer cancel()
	return g.orTaken(p.empty(held, g, n))
}

func (p *Provisioner) empty(ctx context.Context, g *grip, n corev1.Namespace) error {
	if err := p.dismantle(ctx, g, n.Name); err != nil {
		return err
	}
	p.awaitNoPods(ctx, n)
	err := p.host.client.CoreV1().Namespaces().Delete(ctx, n.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &n.UID}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return told(err, "remove the namespace "+n.Name)
	}
	return nil
}

// dismantle removes the release and the volume claims, as one of Helm's operations.
func (p *Provisioner) dismantle(ctx context.Context, g *grip, name string) error {
	select {
	case p.operations <- struct{}{}:
		defer func() { <-p.operations }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := p.uninstall(g, name); err != nil {
		return told(err, "uninstall the chart of "+name)
	}
	claims := p.host.client.CoreV1().PersistentVolumeClaims(name)
	list, err := claims.List(ctx, metav1.ListOptions{})
	if err != nil {
		return told(err, "look for the volumes of "+name)
	}
	for _, c := range list.Items {
		if err := claims.Delete(ctx, c.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return told(err, "remove a volume of "+name)
		}
	}
	return nil
}

// podPatience is how long a namespace's removal waits for its pods to end. The
// host's namespace controller looks again only after long pauses when it finds
// some.
const podPatience = 20 * time.Second

func (p *Provisioner) awaitNoPods(ctx context.Context, n corev1.Namespace) {
	ctx, cancel := context.WithTimeout(ctx, podPatience)
	defer cancel()
	changed, leave := p.news.of(n.Labels[labelCluster])
	defer leave()
	for {
		rung := changed.C()
		pods, err := p.window.kinds["pods"].GetIndexer().ByIndex(byNamespace, n.Name)
		if err != nil || len(pods) == 0 || !bell.Wait(ctx, rung, time.Second) {
			return
		}
	}
}

// awaitGone waits until the host has removed the namespace.
func (p *Provisioner) awaitGone(ctx context.Context, n corev1.Namespace) error {
	changed, leave := p.news.of(n.Labels[labelCluster])
	defer leave()
	for {
		rung := changed.C()
		now, err := p.host.client.CoreV1().Namespaces().Get(ctx, n.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && now.UID != n.UID {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return told(err, "look at the namespace "+n.Name)
		}
		if !p.pause(ctx, rung) {
			return ctx.Err()
		}
	}
}

// pause waits for a change that this process sees, or for a while. Between two
// looks at least a moment passes: much changes while a control plane goes.
func (p *Provisioner) pause(ctx context.Context, rung <-chan struct{}) bool {
	return bell.Wait(ctx, rung, time.Second) && bell.Wait(ctx, nil, 50*time.Millisecond)
}

// awaitUnseen waits until this process has seen that the cluster is gone.
func (p *Provisioner) awaitUnseen(ctx context.Context, cluster id.Cluster) error {
	changed, leave := p.news.of(cluster.String())
	defer leave()
	for {
		rung := changed.C()
		n := p.window.namespaceOf(cluster)
		if n == nil || n.DeletionTimestamp == nil && n.Annotations[noteCondemned] == "" { // none, or another
			return nil
		}
		if !bell.Wait(ctx, rung, time.Second) {
			return ctx.Err()
		}
	}
}

// blocked says what keeps the namespace from going.
func (p *Provisioner) blocked(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, p.config.RequestTimeout)
	defer cancel()
	why := fmt.Sprintf("The namespace %s does not go.", name)
	if n, err := p.host.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{}); err == nil {
		why = or(blockers(n), why)
	}
	var held []string
	if claims, err := p.host.client.CoreV1().PersistentVolumeClaims(name).List(ctx, metav1.ListOptions{Limit: 10}); err == nil {
		for _, c := range claims.Items {
			held = append(held, fmt.Sprintf("volume claim %s (%s)", c.Name, or(strings.Join(c.Finalizers, ", "), "no finalizers")))
		}
	}
	if len(held) > 0 {
		why += " Left: " + clause(strings.Join(held, "; ")) + "."
	}
	return fault.Unavailable.New("deletion_blocked", "The control plane was not removed within %v. %s", p.config.DeleteDeadline, why)
}

package workloads

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/text"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Create makes an object.
func (s *Service) Create(ctx context.Context, cluster int64, k Kind, namespace string, o tenant.Object) (out tenant.Object, err error) {
	r := Ref{k, namespace, o.Name()}
	err = s.change(ctx, cluster, r, "created", "create", func(ctx context.Context, in tenant.Tenant) error {
		out, err = in.Create(ctx, k.Kind, namespace, o)
		return err
	})
	return out, err
}

// Replace writes an object in the place of one that is there.
func (s *Service) Replace(ctx context.Context, cluster int64, r Ref, o tenant.Object) (out tenant.Object, err error) {
	err = s.change(ctx, cluster, r, "updated", "update", func(ctx context.Context, in tenant.Tenant) error {
		out, err = in.Replace(ctx, r.Kind.Kind, r.Namespace, r.Name, o)
		return err
	})
	return out, err
}

// Patch applies a JSON merge patch.
func (s *Service) Patch(ctx context.Context, cluster int64, r Ref, patch tenant.Object) (tenant.Object, error) {
	return s.patch(ctx, cluster, r, "updated", "update", patch)
}

func (s *Service) patch(ctx context.Context, cluster int64, r Ref, done, do string, patch tenant.Object) (out tenant.Object, err error) {
	err = s.change(ctx, cluster, r, done, do, func(ctx context.Context, in tenant.Tenant) error {
		out, err = in.Patch(ctx, r.Kind.Kind, r.Namespace, r.Name, patch)
		return err
	})
	return out, err
}

// Delete removes an object. A namespace that is the cluster's own stays:
// fault.Conflict, code namespace_protected.
func (s *Service) Delete(ctx context.Context, cluster int64, r Ref, o tenant.DeleteOptions) error {
	return s.change(ctx, cluster, r, "deleted", "delete", func(ctx context.Context, in tenant.Tenant) error {
		if r.Kind == known("namespaces") && Protected(r.Name) {
			return fault.Conflict.New("namespace_protected", "The namespace %s belongs to the cluster itself and cannot be deleted.", text.Clip(r.Name, maxName))
		}
		return in.Delete(ctx, r.Kind.Kind, r.Namespace, r.Name, o)
	})
}

// maxName is how long the names of Kubernetes are at most.
const maxName = 253

// CreateNamespace makes a namespace.
func (s *Service) CreateNamespace(ctx context.Context, cluster int64, name string, labels map[string]string) (tenant.Object, error) {
	all := map[string]any{}
	for k, v := range labels {
		all[k] = v
	}
	return s.Create(ctx, cluster, known("namespaces"), "", tenant.Object{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name, "labels": all},
	})
}

// DeleteNamespace removes a namespace and what is in it.
func (s *Service) DeleteNamespace(ctx context.Context, cluster int64, name string) error {
	return s.Delete(ctx, cluster, Ref{Kind: known("namespaces"), Name: name}, tenant.DeleteOptions{})
}

// MaxReplicas is how many a workload can be scaled to: nobody means more.
const MaxReplicas = 10_000

// Scale says how many pods a deployment or a stateful set is to have.
func (s *Service) Scale(ctx context.Context, cluster int64, r Ref, replicas int64) (tenant.Object, error) {
	var c fault.Check
	c.That(r.Kind.scales(), "kind", "must be one that can be scaled: a deployment or a stateful set")
	c.That(replicas >= 0 && replicas <= MaxReplicas, "replicas", "must be between 0 and %d", MaxReplicas)
	if err := c.Err(); err != nil {
		return nil, err
	}
	return s.patch(ctx, cluster, r, "scaled", "scale", tenant.Object{"spec": map[string]any{"replicas": replicas}})
}

// restartedAt is where kubectl writes it too.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

// Restart replaces the pods of a deployment, a stateful set or a daemon set,
// as its strategy says.
func (s *Service) Restart(ctx context.Context, cluster int64, r Ref) (tenant.Object, error) {
	var c fault.Check
	c.That(r.Kind.restarts(), "kind", "must be one that can be restarted: a deployment, a stateful set or a daemon set")
	if err := c.Err(); err != nil {
		return nil, err
	}
	at := map[string]any{restartedAt: s.deps.Now().UTC().Format(time.RFC3339)}
	return s.patch(ctx, cluster, r, "restarted", "restart", tenant.Object{
		"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": at}}},
	})
}

// change does something to an object and writes down how it ended.
func (s *Service) change(ctx context.Context, cluster int64, r Ref, done, do string, act func(context.Context, tenant.Tenant) error) error {
	who, err := actor.From(ctx)
	if err != nil {
		return err
	}
	acting, m, in, err := s.enter(ctx, cluster)
	if m.Cluster.ID.IsZero() {
		return err // of no cluster that they know of
	}
	if err == nil {
		err = mayWrite(who, m)
	}
	if err == nil {
		err = act(acting, in)
	}
	return errors.Join(err, s.record(ctx, who, m, r, done, do, err))
}

// record writes down what became of a change. One that the caller no longer
// waits for is written down all the same.
func (s *Service) record(ctx context.Context, who actor.Actor, m store.Member, r Ref, done, do string, failed error) error {
	what := r.Kind.Name + " " + text.Clip(r.String(), 2*maxName)
	e := journal.Event{
		Resource: r.Kind.Name, Action: done, ResourceID: text.Clip(r.String(), 2*maxName), Message: fmt.Sprintf("The %s was %s.", what, done),
		ClusterID: m.Cluster.ID, ClusterName: m.Cluster.Name,
	}
	if failed != nil {
		e.Result = journal.Failure
		e.Message = fmt.Sprintf("Could not %s the %s: %s.", do, what, fault.CodeOf(failed))
	}
	if r.Kind.Resource == "nodes" {
		e.NodeName = r.Name
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepFor)
	defer cancel()
	entry := s.journal.Entry(who, e)
	for tries, wait := 1, 50*time.Millisecond; ; tries, wait = tries+1, 2*wait {
		err := s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return tx.Audit().Append(ctx, entry) })
		if tries > 1 && fault.CodeOf(err) == "already_exists" {
			return nil // it was written after all
		}
		if !errors.Is(err, fault.Unavailable) || !bell.Wait(ctx, nil, wait) {
			return err
		}
	}
}

// keepFor is how long a store that is away is waited for: what has happened
// must not be lost.
const keepFor = 5 * time.Second

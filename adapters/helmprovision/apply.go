package helmprovision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"helm.sh/helm/v3/pkg/chart"

	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// Apply implements provision.Provisioner. It returns when the host cluster has
// accepted what the chart asks for, which takes Helm a second or a few, or when
// ctx ends. What Helm has begun by then it goes on with: it cannot be interrupted.
func (p *Provisioner) Apply(ctx context.Context, want provision.Want) error {
	if err := errors.Join(ctx.Err(), p.mayChange(), p.alive()); err != nil {
		return err
	}
	if err := errors.Join(want.Check(p.config.Versions)); err != nil {
		return err
	}
	if err := checkAccess(want); err != nil {
		return err
	}
	return p.do(ctx, func(ctx context.Context) error { return p.bring(ctx, want, nil) })
}

// attempt is one Apply on its way.
type attempt struct {
	p     *Provisioner
	want  provision.Want
	still *corev1.Namespace // not nil: only while the namespace is this one, and wants this

	load      func() (*chart.Chart, error) // each use needs its own
	file      map[string]any
	namespace *corev1.Namespace // nil: not there yet
	before    verdict
	access    access
	plan      planned
	grip      *grip // from when it is reserved
}

// errOutdated ends the rest of an attempt when something else is wanted meanwhile.
var errOutdated = errors.New("something else is wanted meanwhile")

// bring lets the host cluster move toward want. With still it does so only while
// that is what the namespace says.
func (p *Provisioner) bring(ctx context.Context, want provision.Want, still *corev1.Namespace) error {
	unlock, err := p.names.lock(ctx, want.Name)
	if err != nil {
		return err
	}
	defer unlock()
	if err := p.window.await(ctx, patience); err != nil {
		return err
	}
	a := &attempt{p: p, want: want, still: still, load: func() (*chart.Chart, error) { return p.shelf.take(ctx) }}
	if err := a.prepare(ctx); err != nil {
		return err
	}
	if a.namespace == nil {
		if err := a.makeNamespace(ctx); err != nil {
			return err
		}
	}
	if a.grip, err = p.reserve(ctx, want.Name); err != nil {
		return err
	}
	defer a.grip.release()
	ctx, cancel := a.grip.while(ctx)
	defer cancel()
	if err = a.find(ctx); err == nil { // another process may have come first
		err = a.run(ctx)
	}
	return a.grip.orTaken(err)
}

// prepare finds out whether want can arrive at all, before anything is changed.
func (a *attempt) prepare(ctx context.Context) (err error) {
	if a.file, err = readValues(a.p.config.ValuesFile); err != nil {
		return err
	}
	ch, err := a.load()
	if err != nil {
		return err
	}
	if err := a.find(ctx); err != nil {
		return err
	}
	plan, err := a.p.config.plan(ch, a.file, a.want, a.guess())
	if err == nil && a.note(noteHash) == plan.hash {
		return nil
	}
	if err == nil {
		if ch, err = a.load(); err != nil {
			return err
		}
		err = check(ch, a.want.Name, plan.values)
	}
	return a.p.config.blame(err, a.load, a.file, a.want, a.guess())
}

func (a *attempt) note(name string) string {
	if a.namespace == nil {
		return ""
	}
	return a.namespace.Annotations[name]
}

// find looks whether the namespace is there, and whose it is.
func (a *attempt) find(ctx context.Context) error {
	found, err := a.p.host.client.CoreV1().Namespaces().Get(ctx, a.want.Name, metav1.GetOptions{})
	switch {
	case a.still != nil && (apierrors.IsNotFound(err) || err == nil && !a.isStill(found)):
		return errOutdated
	case apierrors.IsNotFound(err):
		if a.want.Existed {
			return a.lost()
		}
		a.namespace = nil
		return nil
	case err != nil:
		return told(err, "look at the namespace "+a.want.Name)
	case !a.p.config.made(found.Labels):
		return fault.Invalid.New("namespace_taken", "The namespace %s of the host cluster belongs to somebody else: this installation of KubeBYON did not make it, and does not touch it. Choose another vcluster_name.", a.want.Name)
	case found.DeletionTimestamp != nil || found.Annotations[noteCondemned] != "":
		return removing()
	case found.Labels[labelCluster] != a.want.ID.String():
		return fault.Invalid.New("namespace_taken", "The namespace %s of the host cluster belongs to another cluster of KubeBYON's. Choose another vcluster_name.", a.want.Name)
	}
	a.namespace = found
	_, a.before = a.p.see(a.want.ID)
	if a.want.Existed {
		return a.mustHold(ctx)
	}
	return nil
}

// isStill reports whether nothing else was written to the namespace meanwhile.
func (a *attempt) isStill(n *corev1.Namespace) bool {
	return n.UID == a.still.UID && n.Annotations[noteTried] == a.still.Annotations[noteTried]
}

func (a *attempt) lost() error {
	return fault.Invalid.New("data_gone", "Nothing is left of this control plane in the namespace %s of the host cluster. What was in it cannot be made again: delete the cluster.", a.want.Name)
}

// mustHold refuses to go on with a control plane that has been ready when nothing
// of it is left, or none of the volumes that it had then: a restart would make it
// anew, and empty.
func (a *attempt) mustHold(ctx context.Context) error {
	known := a.note(noteVolumes)
	hasWorkload := a.p.window.scene(a.want.ID).workload() != nil
	if hasWorkload && known == "" {
		return nil
	}
	volumes, err := a.p.volumes(ctx, a.want.Name)
	if err != nil {
		return told(err, "look for the volumes of "+a.want.Name)
	}
	if known == "" && len(volumes) == 0 {
		return a.lost()
	}
	isKnown := func(uid string) bool { return slices.Contains(strings.Split(known, ","), uid) }
	if known != "" && !slices.ContainsFunc(volumes, isKnown) {
		return fault.Invalid.New("data_gone", "The volumes of this control plane in the namespace %s of the host cluster are gone, or go with its next restart. What was in them cannot be made again: delete the cluster, or bring the volumes back from a backup and remove the annotation %s of the namespace.", a.want.Name, noteVolumes)
	}
	return nil
}

// Claims whose UIDs are remembered.
const maxVolumes = 16

// volumes are the UIDs of a control plane's own claims, without those that are
// being deleted. A tenant's, where nodes are shared, have other labels.
func (p *Provisioner) volumes(ctx context.Context, name string) ([]string, error) {
	claims, err := p.host.client.CoreV1().PersistentVolumeClaims(name).List(ctx, metav1.ListOptions{
		LabelSelector: "app in (vcluster,vcluster-etcd),release=" + name, Limit: maxVolumes,
	})
	if err != nil {
		return nil, err
	}
	var uids []string
	for _, c := range claims.Items {
		if c.DeletionTimestamp == nil {
			uids = append(uids, string(c.UID))
		}
	}
	return uids, nil
}

// guess is where the control plane will probably be published: enough for the
// chart to judge the values.
func (a *attempt) guess() access {
	g := access{Host: a.want.Host, Port: 443, Near: a.hosts()}
	g.NodePort, _ = strconv.Atoi(a.note(noteNodePort))
	switch serviceType(a.want) {
	case "NodePort":
		g.Port = max(g.NodePort, 1)
	case "ClusterIP":
		g.NodePort = 0
	}
	if host, _, err := net.SplitHostPort(a.note(noteEndpoint)); err == nil && g.Host == "" {
		g.Host = host
	}
	g.Host = or(g.Host, "unknown.invalid")
	return g
}

// hosts are those that it was ever published under.
func (a *attempt) hosts() []string {
	return slices.DeleteFunc(strings.Split(a.note(noteHosts), ","), func(h string) bool { return h == "" })
}

func (a *attempt) makeNamespace(ctx context.Context) error {
	made, err := a.p.host.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name:   a.want.Name,
		Labels: a.p.config.marks(a.want.ID),
	}}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) { // just now
		return a.find(ctx)
	}
	if err != nil {
		return told(err, "make the namespace "+a.want.Name)
	}
	a.namespace = made
	return nil
}

// run installs or upgrades the release, if it is not what is wanted.
func (a *attempt) run(ctx context.Context) error {
	if a.namespace == nil {
		return busy()
	}
	var err error
	if a.access, err = a.publish(ctx); err != nil {
		return err
	}
	if a.access.Host == "" {
		return a.postpone(ctx)
	}
	ch, err := a.load()
	if err != nil {
		return err
	}
	if a.plan, err = a.p.config.plan(ch, a.file, a.want, a.access); err != nil {
		return a.p.config.blame(err, a.load, a.file, a.want, a.access)
	}
	if a.note(noteHash) == a.plan.hash && a.p.isInstalled(ctx, a.want, a.plan.hash) {
		return a.tryAgain(ctx)
	}
	if err := a.write(ctx, a.plan.hash, a.access.endpoint()); err != nil {
		return err
	}
	select {
	case a.p.operations <- struct{}{}:
		defer func() { <-a.p.operations }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if ch, err = a.load(); err != nil {
		return err
	}
	began := a.p.config.Now()
	if err := a.p.release(a.grip, a.want.Name, ch, a.plan); err != nil {
		return told(err, "install the chart for "+a.want.Name)
	}
	a.p.config.Log.InfoContext(ctx, "chart installed", "cluster", a.want.ID.String(), "name", a.want.Name,
		"kubernetes", a.want.KubernetesVersion, "endpoint", a.access.endpoint(), "took", a.p.config.Now().Sub(began))
	if err := a.removeCulprits(ctx); err != nil {
		return err
	}
	return a.settle(ctx)
}

// postpone leaves the rest to whoever sees the load balancer's address first.
func (a *attempt) postpone(ctx context.Context) error {
	if err := a.write(ctx, "", ""); err != nil {
		return err
	}
	return a.settle(ctx)
}

// tryAgain removes what has failed, so that it is made again.
func (a *attempt) tryAgain(ctx context.Context) error {
	if a.before.Phase != provision.Failed {
		return nil
	}
	if err := a.write(ctx, a.plan.hash, a.access.endpoint()); err != nil {
		return err
	}
	if err := a.removeCulprits(ctx); err != nil {
		return err
	}
	return a.settle(ctx)
}

// write puts on the namespace what is wanted. From here on an observation is
// about that.
func (a *attempt) write(ctx context.Context, hash, endpoint string) error {
	want, err := json.Marshal(a.want)
	if err != nil {
		return fmt.Errorf("write down what is wanted: %w", err)
	}
	inEffect, err := a.inEffect(ctx)
	if err != nil {
		return err
	}
	a.p.recall.forget(a.want.ID)
	notes := map[string]any{
		noteHash: hash, noteEndpoint: endpoint, noteWant: string(want), noteGivenUp: strings.Join(a.before.Culprits, ","),
		noteInEffect: inEffect,
		noteTried:    a.p.config.Now().UTC().Format(time.RFC3339Nano),
	}
	if a.access.NodePort != 0 {
		notes[noteNodePort] = strconv.Itoa(a.access.NodePort)
	}
	notes[noteHosts] = strings.Join(remember(a.hosts(), a.access.Host), ",")
	written, err := a.p.annotate(ctx, a.want.Name, notes)
	if err != nil {
		return told(err, "write to the namespace "+a.want.Name)
	}
	a.p.recall.wrote(a.want.ID, written.ResourceVersion)
	a.namespace = written
	return nil
}

// inEffect asks the host, not the watch, which may be late: what is written here
// is to stay true until the next release is done.
func (a *attempt) inEffect(ctx context.Context) (string, error) {
	s := scene{namespace: a.namespace}
	set, err := a.p.host.client.AppsV1().StatefulSets(a.want.Name).Get(ctx, a.want.Name, metav1.GetOptions{})
	if err == nil {
		s.statefulSet = set
		return s.inEffect(), nil
	}
	if !apierrors.IsNotFound(err) {
		return "", told(err, "look at the StatefulSet of "+a.want.Name)
	}
	deployment, err := a.p.host.client.AppsV1().Deployments(a.want.Name).Get(ctx, a.want.Name, metav1.GetOptions{})
	if err == nil {
		s.deployment = deployment
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return "", told(err, "look at the Deployment of "+a.want.Name)
	}
	return s.inEffect(), nil
}

// Hosts that stay in the certificate.
const maxHosts = 16

func remember(hosts []string, host string) []string {
	hosts = slices.DeleteFunc(hosts, func(h string) bool { return h == host })
	if host != "" {
		hosts = append(hosts, host)
	}
	return hosts[max(0, len(hosts)-maxHosts):]
}

func (p *Provisioner) annotate(ctx context.Context, namespace string, notes map[string]any) (*corev1.Namespace, error) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": notes}})
	if err != nil {
		return nil, err
	}
	return p.host.client.CoreV1().Namespaces().Patch(ctx, namespace, types.MergePatchType, patch, metav1.PatchOptions{})
}

// removeCulprits deletes the pods and secrets that made the last attempt fail.
func (a *attempt) removeCulprits(ctx context.Context) error {
	s := a.p.window.scene(a.want.ID)
	for _, pod := range s.pods {
		if uid := pod.UID; slices.Contains(a.before.Culprits, string(uid)) {
			err := a.p.host.client.CoreV1().Pods(a.want.Name).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				return told(err, "remove a pod that has failed")
			}
		}
	}
	if s.secret != nil && slices.Contains(a.before.Culprits, string(s.secret.UID)) {
		err := a.p.host.client.CoreV1().Secrets(a.want.Name).Delete(ctx, s.secret.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return told(err, "remove a kubeconfig that cannot be used")
		}
	}
	return nil
}

// settle waits, not for long, until this process sees what it has just written.
// When it does not, observations say no more than that something was.
func (a *attempt) settle(ctx context.Context) error {
	late, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	changed, leave := a.p.news.of(a.want.ID.String())
	defer leave()
	for {
		rung := changed.C()
		s := a.p.window.scene(a.want.ID)
		if s.namespace != nil && s.note(noteHash) == a.note(noteHash) && s.note(noteWant) == a.note(noteWant) && s.note(noteTried) == a.note(noteTried) {
			return nil
		}
		if !bell.Wait(late, rung, time.Second) {
			return ctx.Err()
		}
	}
}

func wantOf(n *corev1.Namespace) (w provision.Want, err error) {
	err = json.Unmarshal([]byte(n.Annotations[noteWant]), &w)
	return w, err
}

// resume goes on with an Apply that waited for the address of a load balancer,
// unless the namespace has gone or changed since it was seen as n.
func (p *Provisioner) resume(ctx context.Context, n *corev1.Namespace) {
	want, err := wantOf(n)
	if err == nil && want.ID != (id.Cluster{}) && want.Name == n.Name {
		err = p.bring(ctx, want, n)
	}
	if errors.Is(err, errOutdated) {
		return
	}
	if f, ok := errors.AsType[*fault.Error](err); ok && !errors.Is(err, provision.ErrAway) && f.Code != busy().Code {
		p.recall.keep(resumeKey(n), f.Msg)
	}
	if err != nil && ctx.Err() == nil {
		p.config.Log.WarnContext(ctx, "chart not installed after the load balancer had its address; trying again", "namespace", n.Name, "err", err)
		bell.Wait(ctx, nil, 5*time.Second)
	}
}

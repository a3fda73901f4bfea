// Package helmprovision implements provision.Provisioner, provision.Catalog and
// provision.Insider on a host Kubernetes cluster: every cluster is a vCluster,
// installed with Helm into a namespace of its own, of the cluster's name.
//
// All that is known of a cluster is kept on the host: labels and annotations of
// the namespace say whose it is and what is wanted, Helm's release what was
// installed. A process that dies loses nothing, and any other goes on. What one
// process remembers besides is only since when something has been so, and what
// its questions to published endpoints were answered.
//
// A namespace without this package's label is never touched.
package helmprovision

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// Provisioner is safe for concurrent use, from Start to Stop.
type Provisioner struct {
	config     Config
	shelf      *shelf
	operations chan struct{} // one taken for each operation of Helm under way
	names      *locks
	recall     *recall
	leaseTime  time.Duration
	news       *news

	mu     sync.Mutex
	host   *host
	window *window
	life   context.Context //nolint:containedctx // of what runs in the background, from Start to Stop
	end    context.CancelFunc
	over   bool
	living sync.WaitGroup
	self   string // this process, in leases
}

// New checks the Config. It touches nothing.
func New(c Config) (*Provisioner, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Provisioner{
		config: c, shelf: newShelf(c), operations: make(chan struct{}, c.MaxOperations), names: newLocks(), news: newNews(), recall: newRecall(c.Now), leaseTime: normalLease,
	}, nil
}

// Start reads the kubeconfig and begins to watch the host cluster. It does not
// wait for that, and does not fail because the host is away: Ping says so.
func (p *Provisioner) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.host != nil {
		return errors.New("helmprovision: started before")
	}
	h, err := openHost(p.config.KubeconfigPath, p.config.RequestTimeout)
	if err != nil {
		return err
	}
	p.host, p.self = h, selfName()
	p.life, p.end = context.WithCancel(context.WithoutCancel(ctx))
	p.window = newWindow(h, p.config.selector(), p.news, p.config.Now)
	return p.window.open(p.life)
}

// Stop ends what runs in the background. Operations of Helm that have begun are
// waited for until ctx ends; the next process finishes what they leave.
func (p *Provisioner) Stop(ctx context.Context) error {
	p.mu.Lock()
	began := p.host != nil && !p.over
	p.over = true
	p.mu.Unlock()
	if !began {
		return nil
	}
	p.end()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.living.Wait()
		p.window.close()
		p.host.close()
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for operations of Helm: %w", ctx.Err())
	}
}

func (p *Provisioner) alive() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.host == nil || p.over {
		return away("The host cluster is not being watched.")
	}
	return nil
}

// mayChange refuses changes to a process that only looks.
func (p *Provisioner) mayChange() error {
	if p.config.LookOnly {
		return fault.Unavailable.New("left_to_workers", "This process leaves changes of control planes to workers.")
	}
	return nil
}

// spawn runs f in the background until the Provisioner's end.
func (p *Provisioner) spawn(f func(ctx context.Context)) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || p.host == nil {
		return false
	}
	life := p.life
	p.living.Go(func() {
		if err := guarded(life, func(ctx context.Context) error { f(ctx); return nil }); err != nil {
			p.config.Log.ErrorContext(life, "work in the background has failed", "err", err)
		}
	})
	return true
}

// do runs f in the background, and waits for it until ctx ends. ctx's end and the
// Provisioner's are also f's.
func (p *Provisioner) do(ctx context.Context, f func(ctx context.Context) error) error {
	done := make(chan error, 1)
	if !p.spawn(func(life context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(life, cancel)()
		done <- guarded(ctx, f)
	}) {
		return p.alive()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// guarded turns a panic into an error: a chart or an object that nobody has
// thought of must not take the process, and every control plane's work, with it.
func guarded(ctx context.Context, f func(ctx context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("helmprovision panicked: %v\n%s", v, debug.Stack())
		}
	}()
	return f(ctx)
}

// Versions implements provision.Catalog.
func (p *Provisioner) Versions() []provision.Version { return slices.Clone(p.config.Versions) }

// patience is how long a look may wait for a host that has not been read yet.
const patience = time.Second

// Observe implements provision.Provisioner. It fails with fault.Unavailable while
// the host cluster cannot be seen.
func (p *Provisioner) Observe(ctx context.Context, cluster id.Cluster) (provision.Observed, error) {
	if err := errors.Join(ctx.Err(), p.alive()); err != nil {
		return provision.Observed{}, err
	}
	if err := p.window.await(ctx, patience); err != nil {
		return provision.Observed{}, err
	}
	return p.look(cluster).Observed, nil
}

// lookAgain is the time between looks of Await: some observations change because
// time passes.
const lookAgain = 500 * time.Millisecond

// Await implements provision.Provisioner.
func (p *Provisioner) Await(ctx context.Context, cluster id.Cluster, seen provision.Observed) (provision.Observed, error) {
	if err := p.alive(); err != nil {
		return provision.Observed{}, err
	}
	changed, leave := p.news.of(cluster.String())
	defer leave()
	for {
		rung := changed.C()
		if p.window.clear() == nil {
			if now := p.look(cluster).Observed; now != seen {
				return now, ctx.Err()
			}
		}
		if !bell.Wait(ctx, rung, lookAgain) {
			return provision.Observed{}, ctx.Err()
		}
	}
}

// look judges what is seen, and goes on with what waits for it.
func (p *Provisioner) look(cluster id.Cluster) verdict {
	s, v := p.see(cluster)
	if v.Resume && !p.config.LookOnly {
		p.findOut(cluster, "resume/"+s.namespace.Name, func(ctx context.Context) { p.resume(ctx, s.namespace) })
	}
	return v
}

// see judges what is seen, and has found out what is missing for that. What is
// older than this process's own last word is not judged.
func (p *Provisioner) see(cluster id.Cluster) (scene, verdict) {
	s := p.window.scene(cluster)
	if version := p.recall.written(cluster); version != "" {
		if !p.window.shows(s.namespace, version) {
			return s, pending(provision.InstallingChart)
		}
		p.recall.saw(cluster, version)
	}
	v := p.config.judge(s, p.recall)
	switch {
	case v.Probe:
		v = p.published(cluster, s, v)
	case v.Logs != nil:
		p.findOut(cluster, "logs/"+string(v.Logs.UID), func(ctx context.Context) { p.readLogs(ctx, v.Logs) })
	case v.Events:
		p.findOut(cluster, "events/"+s.namespace.Name, func(ctx context.Context) { p.readEvents(ctx, s.namespace.Name) })
	}
	return s, v
}

// published makes a control plane that runs ready only when it answers where it is
// published. One that is not public is asked by nobody but its own host.
func (p *Provisioner) published(cluster id.Cluster, s scene, v verdict) verdict {
	if want, err := wantOf(s.namespace); err == nil && !want.Public {
		return p.pin(cluster, s, v)
	}
	about := v.Endpoint + " " + v.CA + " " + v.Incarnation
	ok, waited := p.recall.probed(cluster, about)
	if ok {
		return p.pin(cluster, s, v)
	}
	endpoint := v.Endpoint
	p.findOut(cluster, "probe/"+cluster.String(), func(ctx context.Context) {
		err := p.config.answers(ctx, endpoint, s.key.ca)
		if err != nil && ctx.Err() == nil && !p.recall.fresh("unanswered/"+cluster.String()) {
			p.recall.keep("unanswered/"+cluster.String(), "")
			p.config.Log.InfoContext(ctx, "a control plane does not answer where it is published", "cluster", cluster.String(), "endpoint", endpoint, "err", err)
		}
		if !p.recall.note(cluster, about, err == nil) {
			bell.Wait(ctx, nil, time.Second) // before it is asked again
		}
	})
	if waited < p.config.PublishTimeout {
		return waiting(provision.WaitingAddress, "The control plane runs, but does not answer at %s yet, where it is published. %s", endpoint, wayOut)
	}
	return failed(fmt.Sprintf("The control plane runs, but does not answer at %s, where it is published. %s", endpoint, wayOut))
}

// wayOut is what people can do about an address that does not answer.
const wayOut = "Check that this address leads to it, and that nothing on the way keeps clients out."

// pin writes down which certificate authority and volumes a control plane had when
// it was ready first: one with others has lost what was in it. For a process that may
// write it is not ready before that, so that no job ends with this undone.
func (p *Provisioner) pin(cluster id.Cluster, s scene, v verdict) verdict {
	_, counted := s.namespace.Annotations[noteVolumes]
	isPinned := s.note(noteExisted) != ""
	if isPinned && counted || p.config.LookOnly {
		return v
	}
	p.findOut(cluster, "pin/"+s.namespace.Name, func(ctx context.Context) {
		volumes, err := p.volumes(ctx, s.namespace.Name)
		if err == nil {
			_, err = p.annotate(ctx, s.namespace.Name, map[string]any{noteExisted: v.CA, noteVolumes: strings.Join(volumes, ",")})
		}
		if f, ok := errors.AsType[*fault.Error](told(err, "note down which control plane this is")); ok {
			p.recall.keep(pinKey(s.namespace), f.Msg)
		}
		if err != nil && ctx.Err() == nil {
			p.config.Log.WarnContext(ctx, "certificate authority and volumes not written down", "namespace", s.namespace.Name, "err", err)
		}
		bell.Wait(ctx, nil, time.Second) // for the watch to show it
	})
	if isPinned {
		return v
	}
	trouble, _ := p.recall.text(pinKey(s.namespace))
	return waiting(provision.WaitingControlPlane, "%s", or(trouble, "The control plane runs and answers, and KubeBYON notes down whose it is."))
}

// Questions that may be under way at once.
const maxQuestions = 64

// findOut answers a question about a cluster in the background, unless that is
// under way.
func (p *Provisioner) findOut(cluster id.Cluster, question string, f func(ctx context.Context)) {
	if !p.recall.begin(question) {
		return
	}
	spawned := p.spawn(func(ctx context.Context) {
		defer p.news.ring(cluster.String())
		defer p.recall.done(question)
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := guarded(ctx, func(ctx context.Context) error { f(ctx); return nil }); err != nil {
			p.config.Log.ErrorContext(ctx, "question about a control plane has failed", "question", question, "err", err)
			bell.Wait(ctx, nil, 5*time.Second) // before it is asked again
		}
	})
	if !spawned {
		p.recall.done(question)
	}
}

func (p *Provisioner) readLogs(ctx context.Context, pod *corev1.Pod) {
	said := ""
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if s.RestartCount == 0 && (s.State.Terminated == nil || s.State.Terminated.ExitCode == 0) {
			continue
		}
		lines, most := int64(20), int64(8<<10)
		options := &corev1.PodLogOptions{Container: s.Name, Previous: s.LastTerminationState.Terminated != nil, TailLines: &lines, LimitBytes: &most}
		text, err := p.host.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, options).DoRaw(ctx)
		if err == nil && len(text) > 0 {
			said = string(text)
		}
	}
	p.recall.say(pod, said)
}

// Kubeconfig implements provision.Provisioner.
func (p *Provisioner) Kubeconfig(ctx context.Context, cluster id.Cluster) (secret.Text, error) {
	s, err := p.open(ctx, cluster)
	if err != nil {
		return secret.Text{}, err
	}
	at := s.inEffect()
	if at == "" || s.isInstalled() && p.look(cluster).Phase == provision.Failed {
		return secret.Text{}, notReady()
	}
	return kubeconfigFor(s.key, "https://"+at, "")
}

// open reads a control plane's own kubeconfig, unless it is that of another
// control plane than the one that was ready first.
func (p *Provisioner) open(ctx context.Context, cluster id.Cluster) (s scene, err error) {
	if err := errors.Join(ctx.Err(), p.alive()); err != nil {
		return s, err
	}
	if err := p.window.await(ctx, patience); err != nil {
		return s, err
	}
	s = p.window.scene(cluster)
	switch {
	case s.namespace == nil:
		return s, fault.NotFound.New("control_plane_not_found", "There is no such control plane.")
	case s.secret == nil || s.namespace.DeletionTimestamp != nil || s.note(noteCondemned) != "":
		return s, notReady()
	}
	if s.unusable != nil {
		return s, notReady().Because(s.unusable)
	}
	if known := s.note(noteExisted); known != "" && known != fingerprint(s.key.ca) {
		return s, notReady()
	}
	return s, nil
}

func notReady() *fault.Error {
	return fault.Unavailable.New("control_plane_not_ready", "The control plane is not ready.")
}

func kubeconfigFor(k key, server, certified string) (secret.Text, error) {
	text, err := k.leadingTo(server, certified)
	if err != nil {
		return secret.Text{}, notReady()
	}
	return secret.New(string(text)), nil
}

// Inside implements provision.Insider. In the host cluster the way is the
// Service; from outside it is a node's own address, or the load balancer's. Where
// there is neither it fails: the published endpoint may be anybody's.
func (p *Provisioner) Inside(ctx context.Context, cluster id.Cluster) (secret.Text, error) {
	s, err := p.open(ctx, cluster)
	if err != nil {
		return secret.Text{}, err
	}
	name := s.namespace.Name + "." + s.namespace.Name + ".svc"
	if p.config.KubeconfigPath == "" {
		return kubeconfigFor(s.key, "https://"+name, "")
	}
	at, err := p.nearest(ctx, s)
	if err != nil {
		return secret.Text{}, err
	}
	return kubeconfigFor(s.key, "https://"+at, name)
}

// readEvents finds out why the host cluster makes no pods.
func (p *Provisioner) readEvents(ctx context.Context, namespace string) {
	list, err := p.host.client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=Warning", Limit: 50})
	if err != nil || len(list.Items) == 0 {
		p.recall.keep("events/"+namespace, "it does not say why")
		return
	}
	last := slices.MaxFunc(list.Items, func(a, b corev1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	p.recall.keep("events/"+namespace, or(last.Message, last.Reason))
	bell.Wait(ctx, nil, 5*time.Second)
}

package plane

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/joinobjects"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/lifeline"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/progress"
)

const dnsDomain = "cluster.local"

// How long the end may take. All of it lies within the ten seconds that whoever stops a tenant
// waits, and within the one second a tenant may outlive its parent.
const (
	drainPatience = 4 * time.Second
	storePatience = 3 * time.Second
	quickPatience = 700 * time.Millisecond
)

// Run is a tenant's life: it returns when ctx ends, with nil, or when a component gives up, with
// the reason.
func Run(ctx context.Context, c Config) error {
	collectRarely()
	l, err := listen(ctx, c)
	if err != nil {
		return err
	}
	defer l.Close() //nolint:errcheck // the API server has closed it if it ever served
	keys, err := keepCredentials(c)
	if err != nil {
		return err
	}
	store, err := startStore(c)
	if err != nil {
		return err
	}
	p := &plane{Config: c, keys: keys, store: store}
	if p.api, err = apiServer(ctx, c, keys, store.url, l); err != nil {
		return fmt.Errorf("prepare kube-apiserver: %w", err)
	}
	if p.client, err = kubernetes.NewForConfig(keys.client(c)); err != nil {
		return fmt.Errorf("prepare a client: %w", err)
	}
	return p.live(ctx)
}

// plane is a running tenant.
type plane struct {
	Config
	keys   *credentials
	store  *store
	client kubernetes.Interface
	api    func(context.Context) error
}

// live runs the components until one of them ends or ctx does. The API server outlives what
// speaks to it, and the store outlives the API server.
func (p *plane) live(ctx context.Context) error {
	running, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	served := p.supervise(serving, "kube-apiserver", stop, p.api)
	go func() {
		if err := p.rise(running, stop); err != nil {
			stop(err)
		}
	}()
	go p.keys.renew(running, p.Config)

	select {
	case <-ctx.Done():
	case <-running.Done():
	}
	stop(nil)
	stopServing()
	p.fall(ctx, served)
	if err := context.Cause(running); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// supervise runs a component. One that ends before it is asked to takes the tenant with it.
func (p *plane) supervise(ctx context.Context, name string, stop context.CancelCauseFunc, run func(context.Context) error) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := run(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("it ended by itself")
		}
		stop(fmt.Errorf("run %s: %w", name, err))
	}()
	return done
}

// rise brings the tenant up, step by step, and says so.
func (p *plane) rise(ctx context.Context, stop context.CancelCauseFunc) error {
	if err := p.store.ready(ctx); err != nil {
		return err
	}
	p.Progress.Reached(progress.EtcdReady)
	if err := awaitReady(ctx, p.client); err != nil {
		return fmt.Errorf("await kube-apiserver: %w", err)
	}
	if err := p.store.born(); err != nil {
		return err
	}
	p.Progress.Reached(progress.APIServerReady)
	if err := p.startControllers(ctx, stop); err != nil {
		return err
	}
	if !p.Parts.NoJoin {
		if err := joinobjects.Keep(ctx, p.keys.client(p.Config), p.joinSettings()); err != nil {
			return fmt.Errorf("keep the join objects: %w", err)
		}
		p.Progress.Reached(progress.JoinReady)
	}
	if !p.Parts.NoControllers {
		if err := p.awaitServiceAccount(ctx); err != nil {
			return fmt.Errorf("await the default service account: %w", err)
		}
	}
	if len(p.Parts.Residents) == 0 {
		p.Progress.Reached(progress.Ready)
	}
	for _, r := range p.Parts.Residents {
		p.supervise(ctx, r.Name, stop, func(ctx context.Context) error { return r.Run(ctx, p.keys.client(p.Config)) })
	}
	settle(ctx)
	return nil
}

// startControllers comes after the API server is ready: the controller-manager exits when the
// rules it lives by are not there yet.
func (p *plane) startControllers(ctx context.Context, stop context.CancelCauseFunc) error {
	if !p.Parts.NoControllers {
		manager, err := controllerManager(p.Config, p.keys)
		if err != nil {
			return fmt.Errorf("prepare kube-controller-manager: %w", err)
		}
		p.supervise(ctx, "kube-controller-manager", stop, manager)
	}
	if !p.Parts.NoScheduler {
		schedule, err := scheduler(p.keys)
		if err != nil {
			return fmt.Errorf("prepare kube-scheduler: %w", err)
		}
		p.supervise(ctx, "kube-scheduler", stop, schedule)
	}
	return nil
}

// awaitServiceAccount waits for what the first pod needs, which also shows that the controllers
// run.
func (p *plane) awaitServiceAccount(ctx context.Context) error {
	var last error
	err := every(ctx, 20*time.Millisecond, func() bool {
		_, last = p.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return last == nil
	})
	if err != nil && last != nil && !apierrors.IsNotFound(last) {
		return last
	}
	return err
}

func (p *plane) joinSettings() joinobjects.Settings {
	return joinobjects.Settings{
		ClusterName: p.Name, Endpoint: p.Endpoint(), Authority: p.keys.authority.PEM(),
		KubernetesVersion: p.Version.Name, PodCIDR: p.PodCIDR, ServiceCIDR: p.ServiceCIDR, DNSDomain: dnsDomain,
	}
}

// fall lets the API server finish what it is answering, unless the parent is gone and nobody
// waits for answers, then closes the store.
func (p *plane) fall(ctx context.Context, served <-chan struct{}) {
	drain, patience := drainPatience, storePatience
	if errors.Is(context.Cause(ctx), lifeline.ErrParentGone) {
		drain, patience = 0, quickPatience
	}
	if drain > 0 {
		select {
		case <-served:
		case <-time.After(drain):
			klog.InfoS("The API server still answers somebody; stopping anyway")
		}
	}
	p.store.stop(patience)
}

package hostplane

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/progress"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/publish"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/tenants"
)

const (
	component = "localplane"

	// workers look at objects at the same time; each object is with one of them.
	workers = 4

	tenantsDir = "tenants"
)

// thing is what the queue holds: what changed, not how.
type thing struct {
	kind      kind
	namespace string
	name      string
}

type kind string

const (
	aPod        kind = "pod"
	aClaim      kind = "claim"
	aVolume     kind = "volume"
	aService    kind = "service"
	anIngress   kind = "ingress"
	aTenant     kind = "tenant"
	aKubeconfig kind = "kubeconfig"
)

// box is everything below the host's API.
type box struct {
	Config
	client  kubernetes.Interface
	events  record.EventRecorder
	queue   workqueue.TypedRateLimitingInterface[thing]
	tenants *tenants.Tenants
	board   *publish.Board
	names   *publish.Names
	meter   *meter

	pods       corelisters.PodLister
	claims     corelisters.PersistentVolumeClaimLister
	volumes    corelisters.PersistentVolumeLister
	services   corelisters.ServiceLister
	namespaces corelisters.NamespaceLister

	mu     sync.Mutex
	lives  map[types.UID]*life // of pods
	nextIP int
	given  map[string]string // address of a load balancer to its Service
}

// live is the box from the time that its API is ready until ctx ends.
func live(ctx context.Context, c Config, program string, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("prepare a client: %w", err)
	}
	b := &box{
		Config: c, client: client,
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[thing](50*time.Millisecond, 10*time.Second)),
		board: publish.NewBoard(ctx), names: publish.NewNames(), meter: newMeter(c.Now),
		lives: map[types.UID]*life{}, given: map[string]string{},
	}
	b.tenants = tenants.New(tenants.Config{
		Program: program, Dir: c.Dir.Path(tenantsDir), MaxStarting: c.MaxStarting,
		Pause: tenants.Backoff, Now: c.Now,
		Changed: func(n tenants.Name) { b.queue.Add(thing{aTenant, n.Namespace, n.Release}) },
	})
	defer b.queue.ShutDown()
	if err := b.furnish(ctx); err != nil {
		return err
	}
	return b.work(ctx)
}

// work runs until ctx ends, and then until every tenant has stopped.
func (b *box) work(ctx context.Context) error {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: b.client.CoreV1().Events("")})
	b.events = broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component, Host: nodeName})

	factory := informers.NewSharedInformerFactory(b.client, 0)
	defer factory.Shutdown()
	running, stop := context.WithCancel(ctx)
	defer stop()
	if err := b.look(factory); err != nil {
		return err
	}
	factory.Start(running.Done())
	for kind, synced := range factory.WaitForCacheSync(running.Done()) {
		if !synced {
			return fmt.Errorf("list %s: %w", kind, context.Cause(running))
		}
	}
	if err := b.remember(); err != nil {
		return err
	}

	var all sync.WaitGroup
	all.Go(func() { b.names.Serve(ctx, b.ingress) })
	metrics, err := b.serveMetrics(ctx, &all)
	if err != nil {
		return fmt.Errorf("serve metrics: %w", err)
	}
	context.AfterFunc(ctx, b.queue.ShutDown)
	for range workers {
		all.Go(func() { b.process(ctx) })
	}
	b.Progress.HostReady(progress.Host{
		Kubeconfig: b.Dir.Path("admin.kubeconfig"), Ingress: b.ingress.Addr().String(), Metrics: metrics,
	})
	<-ctx.Done()
	all.Wait()
	b.tenants.Wait()
	b.board.Wait()
	return nil
}

// look puts what changes into the queue.
func (b *box) look(f informers.SharedInformerFactory) error {
	pods, claims, volumes := f.Core().V1().Pods(), f.Core().V1().PersistentVolumeClaims(), f.Core().V1().PersistentVolumes()
	services, namespaces, ingresses := f.Core().V1().Services(), f.Core().V1().Namespaces(), f.Networking().V1().Ingresses()
	b.pods, b.claims, b.volumes = pods.Lister(), claims.Lister(), volumes.Lister()
	b.services, b.namespaces = services.Lister(), namespaces.Lister()
	var errs []error
	watch := func(i cache.SharedIndexInformer, changed func(object metav1.Object)) {
		_, err := i.AddEventHandler(handler(changed))
		errs = append(errs, err)
	}
	_, err := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: func(o any) {
		if pod, ok := o.(*corev1.Pod); ok {
			b.forget(pod.UID)
		}
	}})
	errs = append(errs, err)
	watch(pods.Informer(), func(o metav1.Object) {
		b.add(aPod, o)
		if release := o.GetLabels()[releaseLabel]; release != "" {
			b.queue.Add(thing{aTenant, o.GetNamespace(), release})
		}
	})
	watch(claims.Informer(), func(o metav1.Object) {
		b.add(aClaim, o)
		b.addPodsOf(o.GetNamespace())
		if release := o.GetLabels()[releaseLabel]; release != "" {
			b.queue.Add(thing{aTenant, o.GetNamespace(), release})
		}
	})
	watch(volumes.Informer(), func(o metav1.Object) { b.add(aVolume, o) })
	watch(services.Informer(), func(o metav1.Object) { b.add(aService, o) })
	watch(ingresses.Informer(), func(o metav1.Object) {
		if i, ok := o.(*networkingv1.Ingress); ok {
			b.add(anIngress, i)
		}
	})
	watch(namespaces.Informer(), func(o metav1.Object) { b.addPodsOf(o.GetName()) })
	return errors.Join(errs...)
}

func handler(changed func(metav1.Object)) cache.ResourceEventHandler {
	tell := func(o any) {
		if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = gone.Obj
		}
		if object, ok := o.(metav1.Object); ok {
			changed(object)
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: tell, UpdateFunc: func(_, o any) { tell(o) }, DeleteFunc: tell}
}

func (b *box) add(k kind, o metav1.Object) {
	b.queue.Add(thing{k, o.GetNamespace(), o.GetName()})
}

// addPodsOf puts in line those that wait for something in their namespace.
func (b *box) addPodsOf(namespace string) {
	pods, _ := b.pods.Pods(namespace).List(everything)
	for _, pod := range pods {
		b.add(aPod, pod)
	}
}

// remember picks up what an earlier process of this host left: addresses that are given, and
// data whose owner may be gone.
func (b *box) remember() error {
	pods, err := b.pods.List(everything)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		b.nextIP = max(b.nextIP, podNumber(pod.Status.PodIP))
	}
	services, err := b.services.List(everything)
	if err != nil {
		return err
	}
	for _, s := range services {
		for _, i := range s.Status.LoadBalancer.Ingress {
			b.given[i.IP] = s.Namespace + "/" + s.Name
		}
	}
	onDisk, err := b.tenants.OnDisk()
	if err != nil {
		return fmt.Errorf("list the tenants: %w", err)
	}
	for _, n := range onDisk {
		b.queue.Add(thing{aTenant, n.Namespace, n.Release})
	}
	return nil
}

func (b *box) process(ctx context.Context) {
	for {
		next, shutdown := b.queue.Get()
		if shutdown {
			return
		}
		b.processOne(ctx, next)
	}
}

// processOne leaves a thing that could not be dealt with in the queue, for a little later.
func (b *box) processOne(ctx context.Context, next thing) {
	defer b.queue.Done(next)
	defer runtime.HandleCrashWithContext(ctx)
	err := b.deal(ctx, next)
	if err == nil || apierrors.IsNotFound(err) {
		b.queue.Forget(next)
		return
	}
	if !apierrors.IsConflict(err) && ctx.Err() == nil {
		klog.ErrorS(err, "Will be tried again", "kind", string(next.kind), "object", next.namespace+"/"+next.name)
	}
	b.queue.AddRateLimited(next)
}

func (b *box) deal(ctx context.Context, next thing) error {
	switch next.kind {
	case aPod:
		return b.dealPod(ctx, next)
	case aClaim:
		return b.dealClaim(ctx, next)
	case aVolume:
		return b.dealVolume(ctx, next)
	case aService:
		return b.dealService(ctx, next)
	case anIngress:
		return b.dealIngress(ctx, next)
	case aTenant:
		return b.dealTenant(next)
	case aKubeconfig:
		return b.dealKubeconfig(ctx, next)
	}
	return nil
}

package hollow

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/filestore"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/progress"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

// Config is what a hollow node is asked to be.
type Config struct {
	JoinFile string        // kubeadm's JoinConfiguration; may be empty once joined
	Name     string        // in place of the one in JoinFile
	Patience time.Duration // for a control plane that does not answer

	Dir      *filestore.Dir
	Progress *progress.Reporter
	Now      func() time.Time
}

// registerPatience is for a freshly joined node; a restarted one waits for its control plane for
// as long as it takes.
const registerPatience = 60 * time.Second

// Run is a node's life: it joins if it has not yet, and returns when ctx ends.
func Run(ctx context.Context, c Config) error {
	if err := filestore.Write(c.Dir.Path("node.pid"), []byte(strconv.Itoa(os.Getpid())+"\n")); err != nil {
		return err
	}
	defer os.Remove(c.Dir.Path("node.pid")) //nolint:errcheck // what is left names a process that is gone
	who, own, joined, err := c.join(ctx)
	if err != nil {
		return err
	}
	if err := startKubelet(ctx, c.Dir, who, own); err != nil {
		return err
	}
	return c.live(ctx, who, own, joined)
}

// join gives the node's identity and credentials, and whether it got them just now.
func (c Config) join(ctx context.Context) (who *identity, own *rest.Config, joined bool, err error) {
	if who, own, err = c.resume(); err != nil || own != nil {
		return who, own, false, err
	}
	if c.JoinFile == "" {
		return nil, nil, false, refusal.New("The directory %s holds no joined node, or its certificate has run out: a join configuration is needed.", c.Dir.Path())
	}
	file, err := readJoinFile(c.JoinFile)
	if err != nil {
		return nil, nil, false, err
	}
	if who, err = file.identity(c.Name); err != nil {
		return nil, nil, false, err
	}
	token := file.Discovery.BootstrapToken
	found, err := discover(ctx, token, c.Patience)
	if err != nil {
		return nil, nil, false, err
	}
	c.Progress.Reached(progress.Discovered)
	if err := bootstrap(ctx, c.Dir, found, token, who.Name); err != nil {
		return nil, nil, false, err
	}
	who.Server = found.server
	if err := who.keep(c.Dir); err != nil {
		return nil, nil, false, err
	}
	c.Progress.Reached(progress.Bootstrapped)
	own, err = credentials(c.Dir, c.Now())
	return who, own, true, err
}

// resume finds a node that joined before. A join configuration for another place or name is
// refused: it would turn one node into another under its pods.
func (c Config) resume() (*identity, *rest.Config, error) {
	who, err := recall(c.Dir)
	if who == nil || err != nil {
		return nil, nil, err
	}
	own, err := credentials(c.Dir, c.Now())
	if own == nil || err != nil {
		return nil, nil, err
	}
	if c.Name != "" && c.Name != who.Name {
		return nil, nil, refusal.New("The directory %s belongs to the node %s; use another directory for %s.", c.Dir.Path(), who.Name, c.Name)
	}
	if c.JoinFile == "" {
		return who, own, nil
	}
	file, err := readJoinFile(c.JoinFile)
	if os.IsNotExist(unwrapAll(err)) {
		// It held a token and may have been removed after the join, as it should be.
		return who, own, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return who, own, c.sameAs(who, own, file)
}

func (c Config) sameAs(who *identity, own *rest.Config, file *joinFile) error {
	token := file.Discovery.BootstrapToken
	if server, err := url.Parse(who.Server); err != nil || server.Host != token.Endpoint {
		return refusal.New("The directory %s belongs to a node of %s; use another directory to join %s.", c.Dir.Path(), who.Server, token.Endpoint)
	}
	if wanted := file.Registration.Name; c.Name == "" && wanted != "" && wanted != who.Name {
		return refusal.New("The directory %s belongs to the node %s; use another directory for %s.", c.Dir.Path(), who.Name, wanted)
	}
	if !pinned(own.CAData, token.CAHashes) {
		return refusal.New("The directory %s belongs to a node of another control plane that was at %s; use an empty directory.", c.Dir.Path(), token.Endpoint)
	}
	return nil
}

// live reports how the node comes up, then waits for the end.
func (c Config) live(ctx context.Context, who *identity, own *rest.Config, joined bool) error {
	client, err := kubernetes.NewForConfig(own)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	since := c.Now()
	registered := false
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		node := look(ctx, client, who.Name)
		if node != nil && !registered {
			registered = true
			c.Progress.Reached(progress.Registered)
		}
		if node != nil && readySince(node, since) {
			tick.Stop()
			c.Progress.Reached(progress.Ready)
			<-ctx.Done()
			return nil
		}
		if !registered && joined && c.Now().Sub(since) > registerPatience {
			return refusal.New("The node %s got its certificate but could not register within %s; see %s.", who.Name, registerPatience, c.Dir.Path("node.log"))
		}
	}
}

func look(ctx context.Context, client kubernetes.Interface, name string) *corev1.Node {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		klog.V(2).InfoS("The node is not registered yet", "err", err)
		return nil
	}
	return node
}

// readySince tells this run's report from what an earlier run left behind: the kubelet reports as
// soon as it has started. The API keeps whole seconds.
func readySince(node *corev1.Node, since time.Time) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue && !condition.LastHeartbeatTime.Time.Before(since.Truncate(time.Second))
		}
	}
	return false
}

package hollow

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/filestore"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/joining"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/progress"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

// Config is what a hollow node is asked to be.
type Config struct {
	joining.Config
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
	who, own, joined, err := c.Join(ctx)
	if err != nil {
		return err
	}
	if err := startKubelet(ctx, c.Dir, who, own); err != nil {
		return err
	}
	return c.live(ctx, who, own, joined)
}

// live reports how the node comes up, then waits for the end.
func (c Config) live(ctx context.Context, who *joining.Identity, own *rest.Config, joined bool) error {
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

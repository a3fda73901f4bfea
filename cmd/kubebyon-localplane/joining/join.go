package joining

import (
	"context"
	"net/url"
	"os"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/filestore"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/progress"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

// Config is what is known before a join.
type Config struct {
	File     string        // kubeadm's JoinConfiguration; may be empty, or gone, once joined
	Name     string        // in place of the one in File
	Patience time.Duration // for a control plane that does not answer

	Dir      *filestore.Dir
	Progress *progress.Reporter
	Now      func() time.Time
}

// Join gives the node's identity and credentials, and whether it got them just now.
func (c Config) Join(ctx context.Context) (who *Identity, own *rest.Config, joined bool, err error) {
	if who, own, err = c.resume(); err != nil || own != nil {
		return who, own, false, err
	}
	if c.File == "" {
		return nil, nil, false, refusal.New("The directory %s holds no joined node, or its certificate has run out: a join configuration is needed.", c.Dir.Path())
	}
	asked, err := readFile(c.File)
	if err != nil {
		return nil, nil, false, err
	}
	if who, err = asked.identity(c.Name); err != nil {
		return nil, nil, false, err
	}
	token := asked.Discovery.BootstrapToken
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
func (c Config) resume() (*Identity, *rest.Config, error) {
	who, err := Recall(c.Dir)
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
	if c.File == "" {
		return who, own, nil
	}
	asked, err := readFile(c.File)
	if os.IsNotExist(unwrapAll(err)) {
		// It held a token and may have been removed after the join, as it should be.
		return who, own, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return who, own, c.sameAs(who, own, asked)
}

func (c Config) sameAs(who *Identity, own *rest.Config, asked *file) error {
	token := asked.Discovery.BootstrapToken
	if server, err := url.Parse(who.Server); err != nil || server.Host != token.Endpoint {
		return refusal.New("The directory %s belongs to a node of %s; use another directory to join %s.", c.Dir.Path(), who.Server, token.Endpoint)
	}
	if wanted := asked.Registration.Name; c.Name == "" && wanted != "" && wanted != who.Name {
		return refusal.New("The directory %s belongs to the node %s; use another directory for %s.", c.Dir.Path(), who.Name, wanted)
	}
	if !pinned(own.CAData, token.CAHashes) {
		return refusal.New("The directory %s belongs to a node of another control plane that was at %s; use an empty directory.", c.Dir.Path(), token.Endpoint)
	}
	return nil
}

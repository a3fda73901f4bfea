package helmprovision

import (
	"sync"

	"github.com/kubebyon/kubebyon/core/kernel/bell"
)

// news wakes those who wait for something to happen to one cluster, and nobody
// else. A cluster has a bell only while somebody waits for it.
type news struct {
	mu    sync.Mutex
	bells map[string]*shared // by the cluster's id
}

type shared struct {
	bell.Bell
	users int
}

func newNews() *news { return &news{bells: map[string]*shared{}} }

// of returns the bell of a cluster; leave must follow.
func (n *news) of(cluster string) (b *bell.Bell, leave func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.bells[cluster]
	if s == nil {
		s = new(shared)
		n.bells[cluster] = s
	}
	s.users++
	return &s.Bell, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if s.users--; s.users == 0 {
			delete(n.bells, cluster)
		}
	}
}

// ring says that an observation of a cluster may have changed.
func (n *news) ring(cluster string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.bells[cluster]; s != nil {
		s.Ring()
	}
}

// ringAll says so of every cluster.
func (n *news) ringAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.bells {
		s.Ring()
	}
}

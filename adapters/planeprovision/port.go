package planeprovision

import (
	"context"
	"hash/fnv"
	"net"
	"strconv"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
)

// choosePort gives a cluster a port for life. It begins to look at a place that
// depends on the cluster, so that two provisioners on one machine seldom choose
// the same one at the same moment. mu is held.
func (p *Provisioner) choosePort(ctx context.Context, cluster id.Cluster) (int, error) {
	from, count := p.config.PortFrom, p.config.PortTo-p.config.PortFrom+1
	taken := map[int]bool{}
	for _, pl := range p.planes {
		taken[pl.rec.Port] = true
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(cluster.String()))
	first := int(h.Sum32() % uint32(count)) //nolint:gosec // count is at most 65535
	for i := range count {
		port := from + (first+i)%count
		if !taken[port] && isFree(ctx, p.config.Bind, port) {
			return port, nil
		}
	}
	return 0, fault.Unavailable.New("no_free_port", "No port from %d to %d is free for another control plane.", p.config.PortFrom, p.config.PortTo)
}

// isFree finds out by taking the port for a moment.
func isFree(ctx context.Context, host string, port int) bool {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

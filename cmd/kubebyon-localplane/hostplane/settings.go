package hostplane

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"k8s.io/klog/v2"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/filestore"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/publish"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

// settings are what a host chose when it was first started, and keeps.
type settings struct {
	Addresses   netip.Prefix `json:"addresses"` // its part of 127.0.0.0/8
	Port        int          `json:"port"`
	IngressPort int          `json:"ingress_port"`
}

const (
	settingsFile = "host.json"

	// realmBits is the size of a host's part of the loopback network: sixteen /24.
	realmBits = 20
	// claimPort on the last address of a realm is held by the host that lives in it.
	claimPort = 10256

	realmAttempts = 50
)

// clusterIPs are for Services.
func (s settings) clusterIPs() netip.Prefix { return netip.PrefixFrom(s.Addresses.Addr(), 21) }

// balancerIPs are the second half but for its end.
func (s settings) balancerIP(n int) netip.Addr { return s.at(8*256 + 1 + n) }

const balancers = 6 * 256

// own is the address of the host itself, where it is not given another.
func (s settings) own() netip.Addr { return s.at(15*256 + 1) }

func (s settings) claim() netip.Addr { return s.at(15*256 + 254) }

func (s settings) at(n int) netip.Addr {
	b := s.Addresses.Addr().As4()
	b[2] += byte(n >> 8) //nolint:gosec // a /20 has 4096 addresses
	b[3] = byte(n)       //nolint:gosec // its last eight bits
	return netip.AddrFrom4(b)
}

func loadSettings(dir *filestore.Dir) (settings, error) {
	var s settings
	content, err := filestore.Read(dir.Path(settingsFile))
	if err != nil || content == nil {
		return s, err
	}
	if err := json.Unmarshal(content, &s); err != nil || !s.Addresses.IsValid() || s.Addresses.Bits() != realmBits {
		return s, refusal.New("The file %s is damaged.", dir.Path(settingsFile)).Because(err)
	}
	return s, nil
}

func (s settings) save(dir *filestore.Dir) error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the settings: %w", err)
	}
	return filestore.Write(dir.Path(settingsFile), append(content, '\n'))
}

// claimRealm finds a part of the loopback network that no other host lives in, once: Services
// keep their addresses. The listener that it returns is the claim.
func claimRealm(ctx context.Context, s *settings) (net.Listener, error) {
	if s.Addresses.IsValid() {
		l, err := publish.Listen(ctx, netip.AddrPortFrom(s.claim(), claimPort).String())
		if err != nil {
			// It worked once: another host has come in between. Its Services may have other addresses.
			klog.ErrorS(err, "Another host uses the same addresses", "addresses", s.Addresses.String())
			return nil, nil //nolint:nilnil // no claim is no failure
		}
		return l, nil
	}
	var errs error
	for range realmAttempts {
		s.Addresses = randomRealm()
		l, err := publish.Listen(ctx, netip.AddrPortFrom(s.claim(), claimPort).String())
		if err == nil {
			return l, nil
		}
		errs = errors.Join(errs, err)
	}
	return nil, refusal.New("No part of the network 127.0.0.0/8 is free for this host.").Because(errs)
}

// randomRealm leaves out the beginning of the network, which others use.
func randomRealm() netip.Prefix {
	var b [2]byte
	_, _ = rand.Read(b[:])
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 16 + b[0]%224, b[1] &^ 15, 0}), realmBits)
}

// listenOn listens on the port that is asked for, else on the one that was kept, else on a free
// one, which is kept.
func listenOn(ctx context.Context, address string, asked int, kept *int) (net.Listener, error) {
	port := asked
	if port == 0 {
		port = *kept
	}
	l, err := publish.Listen(ctx, net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); ok {
		*kept = tcp.Port
	}
	return l, nil
}

package kubetenant

import "github.com/kubebyon/kubebyon/ports/tenant"

// Guests are connections to clusters that others run.
type Guests struct {
	*Connector
	Reader
}

var _ tenant.Guests = Guests{}

// NewGuests returns a Connector for clusters that others run. c.Control should
// say where they may be.
func NewGuests(c Config) Guests {
	c.Guests = true
	return Guests{Connector: New(c)}
}

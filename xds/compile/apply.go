package compile

import (
	"github.com/outrigger-mesh/outrigger/xds"
)

// Check examines one resource before the store takes it over. Its error makes the
// resource be refused; what was there before stays.
func (c *Compiler) Check(typeURL, name string, body []byte) error {
	if typeURL == xds.TypeListener {
		return c.checkListener(name, body)
	}
	return nil
}

// Apply follows what a push changed, for everything that is in use.
func (c *Compiler) Apply(ch xds.Change) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	switch ch.TypeURL {
	case xds.TypeCluster:
		c.clustersChanged(ch.Changed, ch.Removed)
	case xds.TypeEndpoint:
		c.endpointsChanged(ch.Changed)
		c.warmed(ch.Changed)
	case xds.TypeListener:
		err = c.listenersChanged(ch.Changed, ch.Removed)
	case xds.TypeRoute:
		c.routesChanged(ch.Changed, ch.Removed)
	}
	c.arrive()
	return err
}

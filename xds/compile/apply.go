package compile

import (
	"github.com/outrigger-mesh/outrigger/xds"
)

// Check examines one resource before the store takes it over. Its error makes the
// resource be refused; what was there before stays.
func (c *Compiler) Check(typeURL, name string, body []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch typeURL {
	case xds.TypeListener:
		return c.checkListener(name, body)
	case xds.TypeCluster:
		return c.checkCluster(name, body)
	case xds.TypeExtension:
		return checkExtension(body)
	default:
		return nil
	}
}

// Refused follows a resource that was turned down. A listener that nothing older
// serves takes its address nevertheless and refuses its connections: they must
// not find a way that the configuration did not mean.
func (c *Compiler) Refused(typeURL, name string, body []byte, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch typeURL {
	case xds.TypeListener:
		c.refuseListener(name, body, why)
	case xds.TypeRoute:
		c.routes(name).refused = true
		c.arrive()
	}
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
		err = c.listenersChanged(&ch)
	case xds.TypeRoute:
		c.routesChanged(ch.Changed, ch.Removed)
	case xds.TypeExtension:
		c.extensionsChanged(append(ch.Changed, ch.Removed...))
	}
	c.arrive()
	return err
}

package upstream

import (
	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/outlier"
)

// detect has outliers told as the spec says; nil is not at all.
func (c *Cluster) detect(spec *Spec) {
	var config *outlier.Config
	if spec != nil && spec.Kind != OriginalDst {
		config = spec.Outliers
	}
	d := c.detector.Load()
	if d == nil {
		if config == nil {
			return
		}
		d = outlier.NewDetector((*members)(c))
		c.detector.Store(d)
	}
	d.Configure(config)
	c.reweighAnew()
}

// reweighAnew has a set that was just published see which endpoints are ejected: it
// may have been built before one was.
func (c *Cluster) reweighAnew() {
	if d := c.detector.Load(); d != nil && d.Ejected() {
		(*members)(c).Reweigh()
	}
}

// members shows a cluster to its detector.
type members Cluster

// Monitors lists the monitors of the endpoints that have been used.
func (m *members) Monitors() (used []*outlier.Monitor, all int) {
	endpoints := m.set.Load().Endpoints()
	for _, e := range endpoints {
		if b, ok := e.Attachment().(*berth); ok && b.monitor.Load() != nil {
			used = append(used, b.monitor.Load())
		}
	}
	return used, len(endpoints)
}

// Count is the number of endpoints.
func (m *members) Count() int { return m.set.Load().Len() }

// Reweigh builds the set anew. As in Envoy, the connections of an endpoint that was
// ejected are not used again; what they carry goes on.
func (m *members) Reweigh() {
	m.publishing.Lock()
	defer m.publishing.Unlock()
	set := m.set.Load().Rebuild()
	m.set.Store(set)
	for _, e := range set.Endpoints() {
		b, ok := e.Attachment().(*berth)
		if ok && b.ejected.Swap(e.Ejected()) != e.Ejected() && e.Ejected() {
			b.empty()
		}
	}
}

// Monitor is what hears of the outcomes of attempts at an endpoint, or nil where
// nobody wants to know.
func (c *Cluster) Monitor(e *lb.Endpoint) *outlier.Monitor {
	d := c.detector.Load()
	if d == nil {
		return nil
	}
	b := berthOf(c, e)
	if m := b.monitor.Load(); m != nil {
		return m
	}
	b.monitor.CompareAndSwap(nil, d.Monitor(e))
	return b.monitor.Load()
}

// dialled reports the outcome of a dial for a TCP flow.
func (c *Cluster) dialled(e *lb.Endpoint, err error) {
	m := c.Monitor(e)
	if m == nil {
		return
	}
	if err == nil {
		m.Report(outlier.Established, 0)
		return
	}
	fe, ok := flow.AsError(err)
	if !ok {
		return
	}
	switch fe.Kind {
	case flow.KindConnectTimeout:
		m.Report(outlier.TimedOut, 0)
	case flow.KindConnectFailure, flow.KindTLSFailure:
		m.Report(outlier.ConnectFailed, 0)
	default: // not the endpoint's
	}
}

package telemetry

import "github.com/outrigger-mesh/outrigger/flow"

// Join makes one observer of several, which see each record in the order given.
// Those that are nil are left out, a single one is returned as it is, and of none
// becomes one that does nothing.
func Join(observers ...flow.Observer) flow.Observer {
	joined := make(observerList, 0, len(observers))
	for _, o := range observers {
		if o != nil {
			joined = append(joined, o)
		}
	}
	if len(joined) == 1 {
		return joined[0]
	}
	return joined
}

type observerList []flow.Observer

// Observe shows the record to every observer.
func (l observerList) Observe(r *flow.Record) {
	for _, o := range l {
		o.Observe(r)
	}
}

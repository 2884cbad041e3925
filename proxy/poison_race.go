//go:build race

package proxy

import "github.com/outrigger-mesh/outrigger/flow"

// poison spoils an exchange that is over: whoever kept it, or its record, reads what
// cannot be true, and the race detector sees that it was written meanwhile.
func (x *Exchange) poison() {
	const gone = "used after the end of its exchange"
	rec := &x.Record
	rec.Route, rec.Details, rec.Termination = gone, gone, gone
	rec.Request = flow.Request{Method: gone, Path: gone, Authority: gone, Protocol: gone, Bytes: -1}
	rec.Response = flow.Response{Status: -1, Bytes: -1}
	rec.Upstream = flow.Upstream{Cluster: gone, FailureReason: gone, Attempts: -1}
	x.Random = 0
}

// cure makes a poisoned exchange ready for its next use.
func (x *Exchange) cure() { x.Record = flow.Record{} }

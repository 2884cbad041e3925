// Package upstream is the way to the endpoints of a cluster: one live Cluster holds
// the current Spec, the current set of endpoints, and the connections.
//
// A Cluster may be named before anything is known of it; its first use asks for it
// to be filled, once for all who wait. Publish swaps spec and endpoints; endpoints
// that stay keep their connections, those that go lose the idle ones. Open lends a
// connection for one HTTP exchange, pooled or new; Dial makes one for a TCP flow.
// Between uses no goroutine waits on a connection: a Reaper notices those that the
// upstream has closed, timers those that nobody has used. Close ends them all.
//
// It reports failures as *flow.Error and knows nothing of xDS, of routes or of
// what a downstream is.
package upstream

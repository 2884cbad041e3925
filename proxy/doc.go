// Package proxy is the data path: it takes captured connections, finds the
// configuration that is meant for them, and carries bytes or HTTP exchanges to an
// upstream endpoint.
//
// A Listener accepts a connection, asks for its original destination and may hand
// it over, once, to the listener of that address. Inspectors look at the first
// bytes, ChainSet.Match picks a Chain, the chain ends TLS, its ConnFilters are
// asked, and its ConnHandler (TCP or HTTP) serves the connection to its end.
// HTTP.exchange is the life of one request, read from top to bottom. Every
// connection and exchange that ends is one flow.Record, observed once. Drain ends
// all of it within a deadline.
//
// Configuration comes as immutable values (ListenerSpec, ChainSet, HTTPSpec, Rule)
// behind three live objects: Listener, HTTP's routes and upstream.Cluster. The
// package never looks up a resource by name and must not know Envoy's protos,
// Istio, or which HTTP version carries an exchange.
package proxy

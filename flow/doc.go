// Package flow holds the facts and the outcome of a connection or an exchange.
//
// A Conn is filled once, while a connection is accepted, and never changes
// afterwards. A Record is opened when an exchange (an HTTP request, or the whole
// of a TCP connection) begins, is filled by the one goroutine that runs the
// exchange, and is read once, at its end, by metrics, access log and tracing.
// An Error says who failed, which flag that earns and whether a retry is safe.
//
// It is a leaf: it knows the standard library and nothing of the mesh.
package flow

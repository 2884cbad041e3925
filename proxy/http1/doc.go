// Package http1 is the HTTP/1.0 and HTTP/1.1 codec, for both sides of the proxy.
//
// A ServerConn reads a head into its buffer, points the strings of an
// httpmsg.Request into it, calls the handler, which writes one response, and goes
// on with the next request or closes. A ClientConn serialises a request, reads the
// response's head in the same way and lends out its body; whoever owns the
// connection asks Reusable when the body has ended. While either side idles it
// holds no buffer.
//
// The parser is as strict as Envoy's and in two places stricter: a bare LF never
// ends a line, and a request target holds visible ASCII only. Both earn 400.
//
// A head that has begun is always bounded in time, also where configuration bounds
// neither heads nor idle streams: Istio turns both off, and Envoy would then let a
// head trickle in for as long as a connection may be idle. We wait a minute and
// answer 408, as for a configured bound.
//
// The package must not know routes, clusters, policies or xDS.
package http1

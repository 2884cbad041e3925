// Package http2 is the HTTP/2 codec, for both sides of the proxy.
//
// One goroutine per connection reads frames: it decodes heads, puts content into
// its stream's buffer, and wakes whoever waits for it. A ServerConn gives each new
// stream to a parked worker, which runs the handler straight through; a ClientConn's
// streams run on the goroutine that opened them. Whoever has something to send
// appends frames to the connection's buffer under its lock, and the buffer is
// written when work pauses, so that many streams share one write. While a connection
// idles it holds no buffer.
//
// Content is bounded by the windows: a stream's is given back when its content was
// consumed, so that a reader that stops holds no more than one window. A large body
// is not copied on its way between plain sockets: the reader lends parts of its
// buffer, which the other connection's output writes and gives back.
//
// The package must not know routes, clusters, policies or xDS.
package http2

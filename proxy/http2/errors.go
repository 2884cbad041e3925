package http2

import "errors"

// ErrFull is returned by Open when the upstream allows no more streams at present.
var ErrFull = errors.New("connection has no free stream")

// ErrGone is returned by Open when the connection takes no new streams any more.
var ErrGone = errors.New("connection takes no more streams")

// ProtocolError is a request that the codec refused, or what a peer did that ended
// the connection.
type ProtocolError struct {
	// Code is the HTTP/2 error code that the peer was told.
	Code uint32
	// Details is Envoy's response code detail.
	Details string
	// Conn is true where the whole connection ended.
	Conn bool
}

// Error returns the detail.
func (e *ProtocolError) Error() string { return e.Details }

package load

import (
	"context"
	"errors"
)

// Handshakes is a number of connections that carry one request each.
type Handshakes struct {
	Count      int
	Concurrent int  // 1 if 0
	Resume     bool // with a session ticket of an earlier connection; else a full handshake

	Begin, End func() // called around the measured part
}

// NewConnections opens connections one after the other, sends one HTTP/1.1 request on
// each and closes it. It fails where a handshake was not of the kind asked for.
func NewConnections(ctx context.Context, t Target, h Handshakes) (Result, error) {
	return Result{}, errors.ErrUnsupported
}

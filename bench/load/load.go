package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Protocols of a Shape.
const (
	HTTP1 = "http1"
	HTTP2 = "http2" // by prior knowledge, or by ALPN where the target has TLS
	GRPC  = "grpc"  // unary calls; Body is the message, without its prefix
	TCP   = "tcp"   // Body is sent and must come back
)

// Errors that callers decide on.
var (
	// ErrShape is a Shape or Target that cannot be run.
	ErrShape = errors.New("impossible shape of load")
	// ErrFailed says that requests failed: the figures of the run are worthless.
	ErrFailed = errors.New("requests failed")
)

// Target is what requests are sent to.
type Target struct {
	Addr   netip.AddrPort
	Host   string // authority
	Path   string // "/" if empty
	Method string // GET if empty, POST where there is a Body
	Header [][2]string
	Body   []byte
	TLS    *tls.Config // nil is plain text

	Status int   // of a good answer, 200 if 0
	Answer int64 // bytes of a good answer's body; 0: as many as the first answer had
}

// Shape is how much is sent, and when.
type Shape struct {
	Protocol string
	Conns    int // 1 if 0
	Streams  int // in flight on each connection, 1 if 0; more than 1 needs HTTP/2

	Rate    float64 // requests per second, in open loop; 0 is as many as possible
	Arrival Arrival // of the requests of an open loop
	Seed    uint64  // of the arrivals: equal seeds give equal times

	Duration time.Duration
	Requests int           // a fixed number instead of a duration
	Warmup   time.Duration // sent before, and neither counted nor measured

	Begin, End func() // called where the measured part begins, and after its last answer
}

// Result is what a run met.
type Result struct {
	Requests     int // good answers
	Errors       int // requests without one
	Reconnects   int // connections that the other side closed in order
	Elapsed      time.Duration
	Latency      *Histogram // from the time at which a request was due, until its answer had ended
	Lateness     *Histogram // of the generator itself: by how much it missed the due times (open loop)
	ErrorSamples []string
}

// Err fails where any request failed.
func (r *Result) Err() error {
	switch {
	case r.Errors > 0:
		return fmt.Errorf("%w: %d of %d: %q", ErrFailed, r.Errors, r.Requests+r.Errors, r.ErrorSamples)
	case r.Requests == 0:
		return fmt.Errorf("%w: not one was answered", ErrFailed)
	}
	return nil
}

// PerSecond is the rate of good answers.
func (r *Result) PerSecond() float64 { return float64(r.Requests) / max(r.Elapsed.Seconds(), 1e-9) }

// RoundTrips sends a message of 64 bytes to and fro over TCP connections.
func RoundTrips(ctx context.Context, addr netip.AddrPort, s Shape) (Result, error) {
	s.Protocol = TCP
	return Run(ctx, Target{Addr: addr, Body: make([]byte, 64)}, s)
}

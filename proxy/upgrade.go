package proxy

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/proxy/tunnel"
)

// tunnel passes an accepted upgrade on and records how it ended: the first side
// that has nothing more to say ends it, as in Envoy, though we let the other one
// finish.
func (x *Exchange) tunnel(resp *httpmsg.Response) {
	t := &tunnelSide{ReadWriteCloser: resp.Tunnel, idle: x.streamIdle()}
	resp.Tunnel = t
	rec := &x.Record
	n, err := x.w.WriteResponse(resp)
	rec.Response.Bytes, rec.Request.Bytes = n, t.up.Load()
	switch {
	case errors.Is(x.ended(), errTooLong):
		rec.Details = errTooLong.Details
	case errors.Is(err, tunnel.ErrIdle):
		rec.Flags.Set(flow.StreamIdleTimeout)
		rec.Details = "stream_idle_timeout"
	case t.first.Load() == upstreamFirst && x.trip.tcp != nil && err == nil: // an end like any other
	case t.first.Load() == upstreamFirst:
		rec.Flags.Set(flow.UpstreamConnectionTermination)
		rec.Details = resetDetails("upstream_reset_after_response_started", causeOf(flow.KindTermination).reset, "")
	default:
		rec.Flags.Set(flow.DownstreamConnectionTermination)
		rec.Details = "downstream_remote_disconnect"
	}
}

// Who ended a tunnel.
const (
	nobodyFirst int32 = iota
	downstreamFirst
	upstreamFirst
)

// tunnelSide is the upstream's end of a tunnel, which counts what goes up and notes
// who ends first.
type tunnelSide struct {
	io.ReadWriteCloser
	idle time.Duration // immutable

	up    atomic.Int64
	first atomic.Int32
}

// IdleTimeout is how long the tunnel may idle: the rule may say otherwise than its
// chain.
func (t *tunnelSide) IdleTimeout() time.Duration { return t.idle }

// Read returns what the upstream sends.
func (t *tunnelSide) Read(p []byte) (int, error) {
	n, err := t.ReadWriteCloser.Read(p)
	if err != nil {
		t.first.CompareAndSwap(nobodyFirst, upstreamFirst)
	}
	return n, err
}

// Write sends to the upstream.
func (t *tunnelSide) Write(p []byte) (int, error) {
	n, err := t.ReadWriteCloser.Write(p)
	t.up.Add(int64(n))
	if err != nil {
		t.first.CompareAndSwap(nobodyFirst, upstreamFirst)
	}
	return n, err
}

// CloseWrite passes the downstream's end on.
func (t *tunnelSide) CloseWrite() error {
	t.first.CompareAndSwap(nobodyFirst, downstreamFirst)
	return tunnel.CloseWrite(t.ReadWriteCloser)
}

// Close ends both directions.
func (t *tunnelSide) Close() error {
	t.first.CompareAndSwap(nobodyFirst, downstreamFirst)
	return t.ReadWriteCloser.Close()
}

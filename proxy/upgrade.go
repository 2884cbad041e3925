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
	t := &tunnelSide{ReadWriteCloser: resp.Tunnel, idle: x.streamIdle(), ended: x.ended}
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
	case x.ordinary(t, err):
	case t.first.Load() != downstreamFirst:
		rec.Flags.Set(flow.UpstreamConnectionTermination)
		rec.Details = resetDetails("upstream_reset_after_response_started", causeOf(flow.KindTermination).reset, "")
	default:
		x.broken(x.howLeft())
	}
}

// ordinary reports whether a tunnel was ended as an exchange is: first by the upstream
// of a CONNECT or of a stream, or by both, and first by a downstream that ends streams
// and not connections.
func (x *Exchange) ordinary(t *tunnelSide, err error) bool {
	switch t.first.Load() {
	case upstreamEnded:
		return x.trip.tcp != nil || t.endures()
	case downstreamFirst:
		w, ok := x.w.(leaver)
		return ok && err == nil && w.Left() == nil
	default:
		return false
	}
}

// howLeft is why the downstream is gone.
func (x *Exchange) howLeft() error {
	if w, ok := x.w.(leaver); ok {
		if why := w.Left(); why != nil {
			return why
		}
	}
	return errLeft
}

// Who ended a tunnel.
const (
	nobodyFirst int32 = iota
	downstreamFirst
	upstreamEnded // in order
	upstreamFailed
)

// tunnelSide is the upstream's end of a tunnel, which counts what goes up and notes
// who ends first.
type tunnelSide struct {
	io.ReadWriteCloser
	idle  time.Duration // immutable
	ended func() error  // immutable; why the downstream has given up, or nil without one that can

	up    atomic.Int64
	first atomic.Int32
}

// IdleTimeout is how long the tunnel may idle: the rule may say otherwise than its
// chain.
func (t *tunnelSide) IdleTimeout() time.Duration { return t.idle }

// Read returns what the upstream sends.
func (t *tunnelSide) Read(p []byte) (int, error) {
	n, err := t.ReadWriteCloser.Read(p)
	t.failed(err)
	return n, err
}

// endures reports that the upstream can end the tunnel and keep its connection.
func (t *tunnelSide) endures() bool {
	e, ok := t.ReadWriteCloser.(interface{ Endures() bool })
	return ok && e.Endures()
}

// failed notes an end that the upstream tells: its own, unless it was given up.
func (t *tunnelSide) failed(err error) {
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		t.first.CompareAndSwap(nobodyFirst, upstreamEnded)
	case t.ended != nil && t.ended() != nil:
		t.first.CompareAndSwap(nobodyFirst, downstreamFirst)
	default:
		t.first.CompareAndSwap(nobodyFirst, upstreamFailed)
	}
}

// Write sends to the upstream.
func (t *tunnelSide) Write(p []byte) (int, error) {
	n, err := t.ReadWriteCloser.Write(p)
	t.up.Add(int64(n))
	t.failed(err)
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

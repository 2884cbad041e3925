package proxy

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/proxy/tunnel"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// TCPTunnel has a TCP chain ask an HTTP proxy, by CONNECT or POST, for a way to where
// its bytes shall go.
type TCPTunnel struct {
	// Target is the authority that is asked for: host and port.
	Target string
	// Post asks by POST to Path, where the two bodies carry the bytes.
	Post bool
	Path string
	// Header are further fields of the request.
	Header []httpmsg.Field
}

// tunnelBound is how long the HTTP proxy may take to answer.
const tunnelBound = time.Minute

var (
	errTunnelRefused = errors.New("tunnel refused")
	errTunnelCut     = errors.New("tunnel was cut")
)

// way is a tunnel through an HTTP proxy.
type way struct {
	tunnelSide

	stream *upstream.Stream
	sent   *io.PipeWriter // the request's body under POST, else nil
}

// serveTunnel is ServeConn through an HTTP proxy.
func (t *TCP) serveTunnel(ctx context.Context, c *Conn, rec *flow.Record) {
	w := &way{}
	err := t.attempts(ctx, c, rec, func(cluster *upstream.Cluster, ep *lb.Endpoint) error {
		return t.ask(ctx, cluster, ep, w)
	})
	if err != nil {
		t.fail(rec, err)
		return
	}
	defer w.end()
	rec.Upstream.Local = w.stream.Local()
	if s := w.stream.TLS(); s.Established {
		rec.Upstream.TLS, rec.Upstream.Peer = true, &s.Peer
	}
	w.idle = t.spec.IdleTimeout
	if d := t.spec.MaxDuration; d > 0 {
		bounded, release := context.WithDeadlineCause(ctx, c.Flow.Start.Add(d), errMaxDuration)
		defer release()
		ctx = bounded
	}
	stop := w.cutWith(ctx)
	defer stop()
	rec.Response.Bytes, err = tunnel.Relay(c, w, t.spec.IdleTimeout, t.spec.IdleTimeout)
	rec.Request.Bytes = w.up.Load()
	switch {
	case errors.Is(err, tunnel.ErrIdle):
		rec.Termination = (&ending{reason: endIdle}).text()
	case errors.Is(context.Cause(ctx), errMaxDuration):
		rec.Flags.Set(flow.DurationTimeout)
		rec.Termination = (&ending{reason: endMaxDuration}).text()
	case ctx.Err() != nil:
		rec.Termination = (&ending{reason: endCut}).text()
	}
}

// ask sends the request for a tunnel, and waits for the answer.
func (t *TCP) ask(ctx context.Context, cluster *upstream.Cluster, ep *lb.Endpoint, w *way) error {
	stream, err := cluster.Open(ctx, ep, &t.open)
	if err != nil {
		return err
	}
	w.stream, w.sent = stream, nil
	r := t.request(w)
	stop := w.cutWith(ctx)
	resp, err := stream.RoundTrip(r, time.Now().Add(tunnelBound))
	stop()
	if err == nil && (resp.Status < 200 || resp.Status >= 300) {
		err = &flow.Error{
			Side: flow.SideUpstream, Flag: flow.UpstreamConnectionFailure, Kind: flow.KindConnectFailure, Err: errTunnelRefused,
			Details: "tunnel refused with status " + strconv.Itoa(resp.Status),
		}
		_ = resp.Body.Close() // nobody reads why
	}
	if err != nil {
		w.end()
		return err
	}
	w.ReadWriteCloser = resp.Tunnel
	if w.sent != nil {
		w.ReadWriteCloser = &bodies{down: resp.Body, up: w.sent, stream: stream}
	}
	return nil
}

// request asks for a tunnel.
func (t *TCP) request(w *way) *httpmsg.Request {
	spec := t.spec.Tunnel
	r := &httpmsg.Request{Method: connectMethod, Scheme: "http", Authority: spec.Target, Protocol: protocolHTTP11, Body: httpmsg.NoBody}
	r.Header.Fields = append(r.Header.Fields, spec.Header...)
	if spec.Post {
		body, sent := io.Pipe()
		w.sent = sent
		r.Method, r.Path, r.Body, r.ContentLength = "POST", spec.Path, pipeBody{body}, httpmsg.Unknown
	}
	return r
}

// cutWith cuts the tunnel when the context ends, until the function that it returns is
// called.
func (w *way) cutWith(ctx context.Context) (stop func()) {
	done := make(chan struct{})
	end := context.AfterFunc(ctx, func() {
		defer close(done)
		w.cut(errTunnelCut)
	})
	return func() {
		if !end() {
			<-done
		}
	}
}

// cut ends the tunnel from another goroutine.
func (w *way) cut(why error) {
	if w.sent != nil {
		_ = w.sent.CloseWithError(why) // which never fails
	}
	w.stream.Abort(why)
}

// end gives the connection back.
func (w *way) end() {
	if w.sent != nil {
		_ = w.sent.Close() // which never fails
	}
	w.stream.Close()
}

// bodies are a POST and its answer as one stream of bytes.
type bodies struct {
	down   httpmsg.Body
	up     *io.PipeWriter
	stream *upstream.Stream
}

// Read reads the response's body.
func (b *bodies) Read(p []byte) (int, error) { return b.down.Read(p) }

// Write goes into the request's body.
func (b *bodies) Write(p []byte) (int, error) { return b.up.Write(p) }

// CloseWrite ends the request.
func (b *bodies) CloseWrite() error { return b.up.Close() }

// Close ends both.
func (b *bodies) Close() error {
	_ = b.up.CloseWithError(errTunnelCut) // which never fails
	b.stream.Abort(errTunnelCut)
	return nil
}

// pipeBody is a request's body that is being written.
type pipeBody struct{ *io.PipeReader }

// Buffered is 0: what there is has to be waited for.
func (pipeBody) Buffered() int { return 0 }

package http1

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/sock"
)

// maxInterim is how many 1xx responses one request may get.
const maxInterim = 32

// errNotIdle is returned for a request on a connection that has another one.
var errNotIdle = errors.New("connection is not idle")

// errUnwritable is returned for a request that has no request line.
var errUnwritable = errors.New("request target cannot be serialised")

// ClientOptions are an upstream connection's settings. Zero values are Envoy's
// defaults.
type ClientOptions struct {
	// MaxHeadBytes and MaxHeaders bound a response's head.
	MaxHeadBytes int
	MaxHeaders   int
	// EnableTrailers keeps trailers both ways; otherwise they are dropped.
	EnableTrailers bool
	// Names says how the names of fields are written.
	Names Names
	// ForwardReason passes the upstream's reason phrase on. It is dropped otherwise: it
	// means nothing (RFC 9112 section 4).
	ForwardReason bool
	// FullTarget sends request targets in absolute form.
	FullTarget bool
	// AllowChunkedLength is that of ServerOptions.
	AllowChunkedLength bool
}

// clientState is where a connection is between two requests.
type clientState uint8

const (
	clientIdle clientState = iota
	clientHead             // the response's head is awaited
	clientBody             // the response's body is lent out
	clientEnded
)

// ClientConn is an upstream connection: an httpmsg.RoundTripper for one request at a
// time. Response and body are valid until Release or the next RoundTrip.
type ClientConn struct {
	conn net.Conn      // immutable
	o    ClientOptions // immutable

	// owned by the goroutine that runs the exchange
	rd     reader
	parser responseParser
	req    *httpmsg.Request
	res    httpmsg.Response
	body   responseBody
	s      sender
	pump   *pump // of this connection's first body that had to be awaited
	state  clientState
	timed  bool // the connection has a write deadline
	begun  bool // a response whose length is known has begun
	heard  bool // an interim response has come
	alive  aliveCheck

	mu    sync.Mutex
	abort error // guarded by mu; what Abort was called with first
}

var _ httpmsg.RoundTripper = (*ClientConn)(nil)

// NewClientConn prepares a connection that was dialled: a socket, or a TLS session
// that runs on what Beneath returned.
func NewClientConn(conn net.Conn, o ClientOptions) *ClientConn {
	l := limits{o.MaxHeadBytes, o.MaxHeaders}
	if l.bytes <= 0 {
		l.bytes = DefaultMaxResponseHeadBytes
	}
	if l.fields <= 0 {
		l.fields = DefaultMaxHeaders
	}
	conn = sock.Wrap(conn)
	c := &ClientConn{conn: conn, o: o}
	c.rd.init(conn)
	c.parser.limits = l
	c.parser.spelling = o.Names.learner()
	c.parser.chunkedLength = o.AllowChunkedLength
	c.body.c = c
	c.alive.init(conn)
	return c
}

// RoundTrip sends the request and returns the response's head. The deadline ends
// with the head; SetBodyDeadline bounds the rest. The request's body is interrupted
// and not closed where it can be (httpmsg.Interruptible), so that what was not read
// is there for another attempt.
func (c *ClientConn) RoundTrip(r *httpmsg.Request, deadline time.Time) (*httpmsg.Response, error) {
	if c.state != clientIdle && !c.Reusable() {
		return nil, &flow.Error{Side: flow.SideInternal, Retry: flow.RetryUnsent, Err: errNotIdle}
	}
	if !writable(r) {
		return nil, &flow.Error{Side: flow.SideInternal, Kind: flow.KindProtocol, Err: errUnwritable}
	}
	c.Release()
	c.state, c.req, c.begun, c.heard = clientHead, r, false, false
	c.res.Trailer.Reset()
	if err := c.deadline(deadline); err != nil {
		return nil, c.failed(err)
	}
	if err := c.send(r); err != nil {
		return nil, c.failed(err)
	}
	if err := c.await(r); err != nil {
		return nil, c.failed(err)
	}
	if !deadline.IsZero() {
		if err := c.deadline(time.Time{}); err != nil {
			return nil, c.failed(err)
		}
	}
	return &c.res, nil
}

// deadline bounds the waits of both directions, unless the exchange was aborted.
func (c *ClientConn) deadline(t time.Time) error {
	c.rd.limit = t
	if t.IsZero() && !c.timed {
		return nil
	}
	c.timed = !t.IsZero()
	if err := c.conn.SetWriteDeadline(t); err != nil {
		return err
	}
	if c.rd.stop.Load() {
		_ = c.conn.SetWriteDeadline(past()) // Abort came first
	}
	return nil
}

// SetBodyDeadline bounds the reads of the response's body that follow; zero is none.
// It is for the goroutine that reads the body.
func (c *ClientConn) SetBodyDeadline(t time.Time) { c.rd.limit = t }

// send writes the head with what there is of the body, and leaves the rest to the
// pump.
func (c *ClientConn) send(r *httpmsg.Request) error {
	c.s.open(c.conn)
	c.s.buf = c.o.appendRequest(c.s.buf, r)
	if r.ContentLength == 0 {
		err := c.s.flush()
		c.s.close()
		return err
	}
	if n := r.Body.Buffered(); r.ContentLength > 0 && int64(n) == r.ContentLength &&
		cap(c.s.buf)-len(c.s.buf) >= n+minRead {
		t := transfer{from: r.Body, length: r.ContentLength}
		t.run(&c.s)
		c.s.close()
		if t.readErr != nil {
			return &sourceError{t.readErr}
		}
		return t.writeErr
	}
	if c.pump == nil {
		c.pump = newPump(c)
	}
	c.pump.start(r, c.s)
	c.s = sender{wrote: c.s.wrote}
	return nil
}

// await reads heads up to the final one.
func (c *ClientConn) await(r *httpmsg.Request) error {
	for range maxInterim {
		if err := c.rd.head(c.parser.raw(), c.parseHead); err != nil {
			return err
		}
		if c.res.Status >= 200 || c.res.Status == 101 {
			return c.begin(r)
		}
		c.heard = true
		if r.Interim != nil && forwarded(c.res.Status) {
			if err := r.Interim(c.res.Status, &c.res.Header); err != nil {
				return &sourceError{err}
			}
		}
		c.rd.unpin()
	}
	return errInterimFlood
}

func (c *ClientConn) parseHead(b []byte) (int, error) { return c.parser.parse(b, &c.res, c.req) }

// forwarded names the interim responses that Envoy passes on.
func forwarded(status int) bool {
	return status == 100 || status == 102 || status == 103 || status == 104
}

// begin readies the body of the final response.
func (c *ClientConn) begin(r *httpmsg.Request) error {
	c.res.Body, c.res.Tunnel = httpmsg.NoBody, nil
	if !c.o.ForwardReason {
		c.res.Reason = ""
	}
	connect := r.Method == "CONNECT" && c.res.Status < 300
	if c.res.Status == 101 || connect {
		if !connect && (r.Upgrade == "" || !equalFold(c.parser.upgrade, r.Upgrade)) {
			return errUpgradeRefused
		}
		if !c.endPump(true) {
			return errUpgradeRefused
		}
		c.parser.keepAlive = false
		c.state = clientBody
		c.res.Tunnel = &stream{c.conn, &c.rd}
		return nil
	}
	c.state = clientBody
	c.body.dec.start(&c.rd, c.parser.framing, c.res.ContentLength, c.parser.limits)
	if c.parser.framing == framingNone {
		c.ended(true)
		return nil
	}
	c.begun = c.parser.framing != framingClose
	c.res.Body = &c.body
	return nil
}

// ended closes an exchange: clean says that the response came to its end.
func (c *ClientConn) ended(clean bool) {
	if c.state == clientEnded {
		return
	}
	sent := c.endPump(clean)
	if !clean || !sent || c.rd.avail() > 0 {
		c.parser.keepAlive = false
	}
	c.state = clientEnded
}

// endPump joins the pump, and reports whether the whole request was sent.
func (c *ClientConn) endPump(clean bool) bool {
	return c.pump == nil || !c.pump.running || c.pump.join(clean)
}

// Abort ends the exchange with err, and the connection with it. It may be called
// from any goroutine, but only between the start of an exchange and its end.
func (c *ClientConn) Abort(err error) {
	c.mu.Lock()
	if c.abort == nil {
		c.abort = err
	}
	c.mu.Unlock()
	c.rd.interrupt()
	_ = c.conn.SetWriteDeadline(past()) // a closed connection does not wait either
}

func (c *ClientConn) aborted() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.abort
}

// Reusable reports whether the exchange has ended so that another one may follow.
func (c *ClientConn) Reusable() bool {
	switch c.state {
	case clientIdle:
		return true
	case clientEnded:
		return c.parser.keepAlive && c.rd.err == nil && !c.rd.stop.Load()
	default:
		return false
	}
}

// Release gives up the memory of the last exchange, its response included. The
// connection's owner calls it when the exchange is over.
func (c *ClientConn) Release() {
	if c.state != clientEnded && c.state != clientIdle {
		return
	}
	c.rd.unpin()
	c.rd.release()
	c.req = nil
	c.res.Reason, c.parser.upgrade = "", ""
	c.parser.forget(&c.res.Header)
}

// Alive looks, without waiting, whether the endpoint has closed an idle connection
// or sent what nobody asked for, which would be taken for the next response.
func (c *ClientConn) Alive() bool {
	return c.rd.err == nil && c.rd.avail() == 0 && c.alive.check()
}

// Close ends the connection. It is for the goroutine that owns it; to end an
// exchange that another one runs, there is Abort.
func (c *ClientConn) Close() error {
	err := c.conn.Close()
	if c.state == clientBody {
		c.ended(false)
	}
	c.parser.keepAlive = false
	c.state = clientEnded
	c.rd.free()
	return err
}

// failed ends the exchange before its response's head was whole, and says whose
// fault it was.
func (c *ClientConn) failed(err error) error {
	wrote := c.s.wrote
	if c.pump != nil && c.pump.running {
		c.pump.join(false)
		wrote = c.pump.s.wrote
		if src := c.pump.source; src != nil && errors.Is(err, errInterrupted) {
			err = src
		}
	}
	c.s.close()
	c.parser.keepAlive = false
	c.state = clientEnded
	if a := c.aborted(); a != nil {
		return a
	}
	if src, ok := errors.AsType[*sourceError](err); ok {
		return src.err
	}
	return c.upstreamError(err, wrote)
}

func (c *ClientConn) upstreamError(err error, wrote int64) error {
	e := &flow.Error{
		Side: flow.SideUpstream, Flag: flow.UpstreamConnectionTermination, Kind: flow.KindTermination,
		Retry: flow.RetryReset, Err: err,
	}
	if errors.Is(err, io.EOF) {
		e.Err = io.ErrUnexpectedEOF
	}
	var pe *ProtocolError
	switch {
	case errors.As(err, &pe), c.cut(err):
		e.Flag, e.Kind = flow.UpstreamProtocolError, flow.KindProtocol
	case errors.Is(err, os.ErrDeadlineExceeded):
		e.Flag, e.Kind = flow.UpstreamRequestTimeout, flow.KindTimeout
	case c.heard:
	case wrote == 0, errors.Is(err, io.EOF) && c.untaken(wrote):
		e.Retry = flow.RetryUnsent
	default:
		e.Retry = flow.RetryUnanswered
	}
	return e
}

// cut reports that the connection ended within a message: to Envoy that is a
// protocol error, whereas one that ends before is a connection's end.
func (c *ClientConn) cut(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, errInterrupted) || c.rd.err == nil {
		return false
	}
	return c.begun || c.rd.avail() > 0
}

// sourceError wraps what is not the upstream's fault: reading the request's body, or
// passing an interim response on.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// responseBody is the content that an upstream sends.
type responseBody struct {
	c   *ClientConn
	dec decoder
}

// Read waits for content.
func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.dec.read(p)
	if err == nil {
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		if b.c.o.EnableTrailers && b.c.state == clientBody {
			b.dec.trailers(&b.c.res.Trailer)
		}
		b.c.ended(true)
		return n, io.EOF
	}
	return n, b.failed(err)
}

func (b *responseBody) failed(err error) error {
	b.c.ended(false)
	if a := b.c.aborted(); a != nil {
		return a
	}
	fe := func() *flow.Error {
		target := &flow.Error{}
		_ = errors.As(b.c.upstreamError(err, 1), &target)
		return target
	}()
	fe.Retry = flow.RetryNever
	return fe
}

// Buffered is the number of bytes that were received and not read yet.
func (b *responseBody) Buffered() int { return b.dec.buffered() }

// Close gives up the rest of the content.
func (b *responseBody) Close() error {
	b.c.ended(errors.Is(b.dec.err, io.EOF))
	return nil
}

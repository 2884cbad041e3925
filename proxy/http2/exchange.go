package http2

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/proxy/tunnel"
)

var exchanges = sync.Pool{New: func() any { return newExchange() }}

// exchange is a stream that a downstream opened: its request, and the
// httpmsg.ResponseWriter of the answer.
type exchange struct {
	stream
	c *ServerConn

	req     httpmsg.Request
	trailer httpmsg.Header // of the request; the reader's until END_STREAM
	body    requestBody
	cargo   cargo
	started bool
	waited  bool                 // for a worker
	head    func(end bool) error // appendHead, made once
	res     *httpmsg.Response
}

var (
	_ httpmsg.ResponseWriter = (*exchange)(nil)
	_ httpmsg.Watcher        = (*exchange)(nil)
)

func newExchange() *exchange {
	x := &exchange{}
	x.recv, x.send = newBell(), newBell()
	x.kin = x
	x.body.x = x
	x.head = x.appendHead
	return x
}

// begin readies the exchange for a request.
func (x *exchange) begin(c *ServerConn) {
	x.c = c
	x.stream.begin(&c.conn)
	x.started, x.waited = false, false
	x.req.Header.Reset()
	x.req.Trailer.Reset()
	x.trailer.Reset()
	x.req.Interim = nil
}

// ready is called when the request's head is complete. The caller holds the lock.
func (x *exchange) ready(h *headParser) {
	x.in.announced = h.length
	x.in.ended = h.end
	x.req.ContentLength = 0
	x.req.Body = httpmsg.NoBody
	if tunnels(&x.req) { // what follows a tunnel's head is no content, and has no length
		x.in.announced = httpmsg.Unknown
		return
	}
	if h.end {
		return
	}
	x.req.ContentLength = h.length // -1 is httpmsg.Unknown
	x.req.Body = &x.body
}

// serve runs the handler, and ends the stream.
func (x *exchange) serve() {
	c := x.c
	c.mu.Lock()
	over := x.waited && x.err != nil // nobody had begun to serve it
	c.mu.Unlock()
	if !over {
		c.h.ServeExchange(x, &x.req)
	}
	c.mu.Lock()
	for x.calling {
		c.cond.Wait()
	}
	x.gone = nil
	switch {
	case x.err != nil || x.reset:
	case !x.sent.end:
		c.resetLocked(&x.stream, codeInternal)
	case !x.in.ended:
		c.resetLocked(&x.stream, codeNo) // RFC 9113 section 8.1
	}
	x.closeInputLocked()
	x.closedLocked()
	c.forgetLocked(&x.stream)
	if c.open == 0 {
		c.idle()
	}
	c.mu.Unlock()
	c.flush()
	x.end()
}

// idle is called when the last stream is closed. The caller holds the lock.
func (c *ServerConn) idle() {
	c.idleAt = c.since(time.Now())
	c.clock.arm(c.idleAt + int64(c.o.IdleTimeout))
	if c.parting.begun {
		c.clock.arm(c.idleAt)
		return
	}
	if c.o.Draining != nil && c.o.Draining() {
		c.drainLocked()
	}
}

// end gives the exchange back.
func (x *exchange) end() {
	x.req.Header.Reset()
	x.req.Trailer = httpmsg.Header{}
	x.trailer.Reset()
	x.req.Body, x.req.Interim = nil, nil
	x.req.Authority, x.req.Path, x.req.Upgrade = "", "", ""
	x.c, x.stream.c, x.res, x.id = nil, nil, nil, 0
	x.cargo = cargo{}
	exchanges.Put(x)
}

// Started reports whether a final head was begun.
func (x *exchange) Started() bool { return x.started }

// WriteInterim sends a 1xx response other than 101.
func (x *exchange) WriteInterim(status int, h *httpmsg.Header) error {
	if x.started || status == 100 && !x.c.o.Proxy100Continue {
		return nil // nobody waits for it, or it was sent on our own account
	}
	c := x.c
	c.mu.Lock()
	err := x.headRoom()
	if err == nil {
		c.beginHead()
		c.out.buf = c.enc.appendStatus(c.out.buf, status)
		c.appendFields(h, httpmsg.Unknown)
		c.endHead(x.id, false)
	}
	c.mu.Unlock()
	c.flush()
	return err
}

// WriteResponse sends the response. Head and body leave together where the body is
// there.
func (x *exchange) WriteResponse(res *httpmsg.Response) (int64, error) {
	if x.started {
		return 0, errStarted
	}
	x.started = true
	x.res = res
	switch {
	case res.Tunnel != nil:
		return x.tunnel(res)
	case x.req.Method == "HEAD" || res.Status == 204 || res.Status == 304 || res.ContentLength == 0 && res.Trailer.Len() == 0 && res.Body == httpmsg.NoBody:
		return 0, x.bare(res)
	}
	g := &x.cargo
	*g = cargo{from: res.Body, length: res.ContentLength, trailer: &res.Trailer, head: x.head}
	g.run(&x.stream)
	_ = res.Body.Close() // what matters of it was read
	if g.sendErr != nil {
		return g.sent, g.sendErr
	}
	return g.sent, g.readErr
}

// bare sends a response that has no body.
func (x *exchange) bare(res *httpmsg.Response) error {
	x.c.mu.Lock()
	err := x.appendHead(true)
	x.c.mu.Unlock()
	x.c.flush()
	_ = res.Body.Close() // was not asked for
	return err
}

// appendHead appends the response's head. The caller holds the lock.
func (x *exchange) appendHead(end bool) error {
	c, res := x.c, x.res
	if err := x.headRoom(); err != nil {
		return err
	}
	length := res.ContentLength
	if res.Status == 204 {
		length = httpmsg.Unknown
	}
	status := res.Status
	if res.Tunnel != nil && status == 101 {
		status = 200
	}
	c.beginHead()
	c.out.buf = c.enc.appendStatus(c.out.buf, status)
	c.appendFields(&res.Header, length)
	c.endHead(x.id, end)
	x.sent.head = true
	if end {
		x.endOutputLocked()
	}
	return nil
}

// tunnel accepts a CONNECT, and relays bytes until both directions have ended.
func (x *exchange) tunnel(res *httpmsg.Response) (int64, error) {
	x.c.mu.Lock()
	err := x.appendHead(false)
	x.relayed = true
	x.c.mu.Unlock()
	x.c.flush()
	if err != nil {
		_ = res.Tunnel.Close() // the downstream is gone
		return 0, err
	}
	return tunnel.Relay(&pipe{s: &x.stream, code: codeConnect}, res.Tunnel, x.c.o.StreamIdleTimeout, x.c.o.IdleTimeout)
}

// Watch has gone called when the downstream gives the stream up before Unwatch: at
// once where it has done so already, so that nothing is begun for it.
func (x *exchange) Watch(gone func()) {
	x.c.mu.Lock()
	failed := x.err != nil
	if !failed {
		x.gone = gone
	}
	x.c.mu.Unlock()
	if failed {
		gone()
	}
}

// Left is why the downstream gave the stream up, or nil where it did not.
func (x *exchange) Left() error {
	x.c.mu.Lock()
	defer x.c.mu.Unlock()
	return x.err
}

// Unwatch ends Watch; gone is not called any more when it returns.
func (x *exchange) Unwatch() {
	c := x.c
	c.mu.Lock()
	for x.calling {
		c.cond.Wait()
	}
	x.gone = nil
	c.mu.Unlock()
}

func (x *exchange) mayHaveBody() bool { return true }

// freeLocked frees the stream's place: the downstream may open another one as soon
// as it reads that this one is over.
func (x *exchange) freeLocked() {
	if x.id != 0 {
		x.c.open--
	}
}

func (x *exchange) lost(err error) error { return downstreamGone(err) }

// requestBody is the content that a downstream sends.
type requestBody struct {
	x *exchange
}

var (
	_ httpmsg.Body          = (*requestBody)(nil)
	_ httpmsg.Interruptible = (*requestBody)(nil)
	_ httpmsg.Counted       = (*requestBody)(nil)
	_ httpmsg.Piecewise     = (*requestBody)(nil)
)

// Read waits for content.
func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.x.receive(p, 0)
	if errors.Is(err, io.EOF) {
		b.x.req.Trailer = b.x.trailer
	}
	return n, err
}

// ReadPiece waits for content.
func (b *requestBody) ReadPiece() (httpmsg.Piece, error) {
	k, err := b.x.receivePiece(0)
	if errors.Is(err, io.EOF) {
		b.x.req.Trailer = b.x.trailer
	}
	return k, err
}

// Pieces reads the body as it lies.
func (b *requestBody) Pieces() httpmsg.PieceReader { return b }

// Buffered is the number of bytes that were received and not read yet.
func (b *requestBody) Buffered() int { return b.x.buffered() }

// Close gives up the content, and ends a Read that waits for it.
func (b *requestBody) Close() error {
	b.x.closeInput()
	return nil
}

// Received is the number of content bytes that were read so far.
func (b *requestBody) Received() int64 {
	b.x.stream.c.mu.Lock()
	defer b.x.stream.c.mu.Unlock()
	return b.x.in.read
}

// Arrived is the number of content bytes that are here, read or not.
func (b *requestBody) Arrived() int64 {
	b.x.stream.c.mu.Lock()
	defer b.x.stream.c.mu.Unlock()
	return b.x.in.read + int64(b.x.in.size)
}

// Interrupt ends a Read that waits, and fails others until Resume.
func (b *requestBody) Interrupt() { b.x.interrupt(true) }

// Resume allows reading again.
func (b *requestBody) Resume() { b.x.interrupt(false) }

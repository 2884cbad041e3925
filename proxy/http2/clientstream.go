package http2

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/buffer"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

var clientStreams = sync.Pool{New: func() any { return newClientStream() }}

// maxInterim is how many 1xx responses one request may get.
const maxInterim = 32

// interim is a 1xx response.
type interim struct {
	status int
	header httpmsg.Header
}

// ClientStream is one exchange on a connection. Request and response are valid until
// Close, after which it must not be touched.
type ClientStream struct {
	stream
	c *ClientConn

	req  *httpmsg.Request
	body responseBody
	pump pump
	// lasts is until when the response's body may take; 0 is for ever.
	lasts int64
	used  bool

	// guarded by mu; res and trailer are the reader's until answered, and the end
	res      httpmsg.Response
	trailer  httpmsg.Header
	answered bool
	interims []interim
	heard    int   // 1xx responses so far
	at       int64 // where the request begins in the connection's output
	head     func(end bool) error
}

var _ httpmsg.RoundTripper = (*ClientStream)(nil)

func newClientStream() *ClientStream {
	s := &ClientStream{}
	s.recv, s.send = newBell(), newBell()
	s.kin = s
	s.body.s = s
	s.head = s.appendHead
	s.pump.init(s)
	return s
}

func (s *ClientStream) begin(c *ClientConn) {
	s.c = c
	s.stream.begin(&c.conn)
	s.lasts, s.used, s.answered, s.heard, s.at = 0, false, false, 0, 0
	s.res.Header.Reset()
	s.res.Trailer.Reset()
	s.trailer.Reset()
}

// RoundTrip sends the request and returns the response's head, as
// http1.ClientConn.RoundTrip does. It can be called once. The deadline ends with the
// head; SetBodyDeadline bounds the rest. Where the request's body is not there yet it is
// sent while the response is awaited, and read; it is interrupted and not closed where
// it can be (httpmsg.Interruptible).
func (s *ClientStream) RoundTrip(r *httpmsg.Request, deadline time.Time) (*httpmsg.Response, error) {
	switch {
	case s.used:
		return nil, &flow.Error{Side: flow.SideInternal, Retry: flow.RetryUnsent, Err: errTwice}
	case !writable(r):
		return nil, &flow.Error{Side: flow.SideInternal, Kind: flow.KindProtocol, Err: errUnwritable}
	}
	s.used, s.req = true, r
	var limit int64
	if !deadline.IsZero() {
		limit = s.c.since(deadline)
		s.until = limit
	}
	err := s.dispatch(r)
	if err == nil {
		err = s.await(r, limit)
	}
	if err == nil {
		s.accept(r)
		return &s.res, nil
	}
	s.endPump()
	return nil, err
}

// dispatch sends the request, or has the pump do it.
func (s *ClientStream) dispatch(r *httpmsg.Request) error {
	c := s.c
	if tunnels(r) || r.Body == httpmsg.NoBody || r.ContentLength == 0 {
		c.mu.Lock()
		err := s.appendHead(!tunnels(r))
		c.mu.Unlock()
		c.flush()
		return err
	}
	g := &s.pump.cargo
	*g = cargo{from: r.Body, length: r.ContentLength, trailer: &r.Trailer, head: s.head}
	if n := int64(r.Body.Buffered()); n < 0 || n == r.ContentLength && n <= buffer.Medium && s.fits(n) {
		g.run(&s.stream)
		if g.readErr != nil {
			return g.readErr
		}
		return g.sendErr
	}
	s.pump.start()
	return nil
}

// fits reports whether so much content can be sent at once. Else the answer must be
// awaited meanwhile: there may be one before there is room.
func (s *ClientStream) fits(n int64) bool {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	return n <= min(c.peer.window, c.window.send) && !c.out.full()
}

// tunnels reports whether the stream is to become a stream of bytes.
func tunnels(r *httpmsg.Request) bool { return r.Method == "CONNECT" || r.Upgrade != "" }

// writable reports whether the request can be said in HTTP/2.
func writable(r *httpmsg.Request) bool {
	if !validMethod(r.Method) || !consists(r.Authority, &visibleChar) || !consists(r.Path, &visibleChar) {
		return false
	}
	return r.Method == "CONNECT" || r.Path != ""
}

// appendHead opens the stream. The caller holds the lock.
func (s *ClientStream) appendHead(end bool) error {
	c, r := s.c, s.req
	if err := s.headRoom(); err != nil {
		return err
	}
	if r.Upgrade != "" {
		if err := s.connectable(); err != nil {
			return err
		}
	}
	if c.gone || c.ending || c.lastID >= maxWindow-1 {
		return errUnsent()
	}
	if c.lastID == 0 {
		c.lastID = 1
	} else {
		c.lastID += 2
	}
	s.id = c.lastID
	s.window = c.peer.window
	s.at = c.out.appended
	c.streams[s.id] = &s.stream
	c.window.opened++
	c.busy++
	c.beginHead()
	s.appendPseudo(r)
	length := httpmsg.Unknown
	if !tunnels(r) {
		length = r.ContentLength
	}
	c.appendFields(&r.Header, length)
	c.endHead(s.id, end)
	s.sent.head = true
	if end {
		s.endOutputLocked()
	}
	return nil
}

func (s *ClientStream) appendPseudo(r *httpmsg.Request) {
	c := s.c
	verb := r.Method
	if r.Upgrade != "" {
		verb = "CONNECT"
	}
	c.appendField(":method", verb)
	c.appendField(":authority", r.Authority)
	if r.Method == "CONNECT" {
		return
	}
	c.appendField(":scheme", r.Scheme)
	c.out.buf = c.enc.path(c.out.buf, r.Path)
	if r.Upgrade != "" {
		c.appendField(":protocol", r.Upgrade)
	}
}

// connectable waits until the upstream has said whether it accepts extended CONNECT.
func (s *ClientStream) connectable() error {
	c := s.c
	var limit int64
	for !c.peer.known {
		var err error
		if limit, err = s.awaitSend(limit); err != nil {
			return err
		}
	}
	if !c.peer.connect {
		return upstreamViolation("http2.extended_connect_not_allowed")
	}
	return s.failedLocked()
}

// await waits for the final head, and passes interim ones on.
func (s *ClientStream) await(r *httpmsg.Request, limit int64) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case len(s.interims) > 0:
			i := s.interims[0]
			s.interims = s.interims[1:]
			c.mu.Unlock()
			err := error(nil)
			if r.Interim != nil {
				err = r.Interim(i.status, &i.header)
			}
			c.mu.Lock()
			if err != nil {
				return err
			}
			continue
		case s.answered:
			s.until = 0
			return nil
		case s.err != nil:
			return s.err
		case limit > 0 && c.since(time.Now()) >= limit:
			return upstreamTimeout()
		}
		s.waitRecv(limit)
	}
}

// contentless reports a response that has no content, whatever it announces (RFC 9110
// section 6.4.1).
func (s *ClientStream) contentless(status int) bool {
	return s.req.Method == "HEAD" || status == 304 || status == 204 && !tunnels(s.req)
}

// bodied reports whether content-length announces what will come.
func (s *ClientStream) bodied(status int) bool {
	return s.req.Method != "HEAD" && status != 304 && (!tunnels(s.req) || status >= 300)
}

// respondLocked takes a head that the reader has parsed, and notes what is wrong with
// it in h.
func (s *ClientStream) respondLocked(h *headParser) {
	switch {
	case h.status < 100 || h.status > 999, h.status == 101:
		h.refuse(violation(detailMessage))
	case h.status < 200:
		s.heard++
		if h.end || s.heard > maxInterim {
			h.refuse(violation(detailMessage))
			return
		}
		if h.status == 100 || h.status >= 102 && h.status <= 104 { // what Envoy passes on
			s.interims = append(s.interims, interim{h.status, s.c.spare})
			s.c.spare = httpmsg.Header{}
		}
	case h.length > 0 && (h.end || h.status == 204) && s.bodied(h.status):
		h.refuse(violation(detailMessage))
	default:
		s.answered = true
		swap(&s.res.Header, &s.c.spare)
		s.res.Status, s.res.Reason, s.res.Protocol = h.status, "", "HTTP/2"
		s.res.ContentLength = h.length
		if s.bodied(h.status) {
			s.in.announced = h.length
			if h.end && h.length < 0 {
				s.res.ContentLength = 0
			}
		}
		if s.contentless(h.status) {
			s.in.announced = 0
		}
	}
}

// accept readies the body of the final response.
func (s *ClientStream) accept(r *httpmsg.Request) {
	s.res.Tunnel, s.res.Body = nil, httpmsg.NoBody
	s.c.mu.Lock()
	ended := s.in.ended && s.in.size == 0 && s.err == nil
	s.c.mu.Unlock()
	if tunnels(r) && s.res.Status < 300 {
		if r.Upgrade != "" {
			s.res.Status = 101 // what an HTTP/1 downstream has to see
		}
		s.res.ContentLength = httpmsg.Unknown
		s.res.Tunnel = &pipe{s: &s.stream, code: codeCancel}
		return
	}
	if ended && s.trailer.Len() == 0 {
		s.endPump()
		return
	}
	s.res.Body = &s.body
}

// SetBodyDeadline bounds the reads of the response's body that follow; zero is none.
// It is for the goroutine that reads the body.
func (s *ClientStream) SetBodyDeadline(t time.Time) {
	s.lasts = 0
	if !t.IsZero() {
		s.lasts = s.c.since(t)
	}
}

// Abort ends the exchange with err, and no other. It may be called from any
// goroutine, before Close. A response that has come to its end stays whole.
func (s *ClientStream) Abort(err error) {
	c := s.c
	c.mu.Lock()
	s.abortLocked(err)
	c.mu.Unlock()
	c.flush()
}

func (s *ClientStream) abortLocked(err error) {
	if s.err == nil && !s.in.ended {
		s.err = err
	}
	if s.id != 0 && !s.complete() {
		s.c.resetLocked(&s.stream, codeCancel)
	}
	s.recv.ring()
	s.send.ring()
}

// endPump stops and joins the pump.
func (s *ClientStream) endPump() {
	if s.pump.running {
		s.pump.join()
	}
}

// Close ends the exchange: a stream that is not complete is reset.
func (s *ClientStream) Close() {
	s.endPump()
	c := s.c
	c.mu.Lock()
	if s.id != 0 {
		if !s.complete() {
			c.resetLocked(&s.stream, codeCancel)
		}
		c.busy--
	}
	s.closeInputLocked()
	c.forgetLocked(&s.stream)
	full := c.spaceLocked() <= 0
	c.active--
	idle, space := c.active == 0, full && c.spaceLocked() > 0
	c.leaveLocked()
	c.mu.Unlock()
	c.flush()
	s.recycle()
	if idle && c.o.OnIdle != nil {
		c.o.OnIdle()
	}
	if space && c.o.OnSpace != nil {
		c.o.OnSpace()
	}
}

func (s *ClientStream) recycle() {
	s.res.Header.Reset()
	s.res.Trailer = httpmsg.Header{}
	s.trailer.Reset()
	s.res.Body, s.res.Tunnel = nil, nil
	s.interims = nil
	s.pump.cargo = cargo{}
	s.c, s.stream.c, s.req, s.id = nil, nil, nil, 0
	clientStreams.Put(s)
}

func (s *ClientStream) mayHaveBody() bool { return s.answered }
func (s *ClientStream) freeLocked()       {}

func (s *ClientStream) lost(err error) error {
	o := &s.c.out
	switch {
	case s.id == 0 || o.written+int64(o.busy.bytes) <= s.at:
		return upstreamGone(err, flow.RetryUnsent)
	case s.heard > 0 || s.answered:
		return upstreamGone(err, flow.RetryReset)
	default:
		return upstreamGone(err, flow.RetryUnanswered)
	}
}

// responseBody is the content that an upstream sends.
type responseBody struct {
	s *ClientStream
}

// Read waits for content.
func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.s.receive(p, b.s.lasts)
	if err != nil {
		err = b.over(err)
	}
	return n, err
}

// ReadPiece waits for content.
func (b *responseBody) ReadPiece() (httpmsg.Piece, error) {
	k, err := b.s.receivePiece(b.s.lasts)
	if err != nil {
		err = b.over(err)
	}
	return k, err
}

// Pieces reads the body as it lies.
func (b *responseBody) Pieces() httpmsg.PieceReader { return b }

// over is called when a read has met the body's end, or an error.
func (b *responseBody) over(err error) error {
	s := b.s
	if errors.Is(err, io.EOF) {
		s.res.Trailer = s.trailer
		s.endPump() // the response is complete, whatever became of the request
		return err
	}
	s.endPump()
	if fe, ok := flow.AsError(err); ok && fe.Retry != flow.RetryNever {
		final := *fe
		final.Retry = flow.RetryNever
		return &final
	}
	return err
}

// Buffered is the number of bytes that were received and not read yet.
func (b *responseBody) Buffered() int { return b.s.buffered() }

// Close gives up the rest of the content.
func (b *responseBody) Close() error {
	b.s.endPump()
	b.s.closeInput()
	return nil
}

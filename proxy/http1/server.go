package http1

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/buffer"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/sock"
)

// Defaults of ServerOptions and ClientOptions, Envoy's numbers.
const (
	DefaultMaxHeadBytes = 60 << 10
	// DefaultMaxResponseHeadBytes is larger: applications are trusted with more.
	DefaultMaxResponseHeadBytes = 80 << 10
	DefaultMaxHeaders           = 100
	DefaultIdleTimeout          = time.Hour
)

// defaultHeadTimeout is our own, not Envoy's: see the package's comment.
const defaultHeadTimeout = time.Minute

// maxEmptyLines is how many empty lines may stand before a request line.
const maxEmptyLines = 16

// What a connection that is being closed reads from a downstream that still sends,
// so that the answer is not lost in a reset. The time is Envoy's delayed close.
const (
	lingerBytes = 256 << 10
	lingerTime  = time.Second
)

// Limits bound what a connection costs.
type Limits struct {
	// MaxHeadBytes counts the request target, names and values, as Envoy does.
	MaxHeadBytes int
	MaxHeaders   int
	// HeadTimeout is the time from the first byte of a head to its last. 0 is
	// StreamIdleTimeout where there is one, else a minute.
	HeadTimeout time.Duration
	// IdleTimeout is the time between two requests.
	IdleTimeout time.Duration
	// StreamIdleTimeout bounds each wait within an exchange: for bytes of the
	// request's body and for the downstream to take bytes. 0 is no bound.
	StreamIdleTimeout time.Duration
}

// ServerOptions are a downstream connection's settings. Zero values are Envoy's
// defaults.
type ServerOptions struct {
	Limits

	// SchemeTLS: the downstream came over TLS, its requests are https.
	SchemeTLS bool
	// ValidateScheme refuses an https target on a plain connection.
	ValidateScheme bool
	// AcceptHTTP10 serves HTTP/1.0, with an empty Authority where Host is missing.
	AcceptHTTP10 bool
	// Proxy100Continue passes "expect: 100-continue" on instead of answering it.
	Proxy100Continue bool
	// EnableTrailers keeps trailers both ways; otherwise they are dropped.
	EnableTrailers bool
	// Names says how the names of fields are written.
	Names Names
	// AllowChunkedLength lets a message pass that has a length and the coding chunked:
	// the length is dropped.
	AllowChunkedLength bool
	// NoAbsolute takes targets in absolute form for paths, which nothing matches.
	NoAbsolute bool
	// Initial is what was read from the connection before.
	Initial []byte
	// Draining, where not nil and true, has responses announce the connection's end.
	Draining func() bool
	// Reject, where not nil, records a refused request and makes the reply to it;
	// nil sends none. The connection ends afterwards.
	Reject func(*ProtocolError) *httpmsg.Response
}

func (l *Limits) defaults() {
	if l.MaxHeadBytes <= 0 {
		l.MaxHeadBytes = DefaultMaxHeadBytes
	}
	if l.MaxHeaders <= 0 {
		l.MaxHeaders = DefaultMaxHeaders
	}
	if l.IdleTimeout <= 0 {
		l.IdleTimeout = DefaultIdleTimeout
	}
	if l.HeadTimeout <= 0 {
		l.HeadTimeout = l.StreamIdleTimeout
	}
	if l.HeadTimeout <= 0 {
		l.HeadTimeout = defaultHeadTimeout
	}
}

// The phases of a downstream connection, for Drain.
const (
	phaseActive int32 = iota
	phaseIdle
	phaseDraining // Drain is about to interrupt
	phaseDrained
)

// lastWords is how long a connection that is to be drained may stay idle. Closing
// it at once would meet the next request half-way; one that is in use has its next
// response, with "connection: close", before this is over.
const lastWords = time.Second

// ServerConn is a downstream connection. Serve runs its life.
type ServerConn struct {
	conn net.Conn      // immutable
	o    ServerOptions // immutable

	// owned by Serve
	rd     reader
	parser requestParser
	req    httpmsg.Request
	body   requestBody
	out    responder
	late   bool // the clock of HeadTimeout runs

	watch    watch
	phase    atomic.Int32
	farewell farewell
}

// NewServerConn prepares a connection that was accepted.
func NewServerConn(conn net.Conn, o ServerOptions) *ServerConn {
	o.defaults()
	conn = sock.Wrap(conn)
	c := &ServerConn{conn: conn, o: o}
	c.o.Initial = nil
	c.rd.init(conn)
	if n := len(o.Initial); n > 0 {
		c.rd.buf = buffer.Get(max(n, buffer.Small))
		c.rd.w = copy(c.rd.buf, o.Initial)
	}
	c.parser = requestParser{
		fieldParser:    fieldParser{limits: limits{o.MaxHeadBytes, o.MaxHeaders}, request: true, keepExpect: o.Proxy100Continue, spelling: o.Names.learner(), chunkedLength: o.AllowChunkedLength},
		acceptHTTP10:   o.AcceptHTTP10,
		validateScheme: o.ValidateScheme,
		tls:            o.SchemeTLS,
		noAbsolute:     o.NoAbsolute,
	}
	c.body.c = c
	c.out.c = c
	c.watch.c = c
	c.out.s.timeout = o.StreamIdleTimeout
	return c
}

// Serve reads requests and has them answered until the connection ends, and closes
// it. The error says why, where it was not by agreement: a *ProtocolError, or what
// reading or writing failed with.
func (c *ServerConn) Serve(h httpmsg.Handler) error {
	defer c.close()
	for {
		if err := c.await(); err != nil {
			return c.refuse(err)
		}
		if err := c.readRequest(); err != nil {
			return c.refuse(err)
		}
		h.ServeExchange(&c.out, &c.req)
		if done, err := c.finish(); done {
			return err
		}
	}
}

// Drain ends the connection soon if it waits for a request and none comes.
// Otherwise its owner tells by Draining that the present exchange is the last. It
// may be called from any goroutine.
func (c *ServerConn) Drain() {
	if c.phase.Load() == phaseIdle {
		c.farewell.arm(c.leave)
	}
}

// leave ends the wait for a request.
func (c *ServerConn) leave() {
	if c.phase.CompareAndSwap(phaseIdle, phaseDraining) {
		c.rd.interrupt()
		c.phase.Store(phaseDrained)
	}
}

// farewell is the timer that Drain starts, once.
type farewell struct {
	mu    sync.Mutex
	timer *time.Timer // guarded by mu
	over  bool        // guarded by mu
}

func (f *farewell) arm(leave func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.timer == nil && !f.over {
		f.timer = time.AfterFunc(lastWords, leave)
	}
}

func (f *farewell) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	if f.timer != nil {
		f.timer.Stop()
	}
}

func (c *ServerConn) close() {
	c.farewell.stop()
	c.watch.stop()
	_ = c.conn.Close() // nobody is left to tell
	c.rd.free()
}

// await waits for the first byte of a request. It is called by Serve itself, so that
// little lies on the stack meanwhile.
func (c *ServerConn) await() error {
	c.late = false
	c.rd.resume()
	c.rd.perRead, c.rd.limit = 0, time.Now().Add(c.o.IdleTimeout)
	if c.rd.avail() > 0 {
		return nil
	}
	c.phase.Store(phaseIdle)
	if c.o.Draining != nil && c.o.Draining() { // told between the last response and now
		c.farewell.arm(c.leave)
	}
	return c.arouse(c.rd.idle())
}

// arouse is called with what the wait ended in. A downstream that spoke just before
// the drain has one last exchange.
func (c *ServerConn) arouse(err error) error {
	if c.phase.CompareAndSwap(phaseIdle, phaseActive) {
		return err
	}
	for c.phase.Load() == phaseDraining {
		runtime.Gosched() // Drain is between two statements
	}
	if err != nil {
		return io.EOF
	}
	c.rd.resume()
	return nil
}

// readRequest reads a head and prepares the exchange.
func (c *ServerConn) readRequest() error {
	if err := c.rd.head(c.parser.raw(), c.parseHead); err != nil {
		return err
	}
	c.rd.perRead, c.rd.limit = c.o.StreamIdleTimeout, time.Time{}
	c.body.begin()
	c.out.begin()
	return nil
}

// parseHead is called by reader.head.
func (c *ServerConn) parseHead(b []byte) (int, error) {
	skipped := 0
	for len(b) > 0 && b[0] == '\r' {
		if len(b) > 1 && b[1] != '\n' || skipped/2 >= maxEmptyLines {
			return 0, errSyntax
		}
		if len(b) == 1 {
			return 0, c.incomplete()
		}
		b, skipped = b[2:], skipped+2
	}
	n, err := c.parser.parse(b, &c.req)
	if errors.Is(err, errIncomplete) {
		return 0, c.incomplete()
	}
	return n + skipped, err
}

// incomplete starts the clock of a head that did not come at once.
func (c *ServerConn) incomplete() error {
	if !c.late {
		c.late = true
		c.rd.limit = time.Now().Add(c.o.HeadTimeout)
	}
	return errIncomplete
}

// refuse ends a connection on which no request could be read.
func (c *ServerConn) refuse(err error) error {
	var pe *ProtocolError
	switch {
	case errors.As(err, &pe):
	case errors.Is(err, io.EOF):
		if c.rd.avail() > 0 && c.o.Reject != nil {
			_ = c.o.Reject(errAbandoned) // to be recorded: nobody is there to be answered
		}
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		if !c.late {
			return nil
		}
		pe = errHeadTimeout
	default:
		return err
	}
	c.req.Method, c.parser.framing = "", framingNone
	c.body.begin()
	c.out.begin()
	c.out.closing = true
	res := c.rejection(pe)
	if res == nil {
		return pe
	}
	if _, err := c.out.WriteResponse(res); err == nil {
		c.linger()
	}
	return pe
}

// rejection makes the reply to a refused request: Envoy's is the reason phrase for
// what broke the protocol, and bare for the rest.
func (c *ServerConn) rejection(pe *ProtocolError) *httpmsg.Response {
	if c.o.Reject != nil {
		return c.o.Reject(pe)
	}
	res := &httpmsg.Response{Status: pe.Status, Body: httpmsg.NoBody}
	if pe.Violation {
		text := Reason(pe.Status)
		res.Header.Add("content-length", "")
		res.Header.Add("content-type", "text/plain")
		res.Body, res.ContentLength = newTextBody(text), int64(len(text))
	}
	return res
}

// finish ends an exchange and reports whether the connection ends with it.
func (c *ServerConn) finish() (done bool, err error) {
	c.watch.stop()
	switch {
	case c.out.err != nil:
		return true, c.out.err
	case !c.out.started || c.out.tunnelled:
		return true, nil
	case c.out.closing || !c.body.complete.Load():
		if !c.body.complete.Load() || c.rd.avail() > 0 {
			c.linger()
		}
		return true, nil
	}
	c.rd.release()
	r := &c.req
	r.Method, r.Authority, r.Path, r.Upgrade = "", "", "", ""
	c.parser.forget(&r.Header)
	return false, nil
}

// linger says goodbye and reads on for a moment.
func (c *ServerConn) linger() {
	half, ok := c.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.rd.resume()
	c.rd.perRead, c.rd.limit = 0, time.Now().Add(lingerTime)
	b := buffer.Get(buffer.Medium)
	defer buffer.Put(b)
	for total := 0; total < lingerBytes; {
		n, err := c.rd.readConn(b)
		if err != nil {
			return
		}
		total += n
	}
}

// downstreamError says that the downstream failed an exchange.
func downstreamError(err error) error {
	if _, ok := errors.AsType[*flow.Error](err); ok {
		return err
	}
	var pe *ProtocolError
	e := &flow.Error{
		Side: flow.SideDownstream, Flag: flow.DownstreamConnectionTermination, Kind: flow.KindCancelled, Err: err,
	}
	switch {
	case errors.As(err, &pe):
		e.Flag, e.Kind, e.Details = flow.DownstreamProtocolError, flow.KindProtocol, pe.Details
	case errors.Is(err, os.ErrDeadlineExceeded):
		e.Flag, e.Kind = flow.StreamIdleTimeout, flow.KindTimeout
	}
	return e
}

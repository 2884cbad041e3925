package http1

import (
	"errors"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/proxy/tunnel"
)

// errStarted is returned to a second response in one exchange.
var errStarted = errors.New("response was already started")

// responder is the httpmsg.ResponseWriter of one exchange at a time.
type responder struct {
	c *ServerConn
	s sender

	started   bool
	closing   bool  // the connection ends with this exchange
	tunnelled bool  // and was a tunnel in the end
	err       error // why the connection cannot go on

	// mu orders a 100 Continue, which a reader of the body sends, before the head.
	mu sync.Mutex
}

var (
	_ httpmsg.ResponseWriter = (*responder)(nil)
	_ httpmsg.Watcher        = (*responder)(nil)
)

func (w *responder) begin() {
	w.started, w.tunnelled, w.err = false, false, nil
	// What follows a request for an upgrade, or CONNECT, may be meant for the new
	// protocol: it is never taken for a request.
	w.closing = !w.c.parser.keepAlive || w.c.req.Upgrade != "" || w.c.req.Method == "CONNECT"
}

// Started reports whether a final head was begun.
func (w *responder) Started() bool { return w.started }

// sendContinue answers an expectation, unless the final head came before.
func (w *responder) sendContinue() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.c.body.wantContinue.Swap(false) {
		return nil
	}
	if _, err := w.c.conn.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
		return downstreamError(err)
	}
	return nil
}

// WriteInterim sends a 1xx response other than 101. HTTP/1.0 knows none.
func (w *responder) WriteInterim(status int, h *httpmsg.Header) error {
	if w.c.parser.http10 || w.started {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if status == 100 && w.c.parser.expect && !w.c.body.wantContinue.Swap(false) {
		return nil // it was sent on our own account
	}
	w.s.open(w.c.conn)
	defer w.s.close()
	w.s.buf = appendStatus(w.s.buf, false, status, "")
	fw := fieldWriter{naming: w.c.o.Names.of(h), length: httpmsg.Unknown}
	w.s.buf = fw.append(w.s.buf, h)
	w.s.buf = append(w.s.buf, "\r\n"...)
	if err := w.s.flush(); err != nil {
		w.err = downstreamError(err)
		return w.err
	}
	return nil
}

// WriteResponse sends the response. Head and body leave in one write where the body
// is there.
func (w *responder) WriteResponse(res *httpmsg.Response) (int64, error) {
	if w.started {
		return 0, errStarted
	}
	w.started = true
	if w.c.body.wantContinue.Load() {
		w.mu.Lock()
		w.c.body.wantContinue.Store(false)
		w.mu.Unlock()
	}
	if !w.c.body.settle() || w.c.o.Draining != nil && w.c.o.Draining() {
		w.closing = true
	}
	w.s.open(w.c.conn)
	defer w.s.close()
	if res.Tunnel != nil {
		return w.tunnel(res)
	}
	return w.respond(res)
}

func (w *responder) respond(res *httpmsg.Response) (int64, error) {
	t := transfer{from: res.Body, length: res.ContentLength}
	w.head(res, &t)
	if t.from == nil {
		err := w.s.flush()
		_ = res.Body.Close() // was not asked for
		if err != nil {
			w.err = downstreamError(err)
		}
		return 0, w.err
	}
	if t.chunked && w.c.o.EnableTrailers {
		t.trailer = &res.Trailer
	}
	t.run(&w.s)
	_ = res.Body.Close() // what matters of it was read
	switch {
	case t.writeErr != nil:
		w.err = downstreamError(t.writeErr)
	case t.readErr != nil:
		w.err = t.readErr
	}
	return t.sent, w.err
}

// head serialises the head, decides on the framing, and sets t.from to nil if no
// body follows.
func (w *responder) head(res *httpmsg.Response, t *transfer) {
	http10 := w.c.parser.http10 && w.c.o.AcceptHTTP10
	b := appendStatus(w.s.buf, http10, res.Status, res.Reason)
	if v, ok := res.Header.Get("connection"); ok && hasToken(v, "close") {
		w.closing = true
	}
	fw := fieldWriter{naming: w.c.o.Names.of(&res.Header), length: res.ContentLength}
	if bare := res.Status == 204 || res.Status < 200; bare {
		fw.length, t.from = httpmsg.Unknown, nil
		b = fw.append(b, &res.Header)
		b = w.persistence(b, http10, &fw)
	} else {
		if w.untilClose(res) {
			w.closing = true
		}
		b = fw.append(b, &res.Header)
		b = w.persistence(b, http10, &fw)
		b = w.framing(b, res, t, &fw)
	}
	w.s.buf = append(b, "\r\n"...)
}

// persistence says whether the connection goes on.
func (w *responder) persistence(b []byte, http10 bool, fw *fieldWriter) []byte {
	switch {
	case w.closing:
		return fw.field(b, "connection", "close")
	case http10:
		return fw.field(b, "connection", "keep-alive")
	default:
		return b
	}
}

// untilClose reports that only the end of the connection can end the body.
func (w *responder) untilClose(res *httpmsg.Response) bool {
	return w.c.parser.http10 && res.ContentLength < 0 && res.Status != 304 && w.c.req.Method != "HEAD"
}

// framing announces how the body ends, where the header did not.
func (w *responder) framing(b []byte, res *httpmsg.Response, t *transfer, fw *fieldWriter) []byte {
	switch {
	case res.Status == 304:
		t.from = nil
	case w.c.req.Method == "HEAD":
		t.from = nil
		switch {
		case fw.announced:
		case res.ContentLength > 0:
			b = fw.naming.length(b, res.ContentLength)
		case !w.c.parser.http10: // what GET would have been told, as Envoy does
			b = fw.field(b, "transfer-encoding", "chunked")
		}
	case res.ContentLength >= 0:
		if !fw.announced {
			b = fw.naming.length(b, res.ContentLength)
		}
		if res.ContentLength == 0 {
			t.from = nil
		}
	case w.c.parser.http10: // until the connection ends
	default:
		t.chunked = true
		b = fw.field(b, "transfer-encoding", "chunked")
	}
	return b
}

// tunnel accepts an upgrade, or a CONNECT, and relays bytes until both directions
// have ended.
func (w *responder) tunnel(res *httpmsg.Response) (int64, error) {
	w.closing = true
	b := appendStatus(w.s.buf, false, res.Status, res.Reason)
	fw := fieldWriter{naming: w.c.o.Names.of(&res.Header), length: httpmsg.Unknown, hop: res.Status == 101}
	b = fw.append(b, &res.Header)
	if res.Status == 101 && !res.Header.Has("upgrade") {
		b = fw.upgrade(b, w.c.req.Upgrade)
	}
	w.s.buf = append(b, "\r\n"...)
	if err := w.s.flush(); err != nil {
		_ = res.Tunnel.Close() // the downstream is gone
		w.err = downstreamError(err)
		return 0, w.err
	}
	w.c.watch.stop()
	w.c.rd.resume()
	w.c.rd.perRead, w.c.rd.limit = 0, time.Time{}
	sent, err := tunnel.Relay(&stream{w.c.conn, &w.c.rd}, res.Tunnel, w.c.o.StreamIdleTimeout, w.c.o.IdleTimeout)
	w.tunnelled = true
	return sent, err
}

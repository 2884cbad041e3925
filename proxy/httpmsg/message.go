package httpmsg

import (
	"io"
	"time"
)

// Body is a stream of content. Read follows io.Reader; Close may be called at any
// point and gives up what was not read. Close also ends a Read that waits on
// another goroutine.
type Body interface {
	io.ReadCloser
	// Buffered is the number of bytes that Read returns without waiting, or -1
	// when the end is known to follow at once. Writers use it to decide when to
	// flush.
	Buffered() int
}

// Counted is a Body that knows how many bytes of content were read from it so far.
type Counted interface {
	Received() int64
}

// Interruptible is a Body whose waiting Read can be ended without giving up the
// content: an attempt that failed stops reading the request so that the next
// attempt may go on. Reads fail between Interrupt and Resume; Resume is called when
// the reading goroutine has been joined.
type Interruptible interface {
	Interrupt()
	Resume()
}

// NoBody is the absent body.
var NoBody Body = noBody{} //nolint:gochecknoglobals // a value without state

type noBody struct{}

func (noBody) Read([]byte) (int, error) { return 0, io.EOF }
func (noBody) Close() error             { return nil }
func (noBody) Buffered() int            { return -1 }

// Unknown is the content length of a body whose length is not announced.
const Unknown int64 = -1

// Request is a request on its way from downstream to upstream.
type Request struct {
	Method string
	// Scheme is http or https, as the downstream meant it.
	Scheme string
	// SchemeTold: the request itself said so, and not the kind of its connection.
	SchemeTold bool
	// Authority is the Host header or :authority; it is not among the header
	// fields.
	Authority string
	// Path is the request target in origin form with its query: "/a?b=c", or "*".
	// It is empty for CONNECT.
	Path string
	// Protocol is what the downstream speaks, "HTTP/1.1": for logs only.
	Protocol string

	// Header may hold a content-length field, for those who match on it; codecs
	// announce ContentLength, whatever the field says.
	Header Header
	// Body is never nil.
	Body Body
	// ContentLength is the announced length, 0 with NoBody, or Unknown.
	ContentLength int64
	// Trailer is filled when Body returned io.EOF, where trailers are enabled.
	Trailer Header

	// Upgrade is the lower-case token of an Upgrade request ("websocket"), else
	// empty. Its connection header has been removed.
	Upgrade string
	// Interim, where set, is called for each 1xx response other than 101, on the
	// goroutine that runs RoundTrip.
	Interim func(status int, h *Header) error
}

// Response is a response on its way from upstream to downstream.
type Response struct {
	Status int
	// Reason is the upstream's reason phrase, where it is passed on; empty means the
	// standard one.
	Reason string
	// Protocol is what the upstream speaks: for logs only.
	Protocol string

	// Header may hold a content-length field, as in a Request. A field
	// "connection: close" asks an HTTP/1 downstream to be closed afterwards.
	Header Header
	// Body is never nil.
	Body Body
	// ContentLength is the announced length or Unknown. The answer to HEAD and a
	// 304 may announce a length and have no body.
	ContentLength int64
	Trailer       Header

	// Tunnel is set on an accepted upgrade: the upstream's raw byte stream. Body
	// is NoBody then.
	Tunnel io.ReadWriteCloser
}

// ResponseWriter sends the answer of one exchange downstream.
type ResponseWriter interface {
	// WriteInterim sends a 1xx response other than 101.
	WriteInterim(status int, h *Header) error
	// WriteResponse sends head, body and trailers, and returns how many body
	// bytes were sent. It reads and closes the body. An error from reading the
	// body comes back as it is; an error from writing downstream is a
	// *flow.Error with side downstream in codecs that know it.
	WriteResponse(*Response) (int64, error)
	// Started reports whether a final head was begun, after which no other
	// response can be sent.
	Started() bool
}

// Watcher is a ResponseWriter that can tell, while an upstream is awaited, that
// the downstream left. Watch and Unwatch are called in pairs by the goroutine that
// runs the exchange; gone is called at most once, on another goroutine or by Watch
// itself, and never after Unwatch returned. It must not call Unwatch.
type Watcher interface {
	Watch(gone func())
	Unwatch()
}

// Handler answers a request.
type Handler interface {
	ServeExchange(ResponseWriter, *Request)
}

// RoundTripper carries one request to an upstream and returns the response's
// head; the body follows as it is read. A deadline of zero means none. Abort
// may be called from another goroutine, at any time, and ends a running round trip
// and the response's body with err.
type RoundTripper interface {
	RoundTrip(r *Request, deadline time.Time) (*Response, error)
	Abort(err error)
}

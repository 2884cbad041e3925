package flow

import (
	"net/netip"
	"time"
)

// Head gives access to the headers of a message by lower-case name. Where a name
// occurs more than once, Get returns the first value.
type Head interface {
	Get(name string) (value string, ok bool)
}

// Record is what happened in one exchange: an HTTP request with its response, or
// the life of a TCP connection. One goroutine writes it; observers read it once,
// during Observer.Observe, and must copy what they keep: the strings of a request
// may point into buffers that are used again afterwards.
type Record struct {
	Conn  *Conn
	Start time.Time
	// Duration is set when the exchange ends.
	Duration time.Duration

	HTTP     bool
	Request  Request
	Response Response
	Upstream Upstream

	// Route is the name of the matched route; Policy that of the authorization
	// policy that decided.
	Route  string
	Policy string
	Flags  Flags
	// Details is Envoy's RESPONSE_CODE_DETAILS, Termination its
	// CONNECTION_TERMINATION_DETAILS.
	Details     string
	Termination string

	// Ext is a scratch pad that compiled configuration lends to observers (pre-bound
	// metric handles); the data path only carries it.
	Ext any
}

// Request is the downstream's half of an exchange.
type Request struct {
	Method    string
	Path      string
	Authority string
	Protocol  string
	Head      Head
	// Remote is the downstream's address as trusted proxies tell it, where that is
	// not the connection's own; its port is 0.
	Remote netip.AddrPort
	// Bytes counts body bytes (HTTP) or all payload bytes (TCP) received.
	Bytes int64
	// Complete is when the last byte of the request arrived.
	Complete time.Duration
}

// Response is what the downstream was sent.
type Response struct {
	// Status is 0 where no response was begun.
	Status  int
	Head    Head
	Trailer Head
	// Bytes counts body bytes (HTTP) or all payload bytes (TCP) sent.
	Bytes int64
	// FirstByte is the time from Start to the first byte sent downstream.
	FirstByte time.Duration
	// Local is true for our own replies.
	Local bool
}

// Upstream is the last attempt's other end.
type Upstream struct {
	Cluster  string
	Endpoint netip.AddrPort
	Local    netip.AddrPort
	Peer     *Identity
	TLS      bool
	Attempts int
	// FailureReason is Envoy's UPSTREAM_TRANSPORT_FAILURE_REASON.
	FailureReason string
	// ServiceTime is the time from the request sent to the response's head.
	ServiceTime time.Duration
}

// Observer sees each record once, when its exchange has ended. Observe must not
// block and must not keep the record.
type Observer interface {
	Observe(*Record)
}

package proxy

import (
	"net/netip"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/http1"
	"github.com/outrigger-mesh/outrigger/proxy/http2"
)

// ServerHeader says what becomes of the server header of responses.
type ServerHeader uint8

// The transformations of Envoy's server_header_transformation.
const (
	ServerOverwrite ServerHeader = iota
	ServerAppendIfAbsent
	ServerPassThrough
)

// EscapedSlashes says what becomes of %2F and %5C in a path.
type EscapedSlashes uint8

// The actions of Envoy's path_with_escaped_slashes_action.
const (
	SlashesKeep EscapedSlashes = iota
	SlashesReject
	SlashesUnescapeAndRedirect
	SlashesUnescapeAndForward
)

// ClientCert says what becomes of x-forwarded-client-cert.
type ClientCert uint8

// The modes of Envoy's forward_client_cert_details.
const (
	CertSanitize ClientCert = iota
	CertForwardOnly
	CertAppendForward
	CertSanitizeSet
	CertAlwaysForwardOnly
)

// HTTPSpec is the immutable part of an HTTP connection manager.
type HTTPSpec struct {
	StatPrefix string
	Direction  flow.Direction
	Observers  []flow.Observer
	// Stats is what the manager counts, where others read it; nil is counters of its own.
	Stats *HTTPStats
	// Mirrors sends copies of requests; nil sends none.
	Mirrors *Mirrors
	// Filters run in their order.
	Filters []Installed

	Path     PathSpec
	Request  RequestSpec
	Response ResponseSpec
	Timeouts Timeouts

	// Codec is what is spoken; HTTP2 are the settings where that is HTTP/2.
	Codec Codec
	HTTP2 http2.Settings
	// MaxRequests drains a connection that has served so many; 0 means no limit.
	MaxRequests uint32

	// Upgrades lists the upgrade tokens that may pass, in lower case.
	Upgrades         []string
	AcceptHTTP10     bool
	DefaultHost      string // for HTTP/1.0 without Host
	Proxy100Continue bool
	// Trailers passes HTTP/1.1 trailers on.
	Trailers bool
	HTTP1    HTTP1Spec
	// ALPN holds what the istio.alpn filter offers upstream, by upstream protocol.
	ALPN UpstreamALPN
	// Decorate exchanges operation names with other sidecars, as Envoy does where
	// tracing is configured.
	Decorate bool
	// SuppressEnvoyHeaders keeps the router from adding x-envoy- headers.
	SuppressEnvoyHeaders bool
}

// HTTP1Spec are the settings of HTTP/1.1 connections, but for those that stand
// alone. Zero values are Envoy's defaults.
type HTTP1Spec struct {
	MaxHeadBytes       int
	MaxHeaders         int
	Names              http1.Names
	AllowChunkedLength bool
	NoAbsolute         bool
	// KeepInvalid keeps a connection open after a 400, where the request's end is known.
	KeepInvalid bool
}

// UpstreamALPN lists ALPN protocols by the protocol that is spoken upstream.
type UpstreamALPN struct {
	HTTP10, HTTP11, HTTP2 []string
}

// PathSpec says how paths are normalised.
type PathSpec struct {
	Normalize      bool
	MergeSlashes   bool
	EscapedSlashes EscapedSlashes
}

// RequestSpec says which request headers are changed.
type RequestSpec struct {
	UseRemoteAddress bool
	XFFTrustedHops   int
	// InternalRanges are the addresses whose requests are marked x-envoy-internal.
	InternalRanges            []netip.Prefix
	GenerateRequestID         bool
	PreserveExternalRequestID bool
	AlwaysSetRequestID        bool // on responses, too
	ClientCert                ClientCert
	CertDetails               CertDetails
	// StripPeerMetadata removes x-envoy-peer-metadata(-id) before the application
	// sees it: from inbound requests and outbound responses.
	StripPeerMetadata bool
}

// CertDetails says which parts of the peer's certificate x-forwarded-client-cert
// tells. By and Hash always are.
type CertDetails struct {
	Subject, URI, DNS bool
}

// ResponseSpec says which response headers are changed.
type ResponseSpec struct {
	ServerName   string
	ServerHeader ServerHeader
}

// Timeouts bound the stations of a connection. Zero is Envoy's "disabled", except
// where noted.
type Timeouts struct {
	// Idle closes a connection without exchanges; 0 means one hour, negative off.
	Idle time.Duration
	// StreamIdle ends an exchange in which nothing moves.
	StreamIdle time.Duration
	// Request bounds the arrival of a whole request, Head that of its head.
	Request time.Duration
	Head    time.Duration
	// Stream bounds a whole exchange, from its beginning.
	Stream time.Duration
	// MaxConnection drains a connection of that age.
	MaxConnection time.Duration
	// Drain is how long a drained connection may take to end.
	Drain time.Duration
}

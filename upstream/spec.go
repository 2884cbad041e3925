package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/outlier"
	"github.com/outrigger-mesh/outrigger/proxy/http1"
	"github.com/outrigger-mesh/outrigger/proxy/http2"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// Kind is where a cluster's endpoints come from.
type Kind uint8

// The kinds of cluster.
const (
	// EDS clusters get their endpoints by updates of their own.
	EDS Kind = iota
	// Static clusters get them with their spec.
	Static
	// OriginalDst clusters make them from the address the downstream dialled.
	OriginalDst
	// StrictDNS clusters have an endpoint for each address of a name.
	StrictDNS
	// LogicalDNS clusters have one endpoint, whose new connections go to the first
	// address of a name.
	LogicalDNS
)

// String returns the name as in Envoy's configuration.
func (k Kind) String() string {
	switch k {
	case EDS:
		return "EDS"
	case Static:
		return "STATIC"
	case StrictDNS:
		return "STRICT_DNS"
	case LogicalDNS:
		return "LOGICAL_DNS"
	default:
		return "ORIGINAL_DST"
	}
}

// Handshaker runs the client's end of TLS; *mtls.Client is the one in production.
// An alpn of nil offers what the client is configured with. Two sockets are the same
// if their Handshakers are equal, so the value must be comparable.
type Handshaker interface {
	HandshakeALPN(ctx context.Context, conn net.Conn, alpn []string) (*tls.Conn, flow.TLS, error)
}

// Socket is a transport socket: plain where TLS is nil.
type Socket struct {
	Name string
	TLS  Handshaker
}

// SocketMatch is a transport socket for the endpoints whose metadata contains Match.
type SocketMatch struct {
	Name  string
	Match map[string]string
	TLS   Handshaker
}

// HTTPOptions are the cluster's options for HTTP connections.
type HTTPOptions struct {
	Protocol Protocol
	// IdleTimeout closes a connection that was idle for so long; 0 means an hour,
	// negative never.
	IdleTimeout time.Duration
	// MaxRequestsPerConn closes a connection after so many; 0 means no limit.
	MaxRequestsPerConn uint32
	// MaxConnDuration closes a connection that is older when it falls idle; 0 means
	// no limit.
	MaxConnDuration time.Duration
	// MaxStream bounds each exchange with an endpoint, its response's end included; 0
	// means no limit. The one who runs the exchange sees to it.
	MaxStream time.Duration
	// IsError tells which responses count as failures of their endpoint, where that is
	// not each with a status of 500 and above.
	IsError func(*httpmsg.Response) bool
	// HTTP2 is what HTTP/2 connections are made with. Those that were made with
	// others are not used again.
	HTTP2 http2.Settings
	// HTTP1 is the same for HTTP/1.1.
	HTTP1 http1.ClientOptions
}

// KeepAlive are the TCP keep-alive probes; fields of 0 leave the system's values.
type KeepAlive struct {
	Enabled  bool
	Probes   uint32
	Time     time.Duration
	Interval time.Duration
}

// Service is a service of the mesh that the cluster stands for.
type Service struct {
	Host, Name, Namespace string
}

// Envoy's defaults.
const (
	DefaultConnectTimeout  = 5 * time.Second
	DefaultIdleTimeout     = time.Hour
	DefaultCleanupInterval = 5 * time.Second
)

// Spec is a cluster's configuration. It is immutable once published.
type Spec struct {
	Name   string
	Kind   Kind
	Policy lb.Policy

	// ConnectTimeout bounds TCP and TLS together; 0 means Envoy's 5 s.
	ConnectTimeout time.Duration
	// Sockets are tried in order; Default is for endpoints that match none.
	Sockets []SocketMatch
	Default Socket
	// Source are the addresses to dial from, one for each family.
	Source    []netip.Addr
	KeepAlive KeepAlive

	// Limits are those of requests of default priority and of TCP.
	Limits     Limits
	HighLimits Limits
	HTTP       HTTPOptions
	// Outliers is how endpoints are told that fail too often; nil ejects none. Clusters
	// of kind OriginalDst have no others to go to and eject none.
	Outliers *outlier.Config
	// ALPNOverride lets OpenOptions.ALPN replace the socket's own list.
	ALPNOverride bool

	// CleanupInterval is how long an endpoint made on demand stays unused before
	// it is dropped; 0 means Envoy's 5 s.
	CleanupInterval time.Duration

	// Services and Stat are for telemetry.
	Services []Service
	Stat     string
}

// OpenOptions are what a flow wants of its connection.
type OpenOptions struct {
	// Downstream is what clusters follow whose protocol is AsDownstream: HTTP1 or
	// HTTP2.
	Downstream Protocol
	// ALPN replaces the protocols that TLS offers, where the spec allows it and
	// the list is not nil; ALPN2 does so where HTTP/2 is to be spoken.
	ALPN, ALPN2 []string
	// ALPN10, where not nil, is offered instead of ALPN by clusters whose protocol is
	// AsDownstream: the downstream speaks HTTP/1.0.
	ALPN10 []string
	// Priority is the request's, whose limits and connections are used.
	Priority Priority
	// Deadline ends the wait for a connection with flag UT, earlier than the connect
	// time-out; zero means none. It costs nothing where a pooled connection is there.
	Deadline time.Time
}

// With are the options for a request of another priority.
func (o *OpenOptions) With(p Priority) *OpenOptions {
	other := *o
	other.Priority = p
	return &other
}

func (o *OpenOptions) class() Priority {
	if o == nil {
		return DefaultPriority
	}
	return o.Priority
}

func (s *Spec) connectTimeout() time.Duration {
	return orDefault(s.ConnectTimeout, DefaultConnectTimeout)
}

func (s *Spec) idleTimeout() time.Duration { return orDefault(s.HTTP.IdleTimeout, DefaultIdleTimeout) }

func (s *Spec) cleanupInterval() time.Duration {
	return orDefault(s.CleanupInterval, DefaultCleanupInterval)
}

// orDefault reads 0 as not set.
func orDefault[T time.Duration | uint32](d, def T) T {
	if d == 0 {
		return def
	}
	return d
}

// socketFor is the first socket whose match is part of the endpoint's metadata.
func (s *Spec) socketFor(e *lb.EndpointSpec) Socket {
	for i := range s.Sockets {
		m := &s.Sockets[i]
		if contains(e.Match, m.Match) {
			return Socket{Name: m.Name, TLS: m.TLS}
		}
	}
	return s.Default
}

func contains(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// sourceFor is the address to dial an address of the same family from, or the zero
// Addr.
func (s *Spec) sourceFor(to netip.Addr) netip.Addr {
	v4 := to.Unmap().Is4()
	for _, a := range s.Source {
		if a.Unmap().Is4() == v4 {
			return a.Unmap()
		}
	}
	return netip.Addr{}
}

package mtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
)

// ClientSpec is how the upstream end of TLS is done. It is immutable once given
// to NewClient.
type ClientSpec struct {
	// Cert is shown to upstreams that ask; nil shows none.
	Cert *Secret
	// Roots verify the upstream's certificate.
	Roots *Secret
	// SNI is sent as it is; empty sends none.
	SNI string
	// ALPN lists the protocols to offer, by preference.
	ALPN []string
	// MatchSANs must match, any one of them; empty checks the chain only.
	MatchSANs []SANMatcher
	// VerifyHostname wants the certificate to be valid for the SNI.
	VerifyHostname bool
	// InsecureSkipVerify accepts every certificate; it excludes the three others.
	InsecureSkipVerify bool
	Params             Params
}

// Client begins TLS for the connections to one cluster. The sessions that it
// resumes are forgotten when its certificate or roots change.
type Client struct {
	spec    ClientSpec  // immutable
	alpn    []string    // immutable; of the spec, what we can speak
	base    *tls.Config // immutable; the part that no material changes
	timeout time.Duration

	current atomic.Pointer[clientState]
	mu      sync.Mutex // held while current is rebuilt
}

// clientState belongs to one pair of materials.
type clientState struct {
	cert     *Material // nil without certificate
	roots    *Material // nil without roots
	config   *tls.Config
	sessions tls.ClientSessionCache
}

// maxSessions bounds the sessions kept per Client, one per endpoint and SNI.
const maxSessions = 64

// NewClient checks the spec.
func NewClient(spec ClientSpec) (*Client, error) {
	switch {
	case spec.InsecureSkipVerify && (spec.Roots != nil || len(spec.MatchSANs) > 0 || spec.VerifyHostname):
		return nil, errors.New("a certificate that is not verified cannot be matched against roots or names")
	case !spec.InsecureSkipVerify && spec.Roots == nil:
		return nil, errors.New("the upstream's certificate cannot be verified without a trust bundle")
	}
	if err := checkMatchers(spec.MatchSANs); err != nil {
		return nil, err
	}
	base, err := spec.Params.config()
	if err != nil {
		return nil, err
	}
	base.InsecureSkipVerify = true // VerifyConnection does it, for resumed sessions too
	return &Client{spec: spec, alpn: speakable(spec.ALPN), base: base, timeout: spec.Params.timeout()}, nil
}

// Ready reports whether all secrets have material.
func (c *Client) Ready() bool {
	return (c.spec.Cert == nil || c.spec.Cert.Load() != nil) && (c.spec.Roots == nil || c.spec.Roots.Load() != nil)
}

// OffersALPN reports whether the spec names protocols to offer.
func (c *Client) OffersALPN() bool { return len(c.alpn) > 0 }

// Offer replaces parts of the spec for one handshake.
type Offer struct {
	// SNI replaces the spec's where it is not empty.
	SNI string
	// ALPN replaces the spec's where it is not nil; an empty list offers none.
	ALPN []string
}

// Handshake runs the client's end of TLS on conn, bounded by the spec's timeout
// and by ctx. The deadlines of conn are cleared when it returns. The caller closes
// conn after an error. With TLS 1.3 an upstream that refuses our certificate says
// so only afterwards, at the first read.
func (c *Client) Handshake(ctx context.Context, conn net.Conn) (*tls.Conn, flow.TLS, error) {
	return c.HandshakeOffer(ctx, conn, Offer{})
}

// HandshakeALPN is Handshake with other protocols than the spec's.
func (c *Client) HandshakeALPN(ctx context.Context, conn net.Conn, alpn []string) (*tls.Conn, flow.TLS, error) {
	return c.HandshakeOffer(ctx, conn, Offer{ALPN: alpn})
}

// HandshakeOffer is Handshake with another SNI or other protocols than the spec's.
func (c *Client) HandshakeOffer(ctx context.Context, conn net.Conn, offer Offer) (*tls.Conn, flow.TLS, error) {
	facts := flow.TLS{SNI: c.spec.SNI, ALPN: c.alpn}
	if offer.SNI != "" {
		facts.SNI = offer.SNI
	}
	if offer.ALPN != nil {
		facts.ALPN = speakable(offer.ALPN)
	}
	st, err := c.state()
	if err != nil {
		return nil, facts, fmt.Errorf("TLS_error: %w", err)
	}
	cfg := st.config.Clone()
	cfg.ServerName = facts.SNI
	cfg.NextProtos = facts.ALPN
	cfg.ClientSessionCache = endpointSessions{all: st.sessions, endpoint: endpointOf(conn)}
	v := c.verifier(st, facts.SNI)
	cfg.VerifyConnection = func(cs tls.ConnectionState) error { return v.verify(&cs) }
	tc := tls.Client(conn, cfg)
	if err := handshake(ctx, tc, c.timeout); err != nil {
		return nil, facts, fmt.Errorf("TLS_error: %w", err)
	}
	if _, err := establish(&facts, tc, v.peers, st.cert); err != nil && !c.spec.InsecureSkipVerify {
		return nil, facts, fmt.Errorf("TLS_error: %w", err)
	}
	return tc, facts, nil
}

func (c *Client) verifier(st *clientState, sni string) *verifier {
	v := &verifier{
		usage:    x509.ExtKeyUsageServerAuth,
		required: true,
		matchers: c.spec.MatchSANs,
		roots:    st.roots,
		byHost:   c.spec.VerifyHostname,
		hostname: sni,
	}
	if c.spec.Roots != nil {
		v.peers = &c.spec.Roots.peers
	}
	return v
}

// state is the current one, rebuilt if a secret has changed since.
func (c *Client) state() (*clientState, error) {
	var cert, roots *Material
	var err error
	if c.spec.Cert != nil {
		if cert, err = c.spec.Cert.get(false); err != nil {
			return nil, err
		}
	}
	if c.spec.Roots != nil {
		if roots, err = c.spec.Roots.get(true); err != nil {
			return nil, err
		}
	}
	if st := c.current.Load(); st != nil && st.cert == cert && st.roots == roots {
		return st, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if st := c.current.Load(); st != nil && st.cert == cert && st.roots == roots {
		return st, nil
	}
	st := &clientState{cert: cert, roots: roots, config: c.base.Clone(), sessions: tls.NewLRUClientSessionCache(maxSessions)}
	if cert != nil {
		// Shown whatever CAs the upstream names: its list may lag behind a rotation.
		st.config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return cert.pair, nil
		}
	}
	c.current.Store(st)
	return st, nil
}

// endpointSessions keeps the sessions of different endpoints apart: crypto/tls
// asks by SNI, which all endpoints of a cluster share, but an endpoint can resume
// only its own.
type endpointSessions struct {
	all      tls.ClientSessionCache
	endpoint string
}

// Get implements tls.ClientSessionCache.
func (s endpointSessions) Get(key string) (*tls.ClientSessionState, bool) {
	return s.all.Get(s.endpoint + " " + key)
}

// Put implements tls.ClientSessionCache.
func (s endpointSessions) Put(key string, session *tls.ClientSessionState) {
	s.all.Put(s.endpoint+" "+key, session)
}

func endpointOf(conn net.Conn) string {
	if addr := conn.RemoteAddr(); addr != nil {
		return addr.String()
	}
	return ""
}

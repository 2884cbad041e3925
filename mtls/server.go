package mtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
)

// ServerSpec is how the downstream end of TLS is done. It is immutable once
// given to NewServer.
type ServerSpec struct {
	Cert *Secret
	// Roots verify a downstream's certificate. Nil asks for none.
	Roots *Secret
	// RequireClientCert refuses a downstream without certificate.
	RequireClientCert bool
	// AnyPeerName accepts certificates that are no workload's: by default a
	// certificate must have exactly one URI name, and that must be a SPIFFE id.
	AnyPeerName bool
	// MatchSANs must match, any one of them; empty accepts every name.
	MatchSANs []SANMatcher
	// ALPN lists the protocols by preference.
	ALPN   []string
	Params Params
}

// Server ends TLS for the connections of one filter chain. Its session tickets
// are good for itself only, and only until its certificate or roots change.
type Server struct {
	spec    ServerSpec  // immutable
	alpn    []string    // immutable; of the spec, what we can speak
	base    *tls.Config // immutable; the part that no material changes
	timeout time.Duration

	current atomic.Pointer[serverState]
	mu      sync.Mutex // held while current is rebuilt
}

// serverState belongs to one pair of materials.
type serverState struct {
	cert    *Material
	roots   *Material // nil without roots
	entry   *tls.Config
	byALPN  map[string]*tls.Config
	without *tls.Config
}

// NewServer checks the spec.
func NewServer(spec ServerSpec) (*Server, error) {
	if spec.Cert == nil {
		return nil, errors.New("server certificate: missing")
	}
	if spec.Roots == nil && (spec.RequireClientCert || len(spec.MatchSANs) > 0) {
		return nil, errors.New("client certificates cannot be verified without a trust bundle")
	}
	if err := checkMatchers(spec.MatchSANs); err != nil {
		return nil, err
	}
	base, err := spec.Params.config()
	if err != nil {
		return nil, err
	}
	switch {
	case spec.RequireClientCert:
		base.ClientAuth = tls.RequireAnyClientCert
	case spec.Roots != nil:
		base.ClientAuth = tls.RequestClientCert
	}
	return &Server{spec: spec, alpn: speakable(spec.ALPN), base: base, timeout: spec.Params.timeout()}, nil
}

func checkMatchers(ms []SANMatcher) error {
	for i := range ms {
		if err := ms[i].check(); err != nil {
			return fmt.Errorf("subject alternative name %d: %w", i, err)
		}
	}
	return nil
}

// Ready reports whether all secrets have material.
func (s *Server) Ready() bool {
	return s.spec.Cert.Load() != nil && (s.spec.Roots == nil || s.spec.Roots.Load() != nil)
}

// Handshake runs the server's end of TLS on conn, bounded by the spec's timeout
// and by ctx. The deadlines of conn are cleared when it returns. What is returned
// says also, where the handshake failed, what the ClientHello offered. The caller
// closes conn after an error.
func (s *Server) Handshake(ctx context.Context, conn net.Conn) (*tls.Conn, flow.TLS, error) {
	st, err := s.state()
	if err != nil {
		return nil, flow.TLS{}, err
	}
	hc := &helloConn{Conn: conn}
	tc := tls.Server(hc, st.entry)
	err = handshake(ctx, tc, s.timeout)
	facts := flow.TLS{SNI: hc.sni, ALPN: hc.alpn}
	if err != nil {
		if noCertificate(err) {
			err = &verifyError{err: ErrNoCertificate}
		}
		begun(&facts, tc, st.cert)
		return nil, facts, fmt.Errorf("TLS_error: %w", err)
	}
	var peers *identities
	if s.spec.Roots != nil {
		peers = &s.spec.Roots.peers
	}
	p, err := establish(&facts, tc, peers, st.cert)
	if err != nil {
		return nil, facts, fmt.Errorf("TLS_error: %w", err)
	}
	p.share(tc)
	return tc, facts, nil
}

// begun writes what a handshake that failed told before: Envoy's log has it, too.
func begun(facts *flow.TLS, tc *tls.Conn, own *Material) {
	cs := tc.ConnectionState()
	if cs.Version == 0 {
		return
	}
	facts.Version, facts.CipherSuite, facts.Own = cs.Version, cs.CipherSuite, own.identity
}

// noCertificate recognises crypto/tls's own refusal, which has no type. Leaving
// the refusal to verify would send the wrong alert.
func noCertificate(err error) bool {
	return strings.Contains(err.Error(), "client didn't provide a certificate")
}

// state is the current one, rebuilt if a secret has changed since.
func (s *Server) state() (*serverState, error) {
	cert, err := s.spec.Cert.get(false)
	if err != nil {
		return nil, err
	}
	var roots *Material
	if s.spec.Roots != nil {
		if roots, err = s.spec.Roots.get(true); err != nil {
			return nil, err
		}
	}
	if st := s.current.Load(); st != nil && st.cert == cert && st.roots == roots {
		return st, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.current.Load(); st != nil && st.cert == cert && st.roots == roots {
		return st, nil
	}
	st := s.build(cert, roots)
	s.current.Store(st)
	return st, nil
}

// build makes one configuration per negotiable protocol. crypto/tls takes the
// ticket keys from the entry configuration, which makes its own random ones: they
// live as long as this state and nobody else has them.
func (s *Server) build(cert, roots *Material) *serverState {
	cfg := s.base.Clone()
	cfg.Certificates = []tls.Certificate{*cert.pair}
	v := &verifier{
		usage:    x509.ExtKeyUsageClientAuth,
		required: s.spec.RequireClientCert,
		workload: !s.spec.AnyPeerName,
		matchers: s.spec.MatchSANs,
		roots:    roots,
	}
	if roots != nil {
		cfg.ClientCAs = roots.pool // only to tell the downstream which we trust
		v.peers = &s.spec.Roots.peers
	}
	cfg.VerifyConnection = func(cs tls.ConnectionState) error { return v.verify(&cs) }
	st := &serverState{cert: cert, roots: roots, without: cfg, byALPN: make(map[string]*tls.Config, len(s.alpn))}
	for _, p := range s.alpn {
		c := cfg.Clone()
		c.NextProtos = []string{p}
		st.byALPN[p] = c
	}
	st.entry = cfg.Clone()
	st.entry.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if hc, ok := hello.Conn.(*helloConn); ok {
			hc.sni = lowerASCII(hello.ServerName)
			hc.alpn = slices.Clone(hello.SupportedProtos)
		}
		// Without overlap crypto/tls would abort; Envoy goes on without ALPN.
		if c := st.byALPN[pick(s.alpn, hello.SupportedProtos)]; c != nil {
			return c, nil
		}
		return st.without, nil
	}
	return st
}

// helloConn carries what the ClientHello said out of GetConfigForClient, which
// is shared by all handshakes.
type helloConn struct {
	net.Conn

	sni  string
	alpn []string
}

// NetConn is the connection below.
func (c *helloConn) NetConn() net.Conn { return c.Conn }

// handshake bounds the handshake of tc and leaves it without deadlines. It runs on a
// goroutine of its own, where crypto/tls would start one to watch ctx: the stack that
// grows for it goes with it, and does not stay with the connection.
func handshake(ctx context.Context, tc *tls.Conn, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := tc.SetDeadline(deadline); err != nil {
		return fmt.Errorf("bound handshake: %w", err)
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil { // a bug met by one peer's bytes must not end all connections
				stack := strings.ReplaceAll(string(debug.Stack()), "\n", " ") // one line, as reasons are
				done <- fmt.Errorf("handshake panicked: %v: %.2048s", p, stack)
			}
		}()
		done <- tc.Handshake()
	}()
	select {
	case err := <-done:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		_ = tc.NetConn().Close() // the caller has given it up
		<-done                   //nolint:errcheck // it has no more to say
		return context.Cause(ctx)
	}
	if err := tc.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("unbound handshake: %w", err)
	}
	return nil
}

// establish writes what the finished handshake told. It returns what is remembered of
// the peer, or nil.
func establish(facts *flow.TLS, tc *tls.Conn, peers *identities, own *Material) (*peer, error) {
	cs := tc.ConnectionState()
	facts.Established = true
	facts.Version = cs.Version
	facts.CipherSuite = cs.CipherSuite
	facts.Protocol = cs.NegotiatedProtocol
	if own != nil {
		facts.Own = own.identity
	}
	if len(cs.PeerCertificates) == 0 {
		return nil, nil
	}
	if peers == nil {
		id, err := identityOf(cs.PeerCertificates[0])
		if err != nil {
			return nil, err
		}
		facts.Peer = *id
		return nil, nil
	}
	p, err := peers.get(cs.PeerCertificates)
	if err != nil {
		return nil, err
	}
	facts.Peer = *p.identity
	return p, nil
}

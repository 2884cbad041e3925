package mtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Why a peer was refused; callers test with errors.Is.
var (
	// ErrNoCertificate: the peer showed no certificate where one is required.
	ErrNoCertificate = errors.New("peer did not show a certificate")
	// ErrUntrusted: the chain does not end at a trusted root.
	ErrUntrusted = errors.New("certificate is not signed by a trusted root")
	// ErrExpired: a certificate of the chain is past its end.
	ErrExpired = errors.New("certificate has expired")
	// ErrNotYetValid: a certificate of the chain is before its start.
	ErrNotYetValid = errors.New("certificate is not yet valid")
	// ErrUsage: the certificate is not meant for this end of a connection.
	ErrUsage = errors.New("certificate is not meant for this use")
	// ErrName: the certificate is good, but it names somebody else.
	ErrName = errors.New("certificate names somebody else")
)

// maxChain bounds the work that a peer's chain can cause.
const maxChain = 10

// verifier checks a peer's certificates. It is immutable.
type verifier struct {
	usage    x509.ExtKeyUsage
	required bool         // the peer must show a certificate
	workload bool         // the peer must be a workload with one SPIFFE id
	matchers []SANMatcher // one must match, if there are any
	peers    *identities  // of the secret that holds the roots
	roots    *Material    // nil: the chain is not checked at all
	byHost   bool         // the leaf must be valid for hostname
	hostname string
}

// verify runs in tls.Config.VerifyConnection, for new and resumed sessions alike.
func (v *verifier) verify(cs *tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		if v.required {
			return &verifyError{err: ErrNoCertificate}
		}
		return nil
	}
	if v.roots == nil {
		return nil
	}
	if err := v.chain(cs.PeerCertificates, time.Now()); err != nil {
		return refusedChain(err, cs.PeerCertificates)
	}
	if err := v.names(cs); err != nil {
		return refusedNames(err, cs)
	}
	return nil
}

func (v *verifier) chain(certs []*x509.Certificate, now time.Time) error {
	leaf := certs[0]
	if len(certs) > maxChain {
		return fmt.Errorf("%w: chain of %d certificates, at most %d are accepted", ErrUntrusted, len(certs), maxChain)
	}
	if leaf.IsCA {
		return fmt.Errorf("%w: it is the certificate of a CA", ErrUsage)
	}
	key := keyOf(certs, v.usage)
	if v.roots.proven.has(key, now) {
		return nil
	}
	intermediates := x509.NewCertPool()
	for _, c := range certs[1:] {
		intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots:         v.roots.pool,
		Intermediates: intermediates,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{v.usage},
	})
	if err != nil {
		return explain(err, now)
	}
	v.roots.proven.add(key, chains[0])
	return nil
}

// explain maps the errors of crypto/x509 to ours, which say who has to act.
func explain(err error, now time.Time) error {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("%w (%w)", ErrUntrusted, err)
	}
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) {
		return fmt.Errorf("%w (%w)", ErrUntrusted, err)
	}
	switch {
	case invalid.Reason == x509.Expired && invalid.Cert != nil && now.Before(invalid.Cert.NotBefore):
		return fmt.Errorf("%w: it starts at %s", ErrNotYetValid, invalid.Cert.NotBefore.UTC().Format(time.RFC3339))
	case invalid.Reason == x509.Expired && invalid.Cert != nil:
		return fmt.Errorf("%w at %s", ErrExpired, invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
	case invalid.Reason == x509.IncompatibleUsage:
		return fmt.Errorf("%w (%w)", ErrUsage, err)
	}
	return fmt.Errorf("%w (%w)", ErrUntrusted, err)
}

func (v *verifier) names(cs *tls.ConnectionState) error {
	leaf := cs.PeerCertificates[0]
	p, err := v.peers.get(cs.PeerCertificates)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrName, err)
	}
	if v.workload {
		if err := oneSPIFFE(&p.sans); err != nil {
			return fmt.Errorf("%w: %w", ErrName, err)
		}
	}
	if v.byHost {
		if err := leaf.VerifyHostname(v.hostname); err != nil {
			return fmt.Errorf("%w (%w)", ErrName, err)
		}
	}
	return v.matchSANs(&p.sans)
}

// oneSPIFFE is X509-SVID section 2: a workload has exactly one URI name.
func oneSPIFFE(s *sans) error {
	switch len(s.uris) {
	case 0:
		return errors.New("no SPIFFE id among its names")
	case 1:
	default:
		return fmt.Errorf("%d URI names where a workload has one", len(s.uris))
	}
	if err := checkSPIFFE(s.uris[0]); err != nil {
		return fmt.Errorf("SPIFFE id %q: %w", s.uris[0], err)
	}
	return nil
}

func (v *verifier) matchSANs(s *sans) error {
	if len(v.matchers) == 0 {
		return nil
	}
	for i := range v.matchers {
		if v.matchers[i].match(s) {
			return nil
		}
	}
	return fmt.Errorf("%w: SAN %s is not one of %s", ErrName, listNames(s), listMatchers(v.matchers))
}

// maxListed bounds the names written into an error.
const maxListed = 4

func listNames(s *sans) string {
	all := make([]string, 0, maxListed+1)
	for _, names := range [][]string{s.uris, s.dns, s.emails, s.ips} {
		for _, name := range names {
			if len(all) == maxListed {
				return strings.Join(append(all, "..."), ", ")
			}
			all = append(all, fmt.Sprintf("%.256q", name))
		}
	}
	if len(all) == 0 {
		return "(none)"
	}
	return strings.Join(all, ", ")
}

func listMatchers(ms []SANMatcher) string {
	all := make([]string, 0, maxListed+1)
	for i := range ms {
		if i == maxListed {
			all = append(all, fmt.Sprintf("and %d more", len(ms)-i))
			break
		}
		m := &ms[i]
		text := fmt.Sprintf("%q", m.Value)
		switch m.Kind {
		case SANPrefix:
			text = "prefix " + text
		case SANSuffix:
			text = "suffix " + text
		case SANContains:
			text = "containing " + text
		case SANFunc:
			text = "matching " + text
		case SANExact:
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

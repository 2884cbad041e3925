package mtls

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"sync"

	"github.com/outrigger-mesh/outrigger/flow"
)

func identityOf(cert *x509.Certificate) (*flow.Identity, error) {
	names, err := sansOf(cert)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(cert.Raw)
	return newIdentity(cert, &names, sum), nil
}

func newIdentity(cert *x509.Certificate, names *sans, sum [sha256.Size]byte) *flow.Identity {
	return &flow.Identity{
		URIs:     names.uris,
		DNS:      names.dns,
		Subject:  subject(cert),
		Hash:     hex.EncodeToString(sum[:]),
		Serial:   hex.EncodeToString(cert.SerialNumber.Bytes()),
		NotAfter: cert.NotAfter,
	}
}

// subject keeps the order of the certificate, which pkix.Name does not.
func subject(cert *x509.Certificate) string {
	var rdn pkix.RDNSequence
	if rest, err := asn1.Unmarshal(cert.RawSubject, &rdn); err != nil || len(rest) != 0 {
		return cert.Subject.String()
	}
	return rdn.String()
}

// peer is what a leaf certificate says, read once.
type peer struct {
	identity *flow.Identity
	sans     sans
	chain    []*x509.Certificate // as it was first shown
}

// maxShared is the longest chain that sessions share: a leaf and its CA's, as istiod
// issues them, or one more.
const maxShared = 3

// share has a server's session hold the certificates that other sessions of its peer
// hold, too: crypto/tls parses what it is shown each time and keeps that for the life of
// the session, some three kilobytes. What it hands out is its own slice. Whoever
// resumes gets certificates of a ticket, which are not touched.
func (p *peer) share(session *tls.Conn) {
	cs := session.ConnectionState()
	if p == nil || cs.DidResume {
		return
	}
	for i, c := range cs.PeerCertificates[:min(len(cs.PeerCertificates), len(p.chain))] {
		if bytes.Equal(c.Raw, p.chain[i].Raw) {
			cs.PeerCertificates[i] = p.chain[i]
		}
	}
}

// maxIdentities bounds the leaf certificates remembered per secret.
const maxIdentities = 512

// identities remembers what leaf certificates say. It keeps two halves: when the
// young one is full it becomes the old one, and what is still used moves back.
// The zero value is ready.
type identities struct {
	mu         sync.Mutex // guards what follows
	young, old map[[sha256.Size]byte]*peer
}

func (c *identities) get(chain []*x509.Certificate) (*peer, error) {
	leaf := chain[0]
	sum := sha256.Sum256(leaf.Raw)
	if p := c.find(sum); p != nil {
		return p, nil
	}
	names, err := sansOf(leaf)
	if err != nil {
		return nil, err
	}
	p := &peer{identity: newIdentity(leaf, &names, sum), sans: names, chain: slices.Clone(chain[:min(len(chain), maxShared)])}
	c.put(sum, p)
	return p, nil
}

func (c *identities) find(sum [sha256.Size]byte) *peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.young[sum]; p != nil {
		return p
	}
	p := c.old[sum]
	if p != nil {
		c.putLocked(sum, p)
	}
	return p
}

func (c *identities) put(sum [sha256.Size]byte, p *peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.putLocked(sum, p)
}

func (c *identities) putLocked(sum [sha256.Size]byte, p *peer) {
	if len(c.young) >= maxIdentities/2 {
		c.old, c.young = c.young, nil
	}
	if c.young == nil {
		c.young = make(map[[sha256.Size]byte]*peer)
	}
	c.young[sum] = p
}

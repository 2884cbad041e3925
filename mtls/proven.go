package mtls

import (
	"crypto/sha256"
	"crypto/x509"
	"sync"
	"time"
)

// maxProven bounds the chains remembered per trust bundle.
const maxProven = 512

// proven remembers which chains of certificates were found good under one trust
// bundle: the peers of a mesh are few and come back, and their signatures do not
// change. What is remembered is for the very bytes that were shown, for one usage,
// and only within the validity of every certificate on the way to the root. The zero
// value is ready.
type proven struct {
	mu         sync.Mutex // guards what follows
	young, old map[chainKey]span
}

// chainKey is the hash of a chain as it was shown, and what it was good for.
type chainKey struct {
	sum   [sha256.Size]byte
	usage x509.ExtKeyUsage
}

// span is the time in which a chain is valid.
type span struct{ from, until time.Time }

func (s *span) holds(now time.Time) bool { return !now.Before(s.from) && !now.After(s.until) }

func keyOf(certs []*x509.Certificate, usage x509.ExtKeyUsage) chainKey {
	if len(certs) == 1 {
		return chainKey{sha256.Sum256(certs[0].Raw), usage}
	}
	h := sha256.New()
	for _, c := range certs {
		sum := sha256.Sum256(c.Raw) // of each by itself, so that bytes cannot move from one to the next
		h.Write(sum[:])
	}
	k := chainKey{usage: usage}
	h.Sum(k.sum[:0])
	return k
}

// has reports whether the chain was proven and is valid now.
func (p *proven) has(k chainKey, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.young[k]
	if !ok {
		if s, ok = p.old[k]; !ok {
			return false
		}
		p.putLocked(k, s)
	}
	return s.holds(now)
}

// add remembers a chain, leaf first and root last, that was verified.
func (p *proven) add(k chainKey, chain []*x509.Certificate) {
	s := span{chain[0].NotBefore, chain[0].NotAfter}
	for _, c := range chain[1:] {
		if c.NotBefore.After(s.from) {
			s.from = c.NotBefore
		}
		if c.NotAfter.Before(s.until) {
			s.until = c.NotAfter
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.putLocked(k, s)
}

func (p *proven) putLocked(k chainKey, s span) {
	if len(p.young) >= maxProven/2 {
		p.old, p.young = p.young, nil
	}
	if p.young == nil {
		p.young = make(map[chainKey]span)
	}
	p.young[k] = s
}

package http1

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"

	"github.com/outrigger-mesh/outrigger/sock"
)

// Beneath wraps a socket for a TLS session that a ClientConn will use. What a
// session has decrypted and not handed out can only be found by reading from it,
// and only below it can a read be kept from waiting. A ClientConn on a session that
// runs on anything else is never Alive.
func Beneath(conn net.Conn) net.Conn {
	b := &beneath{Conn: sock.Wrap(conn)}
	if sc, ok := conn.(syscall.Conn); ok {
		b.raw, _ = sc.SyscallConn() // nil means that nothing can be had without waiting
	}
	b.take = b.takeReady
	return b
}

// beneath is a socket below TLS. While it is dry, reading takes what has arrived
// and never waits.
type beneath struct {
	net.Conn

	// immutable
	raw  syscall.RawConn
	take func(fd uintptr)

	// owned by who uses the session
	dry   bool
	spoke bool // the session wanted to answer while dry
	p     []byte
	n     int
	err   error
	one   [1]byte
}

// silent reports whether the session is open and has no content. Session tickets
// that have arrived are taken. A session that has to answer, because a new key or
// an alert came, is given up: writing might wait.
func (b *beneath) silent(session *tls.Conn) bool {
	b.dry, b.spoke = true, false
	n, err := session.Read(b.one[:])
	b.dry = false
	return n == 0 && errors.Is(err, errDry) && !b.spoke
}

// Read waits for bytes, unless dry.
func (b *beneath) Read(p []byte) (int, error) {
	switch {
	case !b.dry:
		return b.Conn.Read(p)
	case b.raw == nil:
		return 0, errDry
	}
	b.p = p
	err := b.raw.Control(b.take)
	b.p = nil
	if err != nil {
		return 0, err
	}
	return b.n, b.err
}

// NetConn is the socket below.
func (b *beneath) NetConn() net.Conn { return b.Conn }

// Write sends bytes, unless dry.
func (b *beneath) Write(p []byte) (int, error) {
	if b.dry {
		b.spoke = true
		return 0, errDry
	}
	return b.Conn.Write(p)
}

func (b *beneath) takeReady(fd uintptr) {
	b.n, b.err = sock.Read(int(fd), b.p) //nolint:gosec // descriptors are small
	if errors.Is(b.err, syscall.EAGAIN) {
		b.err = errDry
	}
}

// errDry ends a read that would have to wait.
var errDry error = dryError{}

// dryError is a net.Error that calls itself temporary, for which TLS does not give
// a session up.
type dryError struct{}

func (dryError) Error() string   { return "nothing has arrived" }
func (dryError) Timeout() bool   { return true }
func (dryError) Temporary() bool { return true }

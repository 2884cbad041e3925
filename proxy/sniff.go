package proxy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/mtls"
)

// The bounds of the inspectors. Envoy's configuration "no timeout" is what Istio
// sends; a connection that stays silent for an hour, Envoy's idle default, and one
// that began a message and does not get on with it for 15 seconds, Envoy's
// default for inspectors, are closed all the same. They are closed and not passed
// on: a configured timeout may let a slow client choose a chain with less policy,
// an unconfigured one must not.
const (
	silenceBound  = time.Hour
	progressBound = 15 * time.Second
)

// The sizes of the inspectors, as in Envoy.
const (
	peekSize     = 4 << 10
	maxFirstLine = 64 << 10
)

// What the HTTP inspector finds.
var (
	alpnHTTP10 = []string{"http/1.0"}
	alpnHTTP11 = []string{"http/1.1"}
	alpnH2C    = []string{"h2c"}
)

// Errors of the inspectors; each closes the connection.
var (
	errSniffTimeout  = errors.New("nothing to inspect arrived in time")
	errSniffTooLarge = errors.New("first message too large to inspect")
	// errSilent is no end: the downstream has said nothing for silenceBeforeDial.
	errSilent = errors.New("downstream is silent")
	// errMore is a verdict's "not yet".
	errMore = errors.New("more bytes are needed")
)

// sniffer inspects the first bytes of one connection.
type sniffer struct {
	in        *Inspect
	start     time.Time
	heard     atomic.Bool // the first byte has come
	tls, http bool        // inspectors without a verdict
	found     Facts
	// ahead is the upstream connection that a silent downstream was given, or nil.
	ahead *ahead
}

// detect reads until the inspectors that are on for this port have made up their
// mind, or returns errSilent where the downstream leaves the first word to others.
// What it read stays in sock.
func (s *sniffer) detect(sock *socket, port uint16) error {
	s.found.Transport = TransportRaw
	s.tls = s.in.TLS && (s.in.TLSDisabled == nil || !s.in.TLSDisabled(port))
	s.http = s.in.HTTP && (s.in.HTTPDisabled == nil || !s.in.HTTPDisabled(port))
	if !s.tls && !s.http {
		return nil
	}
	s.start = time.Now()
	if s.patience() <= silenceBeforeDial {
		return s.resume(sock)
	}
	err := s.wait(sock, silenceBeforeDial)
	if errors.Is(err, os.ErrDeadlineExceeded) && !s.heard.Load() {
		return errSilent
	}
	return s.verdict(err)
}

// resume goes on after errSilent. Where the upstream that was dialled meanwhile
// speaks first, there is nothing to find.
func (s *sniffer) resume(sock *socket) error {
	return s.verdict(s.wait(sock, s.patience()))
}

// patience is how long the first byte may take.
func (s *sniffer) patience() time.Duration {
	if s.in.Timeout > 0 {
		return s.in.Timeout
	}
	return silenceBound
}

// progress is until when all that follows the first byte has to come.
func (s *sniffer) progress() time.Time {
	if s.in.Timeout > 0 {
		return s.start.Add(s.in.Timeout)
	}
	return time.Now().Add(progressBound)
}

// wait reads with a bound on the first byte, counted from the start.
func (s *sniffer) wait(sock *socket, first time.Duration) error {
	_ = sock.SetReadDeadline(s.start.Add(first))
	s.ahead.begin()
	err := s.read(sock)
	_ = sock.SetReadDeadline(time.Time{})
	return err
}

// verdict says what a wait that ended in time-out means.
func (s *sniffer) verdict(err error) error {
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		if s.in.Timeout > 0 && s.in.ContinueOnTimeout {
			return nil
		}
		return errSniffTimeout
	}
	return err
}

// read grows the peeked bytes until there is a verdict.
func (s *sniffer) read(sock *socket) error {
	var n int
	var err error
	sock.held, n, err = firstBytes(sock.Conn)
	if sock.held != nil {
		sock.prefix = (*sock.held)[:n]
	}
	if s.ahead.heard() {
		s.heard.Store(true)
		return nil
	}
	if err != nil {
		return fmt.Errorf("inspect: %w", err)
	}
	s.heard.Store(true)
	_ = sock.SetReadDeadline(s.progress())
	for buf := (*sock.held)[:n]; ; buf = buf[:len(buf)+n] {
		sock.prefix = buf
		if n > 0 {
			if verdict := s.inspect(buf); !errors.Is(verdict, errMore) {
				return verdict
			}
		}
		if err != nil {
			return fmt.Errorf("inspect: %w", err)
		}
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, 4*cap(buf)), buf...)
		}
		n, err = sock.Conn.Read(buf[len(buf):cap(buf)])
	}
}

// firstBytes waits for the first bytes of a connection. On a socket it takes the
// buffer for them, which is the caller's, when there is something to read: a silent
// connection costs none.
func firstBytes(conn net.Conn) (held *[]byte, n int, err error) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		held = getPeek()
		if n, err = conn.Read((*held)[:cap(*held)]); n == 0 {
			putPeek(held)
			return nil, 0, cmp.Or(err, io.ErrNoProgress)
		}
		return held, n, nil // an error comes again
	}
	rc, err := tcp.SyscallConn()
	if err != nil {
		return nil, 0, err
	}
	var readErr error
	err = rc.Read(func(fd uintptr) bool {
		held, n, readErr = peekReady(int(fd)) //nolint:gosec // descriptors are small
		return !errors.Is(readErr, syscall.EAGAIN)
	})
	return held, n, cmp.Or(err, readErr)
}

// peekReady takes what a socket has, with a buffer if that is something.
func peekReady(fd int) (*[]byte, int, error) {
	held := getPeek()
	n, err := syscall.Read(fd, (*held)[:cap(*held)])
	for errors.Is(err, syscall.EINTR) {
		n, err = syscall.Read(fd, (*held)[:cap(*held)])
	}
	if n > 0 {
		return held, n, nil
	}
	putPeek(held)
	return nil, 0, cmp.Or(err, io.EOF)
}

// inspect returns nil for a verdict and errMore while there is none.
func (s *sniffer) inspect(b []byte) error {
	if s.tls {
		hello, _, err := mtls.ParseClientHello(b)
		switch {
		case err == nil:
			s.found.Transport = TransportTLS
			s.found.ServerName, s.found.ALPN = hello.SNI, hello.ALPN
			return nil
		case errors.Is(err, mtls.ErrShort):
			return errMore
		case errors.Is(err, mtls.ErrTooLarge):
			return errSniffTooLarge
		}
		s.tls = false
	}
	if !s.http {
		return nil
	}
	alpn, err := sniffHTTP(b)
	switch {
	case errors.Is(err, errMore) && len(b) > maxFirstLine:
		return errSniffTooLarge
	case errors.Is(err, errMore):
		return errMore
	}
	s.found.ALPN = alpn
	return nil
}

// sniffHTTP looks for an HTTP/2 preface or a request line. nil, nil is "not
// HTTP".
func sniffHTTP(b []byte) ([]string, error) {
	if len(b) >= len(preface) && mayBePreface(b) {
		return alpnH2C, nil
	}
	i := 0
	for i < len(b) && isToken(b[i]) && i <= maxMethod {
		i++
	}
	switch {
	case i == len(b) && i <= maxMethod:
		return nil, errMore
	case i == 0 || i > maxMethod || b[i] != ' ' && b[i] != '\t':
		return nil, nil
	}
	for j := i + 1; j < len(b); j++ {
		switch b[j] {
		case '\n':
			return versionOf(b[i+1 : j]), nil
		case 0, 0x7f: // others are a bad request's
			return nil, nil
		}
	}
	return nil, errMore
}

// maxMethod is the longest word that is taken for a method.
const maxMethod = 1 << 10

// versionOf reads "target HTTP/1.x[CR]" and returns the protocol, or nil. A tab in the
// place of a space makes a bad request, which is HTTP all the same.
func versionOf(rest []byte) []string {
	rest = bytes.TrimRight(rest, "\r \t")
	const size = len(" HTTP/1.1")
	if len(rest) <= size {
		return nil
	}
	v := rest[len(rest)-size:]
	if v[0] != ' ' && v[0] != '\t' || string(v[1:size-1]) != "HTTP/1." {
		return nil
	}
	switch minor := rest[len(rest)-1]; {
	case minor == '1':
		return alpnHTTP11
	case minor >= '0' && minor <= '9':
		return alpnHTTP10
	default:
		return nil
	}
}

// isToken reports the characters of a method.
func isToken(c byte) bool {
	switch {
	case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		return true
	}
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return false
}

// peeks holds buffers for first bytes; larger ones are left to the collector.
var peeks = sync.Pool{New: func() any {
	b := make([]byte, 0, peekSize)
	return &b
}}

func getPeek() *[]byte { return peeks.Get().(*[]byte) } //nolint:forcetypeassert // the pool holds nothing else

func putPeek(b *[]byte) { peeks.Put(b) }

var _ net.Conn = (*socket)(nil)

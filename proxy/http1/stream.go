package http1

import (
	"net"

	"github.com/outrigger-mesh/outrigger/proxy/tunnel"
)

// stream is a connection as a plain stream of bytes, from the first byte that was
// not parsed.
type stream struct {
	conn net.Conn
	rd   *reader
}

// Read returns bytes that were buffered before those of the connection.
func (s *stream) Read(p []byte) (int, error) { return s.rd.read(p) }

// Write sends bytes.
func (s *stream) Write(p []byte) (int, error) { return s.conn.Write(p) }

// Close ends both directions.
func (s *stream) Close() error { return s.conn.Close() }

// CloseWrite tells the other end that no more bytes come.
func (s *stream) CloseWrite() error { return tunnel.CloseWrite(s.conn) }

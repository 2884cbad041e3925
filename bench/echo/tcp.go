package echo

import (
	"encoding/binary"
	"io"
	"net"
)

// piece is what one system call of a bulk transfer moves.
const piece = 256 << 10

// serveTCP sends back what comes. A small buffer: messages are.
func (s *Servers) serveTCP(conn net.Conn) {
	buffer := make([]byte, 4<<10)
	for {
		n, err := conn.Read(buffer)
		if n > 0 {
			if _, err := conn.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// serveSink counts what comes.
func (s *Servers) serveSink(conn net.Conn) {
	buffer := make([]byte, piece)
	var sum uint64
	for {
		n, err := conn.Read(buffer)
		sum += uint64(n)
		if err == io.EOF { //nolint:errorlint // the end as such, not an error that wraps it
			break
		}
		if err != nil {
			return
		}
	}
	if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, sum)); err == nil {
		s.farewell(conn)
	}
}

// serveSource sends as much as it is asked for.
func (s *Servers) serveSource(conn net.Conn) {
	var word [8]byte
	if _, err := io.ReadFull(conn, word[:]); err != nil {
		return
	}
	buffer := make([]byte, piece)
	for left := binary.BigEndian.Uint64(word[:]); left > 0; {
		n, err := conn.Write(buffer[:min(left, piece)])
		if err != nil {
			return
		}
		left -= uint64(n)
	}
	s.farewell(conn)
}

// farewell ends the side that sends; closing it all could reset what is on its way.
func (s *Servers) farewell(conn net.Conn) {
	if c, ok := conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, conn) // until the caller has hung up, or Close
	}
}

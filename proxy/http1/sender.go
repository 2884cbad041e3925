package http1

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/buffer"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/sock"
)

// errExcess and errShort: a body is not as long as its head announced.
var (
	errExcess = errors.New("body is longer than announced")
	errShort  = errors.New("body is shorter than announced")
)

const (
	// chunkRoom is what a chunk's framing takes at most in a sender's buffer.
	chunkRoom = len("ffff\r\n") + len("\r\n")
	// minRead is the least free space that is worth a read of a body.
	minRead = 512
)

// sender gathers a message in one buffer and writes it when the buffer is full or
// the rest would have to be awaited, so that a message that is there goes out in one
// write and a stream is never held up.
type sender struct {
	conn net.Conn
	buf  []byte
	// timeout bounds each write, where positive.
	timeout time.Duration
	// wrote is the number of bytes that the connection took.
	wrote int64
}

func (s *sender) open(conn net.Conn) {
	s.conn, s.wrote = conn, 0
	s.buf = buffer.Get(buffer.Medium)[:0]
}

func (s *sender) close() {
	if s.buf != nil {
		buffer.Put(s.buf)
		s.buf = nil
	}
}

// flush writes what was gathered.
func (s *sender) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	if s.timeout > 0 {
		if err := s.conn.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil {
			return err
		}
	}
	n, err := sock.WriteAll(s.conn, s.buf)
	s.wrote += int64(n)
	s.buf = s.buf[:0]
	return err
}

// transfer is one body on its way through a sender.
type transfer struct {
	from    httpmsg.Body
	length  int64 // announced, or httpmsg.Unknown
	chunked bool
	trailer *httpmsg.Header // sent behind a chunked body, where not nil

	// last is called before the write that completes the body, where not nil.
	last func()

	sent int64
	// readErr is what ended the body, if not its end; writeErr what the connection
	// said. At most one of them is set.
	readErr, writeErr error
}

// run sends the body to its end, and flushes.
func (t *transfer) run(s *sender) {
	for t.writeErr == nil {
		if t.from.Buffered() == 0 {
			if t.writeErr = s.flush(); t.writeErr != nil {
				return
			}
		} else if cap(s.buf)-len(s.buf) < minRead {
			if t.writeErr = s.flush(); t.writeErr != nil {
				return
			}
			s.enlarge(t.length - t.sent)
		}
		n, err := t.read(s)
		t.sent += int64(n)
		switch {
		case t.length >= 0 && t.sent > t.length:
			t.fail(s, errExcess)
			return
		case errors.Is(err, io.EOF):
			t.end(s)
			return
		case err != nil:
			t.fail(s, err)
			return
		}
	}
}

// enlarge takes a larger buffer for a body of which much is to come.
func (s *sender) enlarge(left int64) {
	if cap(s.buf) < buffer.Large && (left < 0 || left > buffer.Medium) {
		buffer.Put(s.buf)
		s.buf = buffer.Get(buffer.Large)[:0]
	}
}

// read appends what the body has, with its chunk framing.
func (t *transfer) read(s *sender) (int, error) {
	used, free := len(s.buf), cap(s.buf)
	if !t.chunked {
		n, err := t.from.Read(s.buf[used:free])
		s.buf = s.buf[:used+n]
		return n, err
	}
	// The size stands before the content: room is left for the likely number of
	// digits, and the content moved where it was another one.
	want := free - used - chunkRoom
	if b := t.from.Buffered(); b > 0 && b < want {
		want = b
	}
	head := hexDigits(want) + 2
	n, err := t.from.Read(s.buf[used+head : used+head+want])
	if n == 0 {
		return 0, err
	}
	if d := hexDigits(n) + 2; d != head {
		copy(s.buf[used+d:free], s.buf[used+head:used+head+n])
		head = d
	}
	s.buf = appendHex(s.buf, n)
	s.buf = append(s.buf, "\r\n"...)
	s.buf = s.buf[:used+head+n]
	s.buf = append(s.buf, "\r\n"...)
	return n, err
}

func (t *transfer) end(s *sender) {
	if t.length >= 0 && t.sent < t.length {
		t.fail(s, errShort)
		return
	}
	if t.chunked {
		s.buf = append(s.buf, "0\r\n"...)
		if t.trailer != nil {
			fw := fieldWriter{naming: naming{spelling: t.trailer.Spelling}, length: httpmsg.Unknown}
			s.buf = fw.append(s.buf, t.trailer)
		}
		s.buf = append(s.buf, "\r\n"...)
	}
	if t.last != nil {
		t.last()
	}
	t.writeErr = s.flush()
}

// fail keeps the reason and lets go what was gathered: the receiver sees how far the
// body came.
func (t *transfer) fail(s *sender, err error) {
	t.readErr = err
	if over := t.sent - t.length; t.length >= 0 && over > 0 && !t.chunked {
		s.buf = s.buf[:max(0, len(s.buf)-int(over))]
		t.sent = t.length
	}
	_ = s.flush() // the first error is the one to report
}

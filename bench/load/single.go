package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// single is a connection whose caller waits for each answer.
type single struct {
	conn  net.Conn
	codec *http1
	err   error // the last answer's verdict
}

// openSingle opens a connection for HTTP/1.1 requests of an engine.
func openSingle(ctx context.Context, config *tls.Config, e *engine) (*single, error) {
	conn, err := dial(ctx, e.target.Addr, config)
	if err != nil {
		return nil, err
	}
	s := &single{conn: conn}
	s.codec = newHTTP1(e.message, e.expect, func(_ time.Duration, err error) { s.err = err })
	return s, nil
}

// roundTrip sends one request and reads its answer; the buffer may be anyone's.
func (s *single) roundTrip(buffer []byte) error {
	if err := s.conn.SetDeadline(time.Now().Add(stall)); err != nil {
		return err
	}
	out, ok := s.codec.request(buffer[:0], 0)
	if !ok {
		return errReconnect
	}
	if _, err := s.conn.Write(out); err != nil {
		return err
	}
	for have := 0; s.codec.busy; {
		n, err := s.conn.Read(buffer[have:])
		have += n
		used, _, wrong := s.codec.consume(buffer[:have], nil)
		if wrong != nil && !errors.Is(wrong, errReconnect) {
			return wrong
		}
		have = copy(buffer, buffer[used:have])
		switch {
		case !s.codec.busy:
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		case have == len(buffer):
			return fmt.Errorf("%w: more than %d bytes of it make no sense", errBroken, have)
		}
	}
	return s.err
}

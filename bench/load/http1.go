package load

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// States of an HTTP/1.1 answer.
const (
	inHead = iota
	inBody
	inChunkSize
	inChunk
	inChunkEnd
	inTrailers
)

// http1 sends one request after the other, each of the same bytes.
type http1 struct {
	message []byte
	expect  *expectation
	done    verdict

	due   time.Duration
	busy  bool
	state int
	left  int64 // of the body or chunk
	length,
	declared int64 // body's bytes so far, and as the head has it
	status int
	closes bool // after this answer
}

func newHTTP1(message []byte, e *expectation, done verdict) *http1 {
	return &http1{message: message, expect: e, done: done}
}

// http1Message builds the request.
func http1Message(t *Target) []byte {
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nhost: %s\r\n", t.Method, t.Path, t.Host)
	for _, h := range t.Header {
		b = fmt.Appendf(b, "%s: %s\r\n", h[0], h[1])
	}
	if len(t.Body) > 0 {
		b = fmt.Appendf(b, "content-length: %d\r\n", len(t.Body))
	}
	return append(append(b, "\r\n"...), t.Body...)
}

func (c *http1) request(out []byte, due time.Duration) ([]byte, bool) {
	if c.busy || c.closes {
		return out, false
	}
	c.busy, c.due = true, due
	return append(out, c.message...), true
}

func (c *http1) consume(in, out []byte) (used int, answer []byte, err error) {
	for used < len(in) {
		if !c.busy {
			return used, out, fmt.Errorf("%w: %d bytes that nobody asked for", errBroken, len(in)-used)
		}
		n, err := c.step(in[used:])
		if err != nil {
			return used, out, err
		}
		if n == 0 {
			break
		}
		used += n
		if !c.busy && c.closes {
			return used, out, errReconnect
		}
	}
	return used, out, nil
}

// step reads one element; 0 bytes mean that it is not complete.
func (c *http1) step(in []byte) (int, error) {
	switch c.state {
	case inHead:
		return c.readHead(in)
	case inBody, inChunk:
		n := min(int64(len(in)), c.left)
		c.left -= n
		c.length += n
		if c.left == 0 && c.state == inBody {
			c.finish()
		} else if c.left == 0 {
			c.state = inChunkEnd
		}
		return int(n), nil
	}
	line, n := cutLine(in)
	if n == 0 {
		return 0, nil
	}
	switch c.state {
	case inChunkSize:
		return n, c.readChunkSize(line)
	case inChunkEnd:
		if len(line) > 0 {
			return 0, fmt.Errorf("%w: chunk longer than its size", errBroken)
		}
		c.state = inChunkSize
	case inTrailers:
		if len(line) == 0 {
			c.finish()
		}
	}
	return n, nil
}

// cutLine returns the first line without its end, and how many bytes it took.
func cutLine(in []byte) (line []byte, used int) {
	end := bytes.IndexByte(in, '\n')
	if end < 0 {
		return nil, 0
	}
	return bytes.TrimSuffix(in[:end], []byte{'\r'}), end + 1
}

func (c *http1) readChunkSize(line []byte) error {
	digits, _, _ := bytes.Cut(line, []byte{';'})
	size, err := strconv.ParseUint(string(bytes.TrimSpace(digits)), 16, 40)
	if err != nil {
		return fmt.Errorf("%w: chunk size %.20q", errBroken, line)
	}
	c.left, c.state = int64(size), inChunk
	if size == 0 {
		c.state = inTrailers
	}
	return nil
}

func (c *http1) readHead(in []byte) (int, error) {
	end := bytes.Index(in, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, nil
	}
	head := in[:end+2]
	if len(head) < 14 || string(head[:7]) != "HTTP/1." || head[8] != ' ' {
		return 0, fmt.Errorf("%w: it begins with %.20q", errBroken, in)
	}
	status, err := strconv.Atoi(string(head[9:12]))
	if err != nil || status < 100 || status == 101 {
		return 0, fmt.Errorf("%w: status %.3q", errBroken, head[9:])
	}
	if status < 200 { // the real one follows
		return end + 4, nil
	}
	_, first := cutLine(head)
	if err := c.readFields(head[first:]); err != nil {
		return 0, err
	}
	c.status, c.length = status, 0
	c.closes = c.closes || head[7] == '0'
	return end + 4, c.beginBody()
}

// noLength is a body whose end only the connection's end would tell.
const noLength = -1

func (c *http1) readFields(fields []byte) error {
	c.declared = noLength
	c.state = inHead
	for len(fields) > 0 {
		line, n := cutLine(fields)
		fields = fields[n:]
		name, value, ok := bytes.Cut(line, []byte{':'})
		if !ok {
			return fmt.Errorf("%w: field %.40q", errBroken, line)
		}
		switch {
		case len(name) == len("content-length") && bytes.EqualFold(name, []byte("content-length")):
			size, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 40)
			if err != nil {
				return fmt.Errorf("%w: length %.20q", errBroken, value)
			}
			c.declared = int64(size)
		case len(name) == len("transfer-encoding") && bytes.EqualFold(name, []byte("transfer-encoding")):
			if !bytes.EqualFold(bytes.TrimSpace(value), []byte("chunked")) {
				return fmt.Errorf("%w: transfer-encoding %.20q", errBroken, value)
			}
			c.state = inChunkSize
		case len(name) == len("connection") && bytes.EqualFold(name, []byte("connection")):
			c.closes = c.closes || bytes.EqualFold(bytes.TrimSpace(value), []byte("close"))
		}
	}
	return nil
}

// beginBody decides what follows the head.
func (c *http1) beginBody() error {
	switch {
	case c.status == 204 || c.status == 304:
		c.finish()
	case c.state == inChunkSize:
	case c.declared == noLength:
		return fmt.Errorf("%w: neither length nor chunks", errBroken)
	case c.declared == 0:
		c.finish()
	default:
		c.state, c.left = inBody, c.declared
	}
	return nil
}

func (c *http1) finish() {
	c.busy, c.state = false, inHead
	c.done(c.due, c.expect.check(c.status, c.length))
}

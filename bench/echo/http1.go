package echo

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
)

// Bounds of what is read.
const (
	maxHead = 32 << 10
	maxSize = 64 << 20 // of an answer's body
)

// serveHTTP1 answers requests, pipelined ones in one piece.
func (s *Servers) serveHTTP1(conn net.Conn) {
	c := http1{servers: s}
	buffer := make([]byte, 4<<10)
	have := 0
	for {
		n, err := conn.Read(buffer[have:])
		have += n
		used := c.consume(buffer[:have])
		if len(c.out) > 0 {
			if _, err := conn.Write(c.out); err != nil {
				return
			}
			c.out = c.out[:0]
			if cap(c.out) > piece {
				c.out = nil
			}
		}
		if c.broken || c.closes || err != nil {
			return
		}
		if have = copy(buffer, buffer[used:have]); have == len(buffer) {
			if have >= maxHead {
				return
			}
			buffer = append(buffer, make([]byte, len(buffer))...)
		}
	}
}

// http1 reads requests and gathers answers.
type http1 struct {
	servers *Servers

	out    []byte
	left   int64 // of the request's body
	chunks bool  // the request's body is chunked
	size   int   // of the answer to the request whose body is being read
	busy   bool  // a head has been read, its body not to the end
	last   bool  // the request says that none follows
	closes bool  // the last one is answered
	broken bool

	built  []byte // the last answer, for the next of the same size
	builtN int
}

// consume reads what is complete and says how much it was.
func (c *http1) consume(in []byte) (used int) {
	for used < len(in) && !c.broken && !c.closes {
		n := 0
		switch {
		case !c.busy:
			n = c.readHead(in[used:])
		case c.chunks:
			n = c.readChunk(in[used:])
		default:
			n = int(min(c.left, int64(len(in)-used)))
			if c.left -= int64(n); c.left == 0 {
				c.answer()
			}
		}
		if n == 0 {
			break
		}
		used += n
	}
	return used
}

func (c *http1) readHead(in []byte) int {
	end := bytes.Index(in, []byte("\r\n\r\n"))
	if end < 0 {
		return 0
	}
	line, fields, _ := bytes.Cut(in[:end+2], []byte("\r\n"))
	_, rest, _ := bytes.Cut(line, []byte{' '})
	path, version, ok := bytes.Cut(rest, []byte{' '})
	if c.broken = !ok; c.broken {
		return 0
	}
	c.size = c.servers.sizeOf(string(path))
	c.busy, c.left, c.chunks = true, 0, false
	c.last = string(version) == "HTTP/1.0"
	for len(fields) > 0 {
		line, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte{':'})
		value = bytes.TrimSpace(value)
		switch len(name) {
		case len("connection"):
			c.last = c.last || bytes.EqualFold(name, []byte("connection")) && bytes.EqualFold(value, []byte("close"))
		case len("content-length"):
			if bytes.EqualFold(name, []byte("content-length")) {
				n, err := strconv.ParseUint(string(value), 10, 40)
				c.left, c.broken = int64(n), err != nil
			}
		case len("transfer-encoding"):
			c.chunks = c.chunks || bytes.EqualFold(name, []byte("transfer-encoding"))
		}
	}
	if c.broken {
		return 0
	}
	if !c.chunks && c.left == 0 {
		c.answer()
	}
	return end + 4
}

// readChunk takes a whole chunk at once: callers of a benchmark send small ones.
func (c *http1) readChunk(in []byte) int {
	end := bytes.Index(in, []byte("\r\n"))
	if end < 0 {
		return 0
	}
	digits, _, _ := bytes.Cut(in[:end], []byte{';'})
	size, err := strconv.ParseUint(string(digits), 16, 20)
	if c.broken = err != nil; c.broken {
		return 0
	}
	whole := end + 2 + int(size) + 2
	if len(in) < whole {
		return 0
	}
	if size == 0 { // trailers are not looked for
		c.answer()
	}
	return whole
}

func (c *http1) answer() {
	c.busy, c.closes = false, c.last
	if c.built == nil || c.builtN != c.size {
		b := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n", c.size)
		for _, h := range c.servers.config.Header {
			b = fmt.Appendf(b, "%s: %s\r\n", h[0], h[1])
		}
		c.built, c.builtN = append(append(b, "\r\n"...), bytes.Repeat([]byte{'x'}, c.size)...), c.size
	}
	c.out = append(c.out, c.built...)
}

// sizeOf says how many bytes a path asks for.
func (s *Servers) sizeOf(path string) int {
	if rest, ok := cutPath(path); ok {
		if n, err := strconv.Atoi(rest); err == nil && n >= 0 && n <= maxSize {
			return n
		}
	}
	return s.config.Size
}

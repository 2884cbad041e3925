package load

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/bench/frame"
)

// What this side lets the other send before it must wait: enough never to be what is
// measured.
const (
	window    = 16 << 20
	credit    = window / 2 // given back at once
	maxBlock  = 64 << 10   // of a header block in parts
	maxStream = 1<<31 - 1
)

// http2 keeps requests in flight on the streams of one connection.
type http2 struct {
	target *Target
	grpc   bool
	expect *expectation
	done   verdict

	blocks  blocks
	decoder *hpack.Decoder
	streams map[uint32]*stream
	unused  []*stream
	next    uint32
	last    uint32 // stream whose frames came last
	current *stream

	ready    bool // the other side's settings are known
	draining bool // it takes no more streams
	limit    uint32
	send     struct{ conn, stream int64 } // windows
	received uint32                       // since the last credit for the connection

	pending struct { // a header block of which more follows
		stream uint32
		flags  byte
		bytes  []byte
	}
}

// stream is one request in flight.
type stream struct {
	due      time.Duration
	length   int64
	received uint32 // since the last credit
	status   int
	answer   grpcAnswer
}

func newHTTP2(t *Target, isGRPC bool, e *expectation, done verdict) (c *http2, hello []byte) {
	c = &http2{target: t, grpc: isGRPC, expect: e, done: done, streams: make(map[uint32]*stream), next: 1, limit: maxStream}
	c.decoder = hpack.NewDecoder(4096, c.field)
	c.decoder.SetMaxStringLength(maxBlock)
	c.blocks.init(t, isGRPC)
	c.send.conn, c.send.stream = 65535, 65535
	hello = frame.AppendSettings([]byte(frame.Preface), [2]uint32{2, 0}, [2]uint32{frame.InitialWindowSize, window})
	return c, frame.AppendWindowUpdate(hello, 0, window-65535)
}

func (c *http2) request(out []byte, due time.Duration) ([]byte, bool) {
	size := int64(len(c.target.Body))
	if !c.ready || c.draining || len(c.streams) >= int(min(c.limit, maxStream)) || size > c.send.conn || size > c.send.stream {
		return out, false
	}
	var s *stream
	if n := len(c.unused); n > 0 {
		s, c.unused = c.unused[n-1], c.unused[:n-1]
		*s = stream{due: due}
	} else {
		s = &stream{due: due}
	}
	id := c.next
	c.streams[id] = s
	c.next += 2
	c.draining = c.next > maxStream-2
	if size == 0 {
		return frame.AppendBlock(out, c.blocks.take(), frame.EndStream, id), true
	}
	c.send.conn -= size
	out = frame.AppendBlock(out, c.blocks.take(), 0, id)
	return frame.AppendData(out, c.target.Body, frame.EndStream, id), true
}

func (c *http2) consume(in, out []byte) (used int, answer []byte, err error) {
	for {
		f, n, err := frame.Next(in[used:])
		if err != nil {
			return used, out, err
		}
		if n == 0 {
			return used, out, nil
		}
		used += n
		if out, err = c.take(&f, out); err != nil {
			return used, out, err
		}
		if c.draining && len(c.streams) == 0 {
			return used, out, errReconnect
		}
	}
}

// take acts on one frame.
func (c *http2) take(f *frame.Frame, out []byte) ([]byte, error) {
	if (len(c.pending.bytes) > 0) != (f.Type == frame.Continuation) {
		return out, fmt.Errorf("%w: frame %d inside of a header block, or a part of none", errBroken, f.Type)
	}
	switch f.Type {
	case frame.Data:
		return c.takeData(f, out)
	case frame.Headers, frame.Continuation:
		return out, c.takeHeaders(f)
	case frame.Settings:
		return c.takeSettings(f, out)
	case frame.Ping:
		if !f.Has(frame.Ack) {
			out = frame.Append(out, f.Payload, frame.Ping, frame.Ack, 0)
		}
	case frame.WindowUpdate:
		if f.Stream == 0 { // a request's body is sent at once, so streams have no use for more
			c.send.conn += int64(f.Uint32())
		}
	case frame.Reset:
		if s := c.streams[f.Stream]; s != nil {
			c.end(f.Stream, s, fmt.Errorf("stream reset with code %d", f.Uint32()))
		}
	case frame.GoAway:
		return out, c.takeGoAway(f)
	case frame.PushPromise:
		return out, fmt.Errorf("%w: a push", errBroken)
	}
	return out, nil
}

// takeGoAway stops sending; streams that the other side will not answer have failed.
func (c *http2) takeGoAway(f *frame.Frame) error {
	c.draining = true
	code := uint32(f.Payload[4])<<24 | uint32(f.Payload[5])<<16 | uint32(f.Payload[6])<<8 | uint32(f.Payload[7])
	if code != 0 {
		return fmt.Errorf("connection ended with code %d: %.60q", code, f.Payload[8:])
	}
	for id, s := range c.streams {
		if id > f.Uint32()&maxStream {
			c.end(id, s, errors.New("stream refused by GOAWAY"))
		}
	}
	return nil
}

func (c *http2) takeSettings(f *frame.Frame, out []byte) ([]byte, error) {
	if f.Has(frame.Ack) {
		return out, nil
	}
	for i := 0; ; i++ {
		id, value, ok := f.Setting(i)
		if !ok {
			break
		}
		switch id {
		case frame.HeaderTableSize:
			c.blocks.resize(value)
		case frame.MaxConcurrentStreams:
			c.limit = value
		case frame.InitialWindowSize:
			c.send.stream = int64(value)
		}
	}
	c.ready = true
	return frame.AppendHead(out, 0, frame.Settings, frame.Ack, 0), nil
}

// find returns a stream, the one that was asked for last without a look-up.
func (c *http2) find(id uint32) *stream {
	if id != c.last || c.current == nil {
		c.last, c.current = id, c.streams[id]
	}
	return c.current
}

func (c *http2) takeData(f *frame.Frame, out []byte) ([]byte, error) {
	content, err := f.Content()
	if err != nil {
		return out, err
	}
	size := uint32(len(f.Payload))
	if c.received += size; c.received >= credit {
		out = frame.AppendWindowUpdate(out, 0, c.received)
		c.received = 0
	}
	s := c.find(f.Stream)
	if s == nil {
		return out, nil // it was reset
	}
	if c.grpc {
		s.answer.prefix(content, s.length)
	}
	s.length += int64(len(content))
	if f.Has(frame.EndStream) {
		c.finish(f.Stream, s)
	} else if s.received += size; s.received >= credit {
		out = frame.AppendWindowUpdate(out, f.Stream, s.received)
		s.received = 0
	}
	return out, nil
}

func (c *http2) takeHeaders(f *frame.Frame) error {
	part, err := f.Fragment()
	if err != nil {
		return err
	}
	p := &c.pending
	switch {
	case f.Type == frame.Continuation && f.Stream != p.stream, len(p.bytes)+len(part) > maxBlock:
		return fmt.Errorf("%w: impossible header block", errBroken)
	case f.Type == frame.Headers && f.Has(frame.EndHeaders):
		return c.takeBlock(f.Stream, f.Flags, part)
	case f.Type == frame.Headers && len(part) == 0:
		return fmt.Errorf("%w: header block without bytes", errBroken)
	case f.Type == frame.Headers:
		p.stream, p.flags = f.Stream, f.Flags
	}
	p.bytes = append(p.bytes, part...)
	if !f.Has(frame.EndHeaders) {
		return nil
	}
	err = c.takeBlock(p.stream, p.flags, p.bytes)
	p.bytes = p.bytes[:0]
	return err
}

func (c *http2) takeBlock(id uint32, flags byte, block []byte) error {
	s := c.find(id)
	if _, err := c.decoder.Write(block); err != nil { // also of a stream that is gone: the table must follow
		return fmt.Errorf("decode headers: %w", err)
	}
	if err := c.decoder.Close(); err != nil {
		return fmt.Errorf("decode headers: %w", err)
	}
	if s != nil && flags&frame.EndStream != 0 {
		c.finish(id, s)
	}
	return nil
}

// field is told of each header and trailer of the current stream.
func (c *http2) field(f hpack.HeaderField) {
	s := c.current
	if s == nil {
		return
	}
	if f.Name == ":status" && len(f.Value) == 3 {
		s.status = int(f.Value[0]-'0')*100 + int(f.Value[1]-'0')*10 + int(f.Value[2]-'0')
	} else if c.grpc {
		s.answer.field(f.Name, f.Value)
	}
}

func (c *http2) finish(id uint32, s *stream) {
	err := c.expect.check(s.status, s.length)
	if c.grpc {
		err = errors.Join(s.answer.check(s.length), err)
	}
	c.end(id, s, err)
}

func (c *http2) end(id uint32, s *stream, err error) {
	delete(c.streams, id)
	if c.current == s {
		c.current = nil
	}
	c.unused = append(c.unused, s)
	c.done(s.due, err)
}

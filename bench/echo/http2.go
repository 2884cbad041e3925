package echo

import (
	"bytes"
	"net"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/bench/frame"
)

// Windows and bounds.
const (
	window     = 1 << 20
	credit     = window / 2
	streams    = 1000
	maxBlock   = 64 << 10
	maxMessage = 4 << 20   // of a gRPC request
	maxOut     = 512 << 10 // written in one piece
	maxBlocks  = 64        // encoded ones that are kept
	tableSize  = 4096
)

// serveHTTP2 answers requests in batches: what one read brought is answered by one write.
func (s *Servers) serveHTTP2(conn net.Conn) {
	c := newHTTP2(s)
	buffer := make([]byte, 16<<10)
	have := 0
	for {
		n, err := conn.Read(buffer[have:])
		have += n
		used, ok := c.consume(buffer[:have])
		for len(c.out) > 0 || len(c.queue) > 0 && c.send > 0 {
			c.pump()
			if len(c.out) == 0 {
				break
			}
			if _, err := conn.Write(c.out); err != nil {
				return
			}
			c.out = c.out[:0]
		}
		if !ok || err != nil {
			return
		}
		if have = copy(buffer, buffer[used:have]); have == len(buffer) { // a frame larger than the buffer
			buffer = append(buffer, make([]byte, frame.Size+frame.Max+len(buffer))...)
		}
	}
}

// Header blocks that are not those of a number of bytes.
const (
	grpcHead     = -1
	grpcTrailers = -2
)

// http2 is the state of one connection.
type http2 struct {
	servers *Servers
	out     []byte

	greeted bool
	decoder *hpack.Decoder
	table   table
	blocks  map[int][]byte // encoded, by the size of the answer, or as below
	buffer  []byte         // of a block that is not kept

	streams  map[uint32]*stream
	current  *stream
	queue    []*stream // answers with bytes that are not sent yet, in turn
	send     int64     // window of the connection
	initial  int64     // window of a new stream
	received uint32    // since the last credit

	pending struct {
		id    uint32
		flags byte
		bytes []byte
	}
}

// stream is one request and its answer.
type stream struct {
	id       uint32
	size     int
	isGRPC   bool
	message  []byte // of gRPC, with its prefix
	received uint32 // since the last credit
	send     int64  // window
	left     int    // bytes of the answer that are not sent yet
}

func newHTTP2(s *Servers) *http2 {
	c := &http2{
		servers: s, streams: make(map[uint32]*stream), send: 65535, initial: 65535,
		table: table{limit: tableSize}, blocks: make(map[int][]byte),
	}
	c.decoder = hpack.NewDecoder(4096, c.field)
	c.decoder.SetMaxStringLength(maxBlock)
	c.out = frame.AppendSettings(nil, [2]uint32{frame.InitialWindowSize, window}, [2]uint32{frame.MaxConcurrentStreams, streams})
	c.out = frame.AppendWindowUpdate(c.out, 0, window-65535)
	return c
}

// consume reads what is complete, says how much it was and whether to go on.
func (c *http2) consume(in []byte) (used int, ok bool) {
	if !c.greeted {
		if len(in) < len(frame.Preface) {
			return 0, strings.HasPrefix(frame.Preface, string(in))
		}
		if c.greeted = string(in[:len(frame.Preface)]) == frame.Preface; !c.greeted {
			return 0, false
		}
		used = len(frame.Preface)
	}
	for {
		f, n, err := frame.Next(in[used:])
		if err != nil || n == 0 {
			return used, err == nil
		}
		used += n
		if !c.take(&f) {
			return used, false
		}
	}
}

func (c *http2) take(f *frame.Frame) bool {
	if (len(c.pending.bytes) > 0) != (f.Type == frame.Continuation) {
		return false
	}
	switch f.Type {
	case frame.Data:
		return c.takeData(f)
	case frame.Headers, frame.Continuation:
		return c.takeHeaders(f)
	case frame.Settings:
		return c.takeSettings(f)
	case frame.Ping:
		if !f.Has(frame.Ack) {
			c.out = frame.Append(c.out, f.Payload, frame.Ping, frame.Ack, 0)
		}
	case frame.WindowUpdate:
		if f.Stream == 0 {
			c.send += int64(f.Uint32())
		} else if s := c.streams[f.Stream]; s != nil {
			s.send += int64(f.Uint32())
		}
	case frame.Reset:
		if s := c.streams[f.Stream]; s != nil {
			s.left = 0 // it leaves the queue at its turn
			delete(c.streams, f.Stream)
		}
	}
	return len(c.out) <= maxOut*2 // answers to a flood of PING or SETTINGS are not gathered
}

func (c *http2) takeSettings(f *frame.Frame) bool {
	if f.Has(frame.Ack) {
		return true
	}
	for i := 0; ; i++ {
		id, value, ok := f.Setting(i)
		if !ok {
			break
		}
		switch id {
		case frame.InitialWindowSize:
			for _, s := range c.streams {
				s.send += int64(value) - c.initial
			}
			c.initial = int64(value)
		case frame.HeaderTableSize:
			c.table.resize(int(min(value, tableSize)))
			clear(c.blocks)
		}
	}
	c.out = frame.AppendHead(c.out, 0, frame.Settings, frame.Ack, 0)
	return true
}

func (c *http2) takeData(f *frame.Frame) bool {
	content, err := f.Content()
	if err != nil {
		return false
	}
	size := uint32(len(f.Payload))
	if c.received += size; c.received >= credit {
		c.out = frame.AppendWindowUpdate(c.out, 0, c.received)
		c.received = 0
	}
	s := c.streams[f.Stream]
	if s == nil {
		return true
	}
	if s.isGRPC {
		if s.message = append(s.message, content...); len(s.message) > maxMessage {
			return false
		}
	}
	if f.Has(frame.EndStream) {
		c.answer(s)
	} else if s.received += size; s.received >= credit {
		c.out = frame.AppendWindowUpdate(c.out, f.Stream, s.received)
		s.received = 0
	}
	return true
}

func (c *http2) takeHeaders(f *frame.Frame) bool {
	part, err := f.Fragment()
	p := &c.pending
	if err != nil || len(p.bytes)+len(part) > maxBlock || f.Type == frame.Continuation && f.Stream != p.id {
		return false
	}
	if f.Type == frame.Headers {
		if f.Has(frame.EndHeaders) {
			return c.takeBlock(f.Stream, f.Flags, part)
		}
		p.id, p.flags = f.Stream, f.Flags
	}
	p.bytes = append(p.bytes, part...)
	if !f.Has(frame.EndHeaders) {
		return len(p.bytes) > 0
	}
	ok := c.takeBlock(p.id, p.flags, p.bytes)
	p.bytes = p.bytes[:0]
	return ok
}

func (c *http2) takeBlock(id uint32, flags byte, block []byte) bool {
	s := c.streams[id]
	if s == nil { // else trailers
		if id%2 == 0 || len(c.streams) >= streams {
			return false
		}
		s = &stream{id: id, send: c.initial, size: c.servers.config.Size}
		c.streams[id] = s
	}
	c.current = s
	_, err := c.decoder.Write(block)
	if err != nil || c.decoder.Close() != nil {
		return false
	}
	if flags&frame.EndStream != 0 {
		c.answer(s)
	}
	return true
}

// field is told of each header of the current stream.
func (c *http2) field(f hpack.HeaderField) {
	switch f.Name {
	case ":path":
		c.current.size = c.servers.sizeOf(f.Value)
	case "content-type":
		c.current.isGRPC = strings.HasPrefix(f.Value, "application/grpc")
	}
}

// answer begins the answer to a whole request.
func (c *http2) answer(s *stream) {
	if s.isGRPC {
		s.left = len(s.message)
		c.out = frame.AppendBlock(c.out, c.block(grpcHead), 0, s.id)
	} else {
		s.left = s.size
		flags := byte(0)
		if s.left == 0 {
			flags = frame.EndStream
			delete(c.streams, s.id)
		}
		c.out = frame.AppendBlock(c.out, c.block(s.size), flags, s.id)
		if s.left == 0 {
			return
		}
	}
	c.queue = append(c.queue, s)
}

// block returns an encoded header block, which is valid until the next one.
func (c *http2) block(kind int) []byte {
	if b := c.blocks[kind]; b != nil {
		return b
	}
	b, changed := c.table.append(c.buffer[:0], c.fields(kind))
	c.buffer = b
	switch {
	case changed:
		clear(c.blocks)
	case len(c.blocks) < maxBlocks:
		c.blocks[kind] = bytes.Clone(b)
	}
	return b
}

// fields of an answer with so many bytes, or of gRPC's.
func (c *http2) fields(kind int) []field {
	fields := make([]field, 0, 8)
	switch kind {
	case grpcTrailers:
		return append(fields, field{"grpc-status", "0"})
	case grpcHead:
		fields = append(fields, field{":status", "200"}, field{"content-type", "application/grpc"})
	default:
		fields = append(fields, field{":status", "200"}, field{"content-type", "text/plain"},
			field{"content-length", strconv.Itoa(kind)})
	}
	for _, h := range c.servers.config.Header {
		fields = append(fields, field{h[0], h[1]})
	}
	return fields
}

// pump sends what the windows allow, a frame of each answer in turn.
func (c *http2) pump() {
	blocked := 0
	for len(c.queue) > blocked && len(c.out) < maxOut {
		s := c.queue[0]
		c.queue = append(c.queue[:0], c.queue[1:]...)
		if c.streams[s.id] != s {
			continue // reset
		}
		n := int(min(int64(s.left), c.send, s.send, frame.Max))
		if n <= 0 && s.left > 0 {
			c.queue = append(c.queue, s)
			blocked++
			continue
		}
		blocked = 0
		c.send, s.send = c.send-int64(n), s.send-int64(n)
		c.emit(s, n)
		if s.left > 0 {
			c.queue = append(c.queue, s)
		}
	}
}

// emit appends the next n bytes of an answer, and its end.
func (c *http2) emit(s *stream, n int) {
	last := s.left == n
	if !s.isGRPC {
		flags := byte(0)
		if last {
			flags = frame.EndStream
		}
		c.out = frame.AppendHead(c.out, n, frame.Data, flags, s.id)
		c.out = append(c.out, filler[:n]...)
	} else {
		at := len(s.message) - s.left
		c.out = frame.Append(c.out, s.message[at:at+n], frame.Data, 0, s.id)
		if last {
			c.out = frame.AppendBlock(c.out, c.block(grpcTrailers), frame.EndStream, s.id)
		}
	}
	if s.left -= n; s.left == 0 {
		delete(c.streams, s.id)
	}
}

// filler is what answers are made of.
var filler = bytes.Repeat([]byte{'x'}, frame.Max) //nolint:gochecknoglobals // a table

// cutPath returns what follows /bytes/ in a path, without a query.
func cutPath(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, "/bytes/")
	rest, _, _ = strings.Cut(rest, "?")
	return rest, ok
}

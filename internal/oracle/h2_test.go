//go:build oracle

package oracle_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frames builds what one side sends over HTTP/2, right or wrong.
type frames struct{ b bytes.Buffer }

// opening is how a downstream begins, and the frames that follow.
func opening(all ...string) string {
	var f frames
	f.b.WriteString(http2.ClientPreface)
	_ = http2.NewFramer(&f.b, nil).WriteSettings()
	return f.b.String() + strings.Join(all, "")
}

// block encodes "name: value" lines as they are, without a table. The first colon that is
// not the first byte ends the name; "\x00name\x00value" says both as they are.
func block(fields []string) []byte {
	var b []byte
	for _, f := range fields {
		var name, value string
		if exact, ok := strings.CutPrefix(f, "\x00"); ok {
			name, value, _ = strings.Cut(exact, "\x00")
		} else {
			i := 1 + strings.IndexByte(f[1:], ':')
			name, value = f[:i], strings.TrimPrefix(f[i+1:], " ")
		}
		b = append(b, 0)
		for _, s := range []string{name, value} {
			b = append(length(b, len(s)), s...)
		}
	}
	return b
}

// length appends an integer with a prefix of seven bits (RFC 7541 section 5.1).
func length(b []byte, n int) []byte {
	if n < 127 {
		return append(b, byte(n))
	}
	b = append(b, 127)
	for n -= 127; n >= 128; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// headers is a head of any size.
func headers(id uint32, end bool, fields ...string) string {
	var f frames
	fr := http2.NewFramer(&f.b, nil)
	fr.AllowIllegalWrites = true
	text := block(fields)
	first := text[:min(len(text), 16<<10)]
	text = text[len(first):]
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: end, EndHeaders: len(text) == 0})
	for len(text) > 0 {
		part := text[:min(len(text), 16<<10)]
		text = text[len(part):]
		_ = fr.WriteContinuation(id, len(text) == 0, part)
	}
	return f.b.String()
}

func content(id uint32, end bool, text string) string {
	var f frames
	fr := http2.NewFramer(&f.b, nil)
	fr.AllowIllegalWrites = true
	_ = fr.WriteData(id, end, []byte(text))
	return f.b.String()
}

func cancel(id uint32, code http2.ErrCode) string {
	var f frames
	fr := http2.NewFramer(&f.b, nil)
	_ = fr.WriteRSTStream(id, code)
	return f.b.String()
}

// ask2 is the head of a request to a virtual host, with more fields.
func ask2(host, path string, more ...string) []string {
	return append([]string{":method: GET", ":scheme: http", ":authority: " + host, ":path: " + path}, more...)
}

// conversation2 is what was read of a connection, stream by stream.
type conversation2 struct {
	streams map[uint32][]string
	others  []string
	ended   map[uint32]bool
}

// read2 understands as much as there is. Windows, settings and pings are not told.
func read2(b []byte) *conversation2 {
	c := &conversation2{streams: map[uint32][]string{}, ended: map[uint32]bool{}}
	fr := http2.NewFramer(io.Discard, bytes.NewReader(b))
	fr.AllowIllegalReads = true
	fr.SetMaxReadFrameSize(1 << 24)
	dec := hpack.NewDecoder(4096, nil)
	var pending []byte
	var pendingEnd bool
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				c.others = append(c.others, "unreadable: "+err.Error())
			}
			return c
		}
		id := f.Header().StreamID
		switch f := f.(type) {
		case *http2.HeadersFrame:
			pending, pendingEnd = bytes.Clone(f.HeaderBlockFragment()), f.StreamEnded()
			if f.HeadersEnded() {
				c.head(id, dec, pending, pendingEnd)
			}
		case *http2.ContinuationFrame:
			pending = append(pending, f.HeaderBlockFragment()...)
			if f.HeadersEnded() {
				c.head(id, dec, pending, pendingEnd)
			}
		case *http2.DataFrame:
			c.data(id, string(f.Data()), f.StreamEnded())
		case *http2.RSTStreamFrame:
			c.streams[id] = append(c.streams[id], "RESET "+f.ErrCode.String())
			c.ended[id] = true
		case *http2.GoAwayFrame:
			c.others = append(c.others, "GOAWAY "+f.ErrCode.String())
		}
	}
}

func (c *conversation2) head(id uint32, dec *hpack.Decoder, text []byte, end bool) {
	fields, err := dec.DecodeFull(text)
	if err != nil {
		c.others = append(c.others, "head: "+err.Error())
	}
	lines := []string{"HEAD"}
	for _, f := range fields {
		lines = append(lines, f.Name+": "+f.Value)
	}
	c.streams[id] = append(c.streams[id], strings.Join(lines, "\r\n"))
	c.end(id, end)
}

func (c *conversation2) data(id uint32, text string, end bool) {
	if all := c.streams[id]; len(all) > 0 && strings.HasPrefix(all[len(all)-1], "DATA ") {
		all[len(all)-1] += text
	} else if text != "" {
		c.streams[id] = append(all, "DATA "+text)
	}
	c.end(id, end)
}

func (c *conversation2) end(id uint32, end bool) {
	if end {
		c.streams[id] = append(c.streams[id], "END")
		c.ended[id] = true
	}
}

func (c *conversation2) String() string {
	var lines []string
	ids := make([]uint32, 0, len(c.streams))
	for id := range c.streams {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		lines = append(lines, fmt.Sprintf("stream %d", id))
		lines = append(lines, c.streams[id]...)
	}
	return strings.Join(append(lines, c.others...), "\r\n")
}

// refused reports whether nothing came back but a reset or the end of the connection:
// what is malformed costs ours its stream, and Envoy's the connection, which it says
// nothing on any more.
func (c *conversation2) refused(silently bool) bool {
	for id, all := range c.streams {
		if id != 1 || len(all) != 1 || !strings.HasPrefix(all[0], "RESET ") {
			return false
		}
	}
	return silently || len(c.streams) > 0 || len(c.others) > 0
}

// serve2 plays an origin that speaks HTTP/2.
func (o *origin) serve2(c net.Conn, r *bufio.Reader) {
	if _, err := r.Discard(len(http2.ClientPreface)); err != nil {
		return
	}
	fr := http2.NewFramer(c, r)
	if fr.WriteSettings(http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1}) != nil {
		return
	}
	s := served2{o: o, c: c, fr: fr, dec: hpack.NewDecoder(4096, nil), at: map[uint32]noted{}, todo: map[uint32]answer{}, ended: map[uint32]bool{}}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		if !s.take(f) {
			return
		}
	}
}

// noted is where a stream's request was noted, and in which trial.
type noted struct{ gen, i int }

func (s *served2) note(id uint32, text string) {
	if at, ok := s.at[id]; ok && at.gen == s.o.generation() {
		s.o.add(at.i, text)
	}
}

// served2 is one connection of the origin.
type served2 struct {
	o   *origin
	c   net.Conn
	fr  *http2.Framer
	dec *hpack.Decoder

	at      map[uint32]noted
	todo    map[uint32]answer
	ended   map[uint32]bool
	pending []byte
	last    bool // the stream ends with the pending head
}

func (s *served2) take(f http2.Frame) bool {
	id := f.Header().StreamID
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return s.fr.WriteSettingsAck() == nil
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return s.fr.WritePing(true, f.Data) == nil
		}
	case *http2.HeadersFrame:
		s.pending, s.last = bytes.Clone(f.HeaderBlockFragment()), f.StreamEnded()
		if f.HeadersEnded() {
			return s.head(id, s.last)
		}
	case *http2.ContinuationFrame:
		s.pending = append(s.pending, f.HeaderBlockFragment()...)
		if f.HeadersEnded() {
			return s.head(id, s.last)
		}
	case *http2.DataFrame:
		s.note(id, string(f.Data()))
		if n := uint32(len(f.Data())); n > 0 {
			_ = s.fr.WriteWindowUpdate(0, n)
			_ = s.fr.WriteWindowUpdate(id, n)
		}
		if s.todo[id].tunnel && len(f.Data()) > 0 {
			_ = s.fr.WriteData(id, false, bytes.ToUpper(f.Data()))
		}
		return !f.StreamEnded() || s.end(id)
	case *http2.RSTStreamFrame:
		if s.todo[id].tunnel || !s.ended[id] { // else it answers what was wrong
			s.note(id, "<reset>")
		}
	}
	return true
}

func (s *served2) head(id uint32, end bool) bool {
	fields, _ := s.dec.DecodeFull(s.pending)
	// The order of pseudo headers among themselves says nothing.
	slices.SortStableFunc(fields, func(a, b hpack.HeaderField) int {
		if !a.IsPseudo() || !b.IsPseudo() {
			return 0
		}
		return strings.Compare(a.Name, b.Name)
	})
	var text strings.Builder
	for _, f := range fields {
		text.WriteString(f.Name + ": " + f.Value + "\r\n")
	}
	if _, ok := s.at[id]; ok { // trailers
		s.note(id, "<trailers>\r\n"+text.String())
		return !end || s.end(id)
	}
	at, a := s.o.next("over HTTP/2\r\n" + text.String() + "\r\n")
	s.at[id], s.todo[id] = noted{s.o.generation(), at}, a
	if slices.ContainsFunc(fields, func(f hpack.HeaderField) bool { return f.Name == ":method" && f.Value == "CONNECT" }) {
		a.early = true // it has no end to wait for
		s.todo[id] = a
	}
	if a.early || a.tunnel {
		if !s.say(id, a) {
			return false
		}
	}
	return !end || s.end(id)
}

// end answers a request that is complete.
func (s *served2) end(id uint32) bool {
	a := s.todo[id]
	s.ended[id] = true
	s.note(id, "<end>")
	switch {
	case a.tunnel:
		return s.fr.WriteData(id, true, nil) == nil
	case a.early:
		return true
	}
	return s.say(id, a)
}

// say sends an answer: its frames, or those that its HTTP/1 text means.
func (s *served2) say(id uint32, a answer) bool {
	time.Sleep(a.wait)
	if a.frames != nil {
		for n, part := range a.frames(id) {
			if n > 0 {
				time.Sleep(pause)
			}
			if _, err := io.WriteString(s.c, part); err != nil {
				return false
			}
		}
		return a.end != "close"
	}
	head, body, _ := strings.Cut(strings.Join(a.parts, ""), "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	fields := append([]string{":status: " + strings.Fields(lines[0])[1]}, lines[1:]...)
	for i := range fields {
		name, value, _ := strings.Cut(fields[i][1:], ":")
		fields[i] = strings.ToLower(fields[i][:1]+name) + ":" + value
	}
	_, err := io.WriteString(s.c, headers(id, body == "" && !a.tunnel, fields...))
	if err == nil && body != "" {
		_, err = io.WriteString(s.c, content(id, !a.tunnel, body))
	}
	return err == nil && a.end != "close"
}

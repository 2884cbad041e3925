package twin

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// server2 is a connection over HTTP/2.
type server2 struct {
	*served
	wg sync.WaitGroup

	streams map[uint32]*attempt // owned by serveHTTP2
	waiting map[uint32]answer   // owned by serveHTTP2; for the end of the body

	mu      sync.Mutex
	framer  *http2.Framer // guarded by mu for writing
	encoder *hpack.Encoder
	block   bytes.Buffer
}

// serveHTTP2 serves streams until the connection ends.
func (s *served) serveHTTP2() {
	if _, err := s.in.Discard(len(http2.ClientPreface)); err != nil {
		return
	}
	c := &server2{served: s, streams: map[uint32]*attempt{}, waiting: map[uint32]answer{}, framer: http2.NewFramer(s.conn, s.in)}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.MaxHeaderListSize = 1 << 20
	c.encoder = hpack.NewEncoder(&c.block)
	defer c.wg.Wait()
	if c.framer.WriteSettings() != nil {
		return
	}
	for {
		f, err := c.framer.ReadFrame()
		if err != nil {
			return
		}
		c.frame(f)
	}
}

func (c *server2) frame(f http2.Frame) {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			c.locked(func() { _ = c.framer.WriteSettingsAck() })
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			c.locked(func() { _ = c.framer.WritePing(true, f.Data) })
		}
	case *http2.MetaHeadersFrame:
		c.head(f)
	case *http2.DataFrame:
		c.data(f)
	case *http2.RSTStreamFrame:
		if a := c.streams[f.StreamID]; a != nil {
			c.origin.change(func() { a.end = "stream reset " + f.ErrCode.String() })
		}
	}
}

func (c *server2) head(f *http2.MetaHeadersFrame) {
	if a := c.streams[f.StreamID]; a != nil {
		c.origin.change(func() {
			for _, h := range f.Fields {
				a.tail = append(a.tail, field{h.Name, h.Value})
			}
		})
		c.complete(f.StreamID)
		return
	}
	a := &attempt{pod: c.pod, tls: c.tls}
	var pseudo []string
	for _, h := range f.Fields {
		if strings.HasPrefix(h.Name, ":") {
			pseudo = append(pseudo, h.Name+"="+h.Value)
		} else {
			a.lines = append(a.lines, field{h.Name, h.Value})
		}
	}
	slices.Sort(pseudo) // their order means nothing
	a.head = "HTTP/2 " + strings.Join(pseudo, " ")
	c.streams[f.StreamID] = a
	script := c.origin.note(value(a.lines, "x-trial"), a)
	if script.early || f.StreamEnded() {
		c.answer(f.StreamID, script)
		return
	}
	c.waiting[f.StreamID] = script
}

func (c *server2) data(f *http2.DataFrame) {
	a := c.streams[f.StreamID]
	if n := uint32(f.Length); n > 0 {
		c.locked(func() {
			_ = c.framer.WriteWindowUpdate(0, n)
			if !f.StreamEnded() {
				_ = c.framer.WriteWindowUpdate(f.StreamID, n)
			}
		})
	}
	if a == nil {
		return
	}
	c.origin.change(func() { a.body += string(f.Data()) })
	if f.StreamEnded() {
		c.complete(f.StreamID)
	}
}

// complete answers a request that is all there.
func (c *server2) complete(id uint32) {
	if script, ok := c.waiting[id]; ok {
		delete(c.waiting, id)
		c.answer(id, script)
	}
}

// answer writes what the script says, in its own time.
func (c *server2) answer(id uint32, script answer) {
	head := strings.Contains(c.streams[id].head, ":method=HEAD")
	c.wg.Go(func() {
		time.Sleep(script.wait)
		switch script.end {
		case "reset":
			if script.reply != nil {
				c.reply(id, script.reply, head, false)
				time.Sleep(pause)
			}
			c.locked(func() { _ = c.framer.WriteRSTStream(id, http2.ErrCodeInternal) })
			return
		case "refuse":
			c.locked(func() { _ = c.framer.WriteRSTStream(id, http2.ErrCodeRefusedStream) })
			return
		case "close":
			if script.reply != nil {
				c.reply(id, script.reply, head, false)
				time.Sleep(pause)
			}
			_ = c.conn.Close()
			return
		case "hold":
			return
		case "goaway":
			c.locked(func() { _ = c.framer.WriteGoAway(id, http2.ErrCodeNo, nil) })
		}
		c.reply(id, script.reply, head, true)
	})
}

// reply writes a response; without end the stream stays open.
func (c *server2) reply(id uint32, r *reply, head, end bool) {
	r = complete(r, c.pod)
	if head {
		r.body, r.trailers = "", nil
	}
	bare := r.body == "" && len(r.trailers) == 0
	c.locked(func() {
		c.headers(id, append([]field{{":status", strconv.Itoa(r.status)}}, r.fields...), bare && end)
		if bare {
			return
		}
		if r.status != http.StatusNoContent && r.body != "" {
			_ = c.framer.WriteData(id, end && len(r.trailers) == 0, []byte(r.body))
		}
		if len(r.trailers) > 0 {
			c.headers(id, r.trailers, end)
		}
	})
}

// headers is called with mu held.
func (c *server2) headers(id uint32, lines []field, end bool) {
	c.block.Reset()
	for _, f := range lines {
		_ = c.encoder.WriteField(hpack.HeaderField{Name: f.name, Value: f.value})
	}
	_ = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block.Bytes(), EndStream: end, EndHeaders: true})
}

func (c *server2) locked(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

package twin

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// client2 is the client's side of a connection over HTTP/2.
type client2 struct {
	*call
	framer  *http2.Framer
	encoder *hpack.Encoder
	block   bytes.Buffer
}

// http2 plays the streams of a trial, one after the other.
func (c *call) http2() {
	k := &client2{call: c, framer: http2.NewFramer(c.conn, c.in)}
	k.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	k.framer.MaxHeaderListSize = 1 << 20
	k.framer.AllowIllegalWrites = true
	k.encoder = hpack.NewEncoder(&k.block)
	if _, err := io.WriteString(c.conn, http2.ClientPreface); err != nil {
		c.parts["end"] = "closed"
		return
	}
	_ = k.framer.WriteSettings()
	for i := range c.trial.streams {
		prefix := "response"
		if i > 0 {
			prefix += strconv.Itoa(i + 1)
		}
		id := uint32(2*i + 1) //nolint:gosec // few
		k.send(id, &c.trial.streams[i])
		if end := k.receive(id, prefix); end != "" {
			c.parts["end"] = end
			return
		}
	}
	c.parts["end"] = "kept"
}

func (k *client2) send(id uint32, s *stream) {
	whole := s.body == nil && s.trailers == nil && !s.reset && !s.open
	k.headers(id, s.fields, whole)
	for i, data := range s.body {
		if i > 0 {
			time.Sleep(pause)
		}
		last := i == len(s.body)-1 && s.trailers == nil && !s.reset && !s.open
		_ = k.framer.WriteData(id, last, []byte(k.fill(data)))
	}
	if s.trailers != nil {
		k.headers(id, s.trailers, true)
	}
	if s.reset {
		time.Sleep(pause)
		_ = k.framer.WriteRSTStream(id, http2.ErrCodeCancel)
	}
}

func (k *client2) headers(id uint32, lines []field, end bool) {
	k.block.Reset()
	for _, f := range lines {
		_ = k.encoder.WriteField(hpack.HeaderField{Name: f.name, Value: k.fill(f.value)})
	}
	const most = 16 << 10
	block := bytes.Clone(k.block.Bytes())
	first := block[:min(len(block), most)]
	block = block[len(first):]
	_ = k.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: end, EndHeaders: len(block) == 0})
	for len(block) > 0 {
		next := block[:min(len(block), most)]
		block = block[len(next):]
		_ = k.framer.WriteContinuation(id, len(block) == 0, next)
	}
}

// receive reads until a stream has ended; if the connection ends first it says how.
func (k *client2) receive(id uint32, prefix string) string {
	var body strings.Builder
	defer func() {
		if body.Len() > 0 {
			k.parts[prefix+".body"] = clip(body.String())
		}
	}()
	heads := 0
	for {
		if err := k.conn.SetReadDeadline(time.Now().Add(k.quiet())); err != nil {
			return "closed"
		}
		f, err := k.framer.ReadFrame()
		if err != nil {
			if why(err) == "timeout" {
				return "silent"
			}
			return "closed"
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			heads++
			k.head(f, prefix, heads)
		case *http2.DataFrame:
			body.Write(f.Data())
			k.grant(id, f.Length)
		case *http2.RSTStreamFrame:
			k.parts[prefix+".reset"] = f.ErrCode.String()
			return ""
		default:
			k.control(f)
		}
		if h := f.Header(); h.StreamID == id && (h.Type == http2.FrameHeaders || h.Type == http2.FrameData) && h.Flags.Has(http2.FlagDataEndStream) {
			return ""
		}
	}
}

// control answers frames of the connection.
func (k *client2) control(f http2.Frame) {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			_ = k.framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			_ = k.framer.WritePing(true, f.Data)
		}
	case *http2.GoAwayFrame:
		k.parts["goaway"] = fmt.Sprintf("%v up to %d", f.ErrCode, f.LastStreamID)
	}
}

// grant gives back the windows that data took.
func (k *client2) grant(id, n uint32) {
	if n > 0 {
		_ = k.framer.WriteWindowUpdate(0, n)
		_ = k.framer.WriteWindowUpdate(id, n)
	}
}

// head puts a head, a 1xx head or trailers into the outcome.
func (k *client2) head(f *http2.MetaHeadersFrame, prefix string, n int) {
	status := f.PseudoValue("status")
	var lines []field
	for _, h := range f.RegularFields() {
		lines = append(lines, field{h.Name, h.Value})
	}
	if status == "" {
		for _, l := range lines {
			k.parts[prefix+".trailer "+l.name] = l.value
		}
		return
	}
	if strings.HasPrefix(status, "1") {
		prefix = fmt.Sprintf("%s.interim%d", prefix, n)
	}
	k.parts[prefix+".status"] = status
	k.parts.head(prefix, lines)
}

package conformance_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer is one end of a hostile HTTP/2 connection: it writes whatever it is told
// and keeps count of what comes back.
type peer struct {
	net.Conn
	out []byte // owned by the attack; what flush writes

	block bytes.Buffer // owned by the attack; of enc
	enc   *hpack.Encoder

	heads    atomic.Int64 // HEADERS received
	ends     atomic.Int64 // streams the other side ended
	resets   atomic.Int64 // RST_STREAM received
	bytes    atomic.Int64 // of DATA
	code     atomic.Int64 // of the last GOAWAY with an error; -1: none
	said     atomic.Bool  // any GOAWAY
	statuses sync.Map     // :status → count, as *atomic.Int64

	over      chan struct{} // closed when reading has ended, by either side
	err       error         // why; set before over is closed
	ended     bool          // by the other side; set by who runs the attack
	listening sync.WaitGroup
}

func newPeer(c net.Conn) *peer {
	p := &peer{Conn: c, over: make(chan struct{})}
	p.enc = hpack.NewEncoder(&p.block)
	p.code.Store(-1)
	return p
}

// preface begins a downstream connection with these settings.
func (p *peer) preface(settings ...http2.Setting) {
	p.out = append(p.out, http2.ClientPreface...)
	p.settings(settings...)
}

// frame appends a frame of any type.
func (p *peer) frame(kind http2.FrameType, flags http2.Flags, stream uint32, payload []byte) {
	n := len(payload)
	p.out = append(p.out, byte(n>>16), byte(n>>8), byte(n), byte(kind), byte(flags))
	p.out = binary.BigEndian.AppendUint32(p.out, stream)
	p.out = append(p.out, payload...)
}

func (p *peer) settings(settings ...http2.Setting) {
	var b []byte
	for _, s := range settings {
		b = binary.BigEndian.AppendUint16(b, uint16(s.ID))
		b = binary.BigEndian.AppendUint32(b, s.Val)
	}
	p.frame(http2.FrameSettings, 0, 0, b)
}

// number appends a frame that holds one number: RST_STREAM or WINDOW_UPDATE.
func (p *peer) number(kind http2.FrameType, stream, value uint32) {
	p.frame(kind, 0, stream, binary.BigEndian.AppendUint32(nil, value))
}

// fields encodes header fields given as name, value, name, value.
func (p *peer) fields(pairs ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = p.enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}) // into memory
	}
	return bytes.Clone(p.block.Bytes())
}

// head returns a request's header block.
func (p *peer) head(method, path string, more ...string) []byte {
	return p.fields(append([]string{":method", method, ":scheme", "http", ":authority", "server", ":path", path}, more...)...)
}

// get appends a request without a body.
func (p *peer) get(stream uint32, path string) {
	p.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, stream, p.head("GET", path))
}

// post appends the head of a request whose body follows.
func (p *peer) post(stream uint32, path string) {
	p.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, stream, p.head("POST", path))
}

// flush writes what was appended.
func (p *peer) flush() error {
	_, err := p.Write(p.out)
	p.out = p.out[:0]
	return err
}

// flushBeyond flushes when there is much to write.
func (p *peer) flushBeyond(n int) error {
	if len(p.out) < n {
		return nil
	}
	return p.flush()
}

// listen reads and counts frames until the connection ends. With credit it gives
// windows back, as a well-behaved reader does.
func (p *peer) listen(credit bool) {
	p.listening.Go(func() {
		defer close(p.over)
		p.err = p.count(credit)
	})
}

func (p *peer) count(credit bool) error {
	framer := http2.NewFramer(nil, p.Conn)
	framer.AllowIllegalReads = true
	framer.SetReuseFrames()
	dec := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == ":status" {
			n, _ := p.statuses.LoadOrStore(f.Value, new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
		}
	})
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			return err
		}
		switch f := f.(type) {
		case *http2.HeadersFrame:
			p.heads.Add(1)
			_, _ = dec.Write(f.HeaderBlockFragment()) // a bad block would show in statuses
			if f.StreamEnded() {
				p.ends.Add(1)
			}
		case *http2.DataFrame:
			p.bytes.Add(int64(len(f.Data())))
			if f.StreamEnded() {
				p.ends.Add(1)
			}
			if credit && f.Length > 0 {
				p.grant(f)
			}
		case *http2.RSTStreamFrame:
			p.resets.Add(1)
		case *http2.GoAwayFrame:
			p.said.Store(true)
			if f.ErrCode != http2.ErrCodeNo {
				p.code.Store(int64(f.ErrCode))
			}
		}
	}
}

// grant gives back the windows of a DATA frame, in a write of its own.
func (p *peer) grant(f *http2.DataFrame) {
	var g peer
	g.number(http2.FrameWindowUpdate, 0, f.Length)
	if !f.StreamEnded() {
		g.number(http2.FrameWindowUpdate, f.StreamID, f.Length)
	}
	_, _ = p.Write(g.out) // an end shows when reading
}

// verdict tells how the other side ended the connection, in Envoy's words where
// it gave a reason.
func (p *peer) verdict() string {
	if code := p.code.Load(); code >= 0 {
		return http2.ErrCode(code).String()
	}
	if p.said.Load() {
		return "GOAWAY"
	}
	return "none"
}

// String tells what came back.
func (p *peer) String() string {
	text := fmt.Sprintf("%d heads, %d ends, %d resets, %d bytes, GOAWAY %s", p.heads.Load(), p.ends.Load(), p.resets.Load(), p.bytes.Load(), p.verdict())
	p.statuses.Range(func(k, v any) bool {
		text += fmt.Sprintf(", %s×%d", k, v.(*atomic.Int64).Load())
		return true
	})
	return text
}

// acceptPreface reads what a client begins with and answers its settings, then
// returns the id of the first stream.
func (p *peer) acceptPreface(settings ...http2.Setting) (uint32, error) {
	begin := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(p.Conn, begin); err != nil {
		return 0, err
	}
	if string(begin) != http2.ClientPreface {
		return 0, errors.New("no preface: " + strconv.Quote(string(begin)))
	}
	p.settings(settings...)
	if err := p.flush(); err != nil {
		return 0, err
	}
	framer := http2.NewFramer(nil, p.Conn)
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			return 0, err
		}
		if h, ok := f.(*http2.HeadersFrame); ok {
			return h.StreamID, nil
		}
	}
}

// soonOver bounds the life of a hostile connection.
func (p *peer) soonOver(limit time.Duration) error { return p.SetDeadline(time.Now().Add(limit)) }

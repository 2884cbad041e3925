package http2

import (
	"errors"
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// maxContinuations is how many CONTINUATION frames one head may take: nghttp2's
// bound.
const maxContinuations = 8

// block is what a header block is.
type block uint8

const (
	blockIgnored block = iota // decoded for the table's sake
	blockRequest
	blockResponse
	blockTrailer
)

// The pseudo-header fields, as bits.
const (
	pseudoMethod = 1 << iota
	pseudoScheme
	pseudoAuthority
	pseudoPath
	pseudoProtocol
	pseudoStatus
)

// headParser makes a message's head of the fields that the decoder hands it. It
// belongs to the reader.
type headParser struct {
	c  *conn
	id uint32
	// end is true where the block ends its stream.
	end   bool
	block block
	to    *httpmsg.Header

	raw    int // compressed bytes so far
	frames int // CONTINUATION frames so far
	size   int // names and values
	count  int

	// err is the first rule that was broken, after which fields are passed over.
	err     *ProtocolError
	regular bool // a field that is no pseudo-header was seen
	pseudo  uint8

	method, scheme, authority, path, protocol string
	status                                    int

	host    string
	hosts   int
	length  int64 // content-length, or -1
	expect  bool
	cookies int // index of the cookie field and one; 0 is none
}

// open starts a block.
func (h *headParser) open(id uint32, end bool, kind block, to *httpmsg.Header) {
	if to != nil {
		to.Reset()
	}
	*h = headParser{c: h.c, id: id, end: end, block: kind, to: to, length: -1}
	h.c.dec.SetEmitEnabled(kind != blockIgnored)
}

// swap hands over what was put together in spare.
func swap(to, spare *httpmsg.Header) { *to, *spare = *spare, *to }

// refuse notes the first rule that was broken.
func (h *headParser) refuse(err *ProtocolError) {
	if h.err == nil {
		h.err = err
		h.c.dec.SetEmitEnabled(false)
	}
}

// field is called by the decoder.
func (h *headParser) field(f hpack.HeaderField) {
	if h.err != nil || h.block == blockIgnored {
		return
	}
	h.count++
	h.size += len(f.Name) + len(f.Value)
	switch {
	case h.size > h.c.set.MaxHeadBytes:
		h.refuse(&ProtocolError{Code: codeInternal, Details: detailTooLarge})
		return
	case h.count > h.c.set.MaxHeaders:
		h.refuse(&ProtocolError{Code: codeInternal, Details: detailTooMany})
		return
	}
	if f.Name == "" || !consists(f.Value, &valueChar) {
		h.refuse(violation(detailHeader))
		return
	}
	if f.Name[0] == ':' {
		h.pseudoField(f.Name, f.Value)
		return
	}
	h.regular = true
	if !consists(f.Name, &nameChar) {
		h.refuse(violation(detailHeader))
		return
	}
	h.regularField(f.Name, trim(f.Value))
}

func (h *headParser) pseudoField(name, value string) {
	var bit uint8
	switch name {
	case ":method":
		bit, h.method = pseudoMethod, value
	case ":scheme":
		bit, h.scheme = pseudoScheme, value
	case ":authority":
		bit, h.authority = pseudoAuthority, value
	case ":path":
		bit, h.path = pseudoPath, value
	case ":protocol":
		bit, h.protocol = pseudoProtocol, value
	case ":status":
		bit = pseudoStatus
		h.status = parseStatus(value)
	}
	switch {
	case h.block == blockTrailer, bit == 0, h.regular, h.pseudo&bit != 0,
		(bit == pseudoStatus) != (h.block == blockResponse):
		h.refuse(violation(detailHeader))
	case bit == pseudoProtocol && !h.c.set.AllowConnect:
		h.refuse(violation(detailHeader)) // RFC 8441 section 4
	}
	h.pseudo |= bit
}

func parseStatus(s string) int {
	if len(s) != 3 {
		return 0
	}
	n := 0
	for i := range 3 {
		if s[i] < '0' || s[i] > '9' {
			return 0
		}
		n = n*10 + int(s[i]-'0')
	}
	return n
}

// regularField sorts out the fields that mean something to the codec.
func (h *headParser) regularField(name, value string) {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		h.refuse(violation(detailHeader)) // RFC 9113 section 8.2.2
		return
	case "te":
		if !strings.EqualFold(value, "trailers") || h.block == blockResponse {
			h.refuse(violation(detailHeader))
			return
		}
		if h.block == blockRequest && h.to.Has("te") {
			return // said already
		}
	case "host":
		if h.block == blockRequest {
			h.host = value
			h.hosts++
			return
		}
	case "content-length":
		if h.block == blockTrailer {
			return
		}
		n, ok := parseLength(value)
		if !ok || h.length >= 0 {
			h.refuse(violation(detailHeader))
			return
		}
		h.length = n
	case "expect":
		if h.block == blockRequest && strings.EqualFold(value, "100-continue") && h.c.answers100() {
			h.expect = true
			return
		}
	case "cookie":
		if h.block == blockRequest && h.crumb(value) {
			return
		}
	}
	h.to.Add(name, value)
}

// crumb puts the pieces of a cookie together again (RFC 9113 section 8.2.3), and
// reports whether there was one before.
func (h *headParser) crumb(value string) bool {
	if h.cookies == 0 {
		h.cookies = h.to.Len() + 1
		return false
	}
	at := &h.to.Fields[h.cookies-1].Value
	*at += "; " + value
	return true
}

// answers100 reports whether we answer expectations ourselves.
func (c *conn) answers100() bool {
	a, ok := c.side.(interface{ answersExpect() bool })
	return ok && a.answersExpect()
}

// readHeaders handles a HEADERS frame.
func (c *conn) readHeaders(id uint32, n int, flags byte) error {
	if id == 0 {
		return connError(codeProtocol, detailProtocol)
	}
	b, err := c.in.peek(n)
	if err != nil {
		return err
	}
	c.in.skip(n)
	pad := 0
	if flags&flagPadded != 0 {
		if len(b) == 0 {
			return connError(codeFrameSize, detailProtocol)
		}
		pad, b = int(b[0]), b[1:]
	}
	depends := uint32(0)
	if flags&flagPriority != 0 {
		if len(b) < 5 {
			return connError(codeFrameSize, detailProtocol)
		}
		depends = uint32(b[0]&0x7f)<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		b = b[5:]
	}
	if pad > len(b) {
		return connError(codeProtocol, detailProtocol)
	}
	b = b[:len(b)-pad]
	if err := c.empty(len(b), flags&flagEndStream != 0); err != nil {
		return err
	}
	if err := c.side.openHead(id, flags&flagEndStream != 0); err != nil {
		return err
	}
	if flags&flagPriority != 0 && depends == id {
		c.head.refuse(violation(detailProtocol))
	}
	return c.decode(b, flags)
}

// readContinuation handles what follows; the Framer sees to the order.
func (c *conn) readContinuation(n int, flags byte) error {
	b, err := c.in.peek(n)
	if err != nil {
		return err
	}
	c.in.skip(n)
	if err := c.empty(n, flags&flagEndHeaders != 0); err != nil {
		return err
	}
	if c.head.frames++; c.head.frames > maxContinuations {
		return connError(codeEnhanceYourCalm, detailTooMany)
	}
	return c.decode(b, flags)
}

// decode hands a piece of a block to the decoder. A block that is over the limits is
// decoded on, so that the tables of both ends stay the same, but not without end.
func (c *conn) decode(b []byte, flags byte) error {
	h := &c.head
	if h.raw += len(b); h.raw > maxBlock(c.set.MaxHeadBytes) {
		return connError(codeEnhanceYourCalm, detailTooMany)
	}
	if _, err := c.dec.Write(b); err != nil {
		if errors.Is(err, hpack.ErrStringLength) {
			return connError(codeEnhanceYourCalm, detailTooMany)
		}
		return connError(codeCompression, detailHeader)
	}
	if flags&flagEndHeaders == 0 {
		c.watchHead()
		return nil
	}
	if err := c.dec.Close(); err != nil {
		return connError(codeCompression, detailHeader)
	}
	c.unwatchHead()
	return c.side.closeHead()
}

// maxBlock is how long the block of a head may be that is over the limit.
func maxBlock(limit int) int { return 2*limit + minFrameSize }

// headTimeout is how long a head may take that does not come at once.
const headTimeout = int64(60e9)

// watchHead bounds the time until the block's end.
func (c *conn) watchHead() {
	if c.head.frames > 0 {
		return
	}
	c.mu.Lock()
	c.headLimit = c.seenNow() + headTimeout
	c.clock.arm(c.headLimit)
	c.mu.Unlock()
}

func (c *conn) unwatchHead() {
	if c.head.frames > 0 {
		c.mu.Lock()
		c.headLimit = 0
		c.mu.Unlock()
	}
}

// beginHead starts a header block. The frame's head is put in place by endHead. All of
// it happens under the lock, so that blocks are decoded in the order in which they were
// encoded.
func (c *conn) beginHead() {
	c.out.room(1 << 10)
	c.headAt = len(c.out.buf)
	c.out.buf = append(c.out.buf, make([]byte, frameHeadLen)...)
	c.out.buf = c.enc.begin(c.out.buf)
}

func (c *conn) appendField(name, value string) {
	c.out.buf = c.enc.field(c.out.buf, name, value)
}

// appendFields appends the fields of a message but those that HTTP/2 does not know. A
// length is announced if there is one, 0 only where the fields do.
func (c *conn) appendFields(h *httpmsg.Header, length int64) {
	for i := range h.Fields {
		f := &h.Fields[i]
		switch f.Name {
		case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "host", "http2-settings", "":
			continue
		case "te":
			if !strings.EqualFold(trim(f.Value), "trailers") {
				continue
			}
		case "content-length":
			if length < 0 {
				continue
			}
			c.appendLength(length)
			length = -1
			continue
		}
		if f.Name[0] == ':' || !consists(f.Value, &valueChar) {
			continue
		}
		c.appendField(f.Name, f.Value)
	}
	if length > 0 {
		c.appendLength(length)
	}
}

func (c *conn) appendLength(n int64) {
	var digits [20]byte
	i := len(digits)
	for {
		i--
		digits[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			break
		}
	}
	b := appendInt(c.out.buf, 0, 4, 28)
	b = appendInt(b, 0, 7, len(digits)-i)
	c.out.buf = append(b, digits[i:]...)
}

// endHead completes the frame, and splits a block that is larger than one.
func (c *conn) endHead(id uint32, end bool) {
	at := c.headAt
	flags := byte(flagEndHeaders)
	if end {
		flags |= flagEndStream
	}
	frames := 1
	if n := len(c.out.buf) - at - frameHeadLen; n <= minFrameSize {
		putFrame(c.out.buf[at:], n, frameHeaders, flags, id)
	} else {
		frames = c.splitHead(id, flags)
	}
	c.out.grew(at, frames)
}

func (c *conn) splitHead(id uint32, flags byte) int {
	block := append([]byte(nil), c.out.buf[c.headAt+frameHeadLen:]...)
	b := c.out.buf[:c.headAt]
	kind, frames := byte(frameHeaders), 0
	first := flags &^ flagEndHeaders
	for len(block) > 0 {
		n := min(len(block), minFrameSize)
		if n == len(block) {
			first |= flagEndHeaders
		}
		b = appendFrame(b, n, kind, first, id)
		b = append(b, block[:n]...)
		block = block[n:]
		kind, first = frameContinuation, 0
		frames++
	}
	c.out.buf = b
	return frames
}

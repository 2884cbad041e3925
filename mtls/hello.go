package mtls

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// What ParseClientHello says of bytes that are not a whole ClientHello.
var (
	// ErrShort: so far so good, but more bytes are needed.
	ErrShort = errors.New("client hello is not complete")
	// ErrNotTLS: whatever follows, this is no ClientHello.
	ErrNotTLS = errors.New("not a TLS client hello")
	// ErrTooLarge: the ClientHello is longer than MaxHello.
	ErrTooLarge = errors.New("client hello is too large")
)

// MaxHello bounds a ClientHello together with the headers of its records.
const MaxHello = 16 << 10

// Hello is what a ClientHello offers.
type Hello struct {
	// SNI is in lower case, as filter chains are matched.
	SNI string
	// ALPN is in the client's order.
	ALPN []string
	// Versions are the client's, by preference, reserved values included.
	Versions []uint16
}

// Numbers of RFC 8446 and its companions.
const (
	recordHeader      = 5
	recordHandshake   = 22
	maxRecord         = 1 << 14
	messageHeader     = 4
	messageHello      = 1
	extServerName     = 0
	extALPN           = 16
	extVersions       = 43
	nameTypeHost      = 0
	maxHostName       = 255
	randomLen         = 32
	maxSessionID      = 32
	minCompressionLen = 1
)

// ParseClientHello reads the first bytes of a connection without consuming any.
// With ErrShort, need is how many bytes there must at least be for the next try.
// The hello may be spread over any number of records.
func ParseClientHello(b []byte) (hello Hello, need int, err error) {
	length, need, err := helloLength(b)
	if err != nil {
		return Hello{}, need, err
	}
	c := cursor{b: b, left: messageHeader}
	c.skip(messageHeader)
	c.left = length
	if !c.hello(&hello) {
		return Hello{}, 0, ErrNotTLS
	}
	return hello, 0, nil
}

// helloLength walks the records until they hold the whole message.
func helloLength(b []byte) (length, need int, err error) {
	var head [messageHeader]byte
	have := 0 // bytes of the message seen so far, header included
	want := messageHeader
	for pos := 0; have < want; {
		if err := checkRecord(b[pos:]); err != nil {
			return 0, 0, err
		}
		if len(b)-pos < recordHeader {
			return 0, pos + recordHeader, tooLarge(pos + recordHeader)
		}
		size := int(binary.BigEndian.Uint16(b[pos+3:]))
		if size == 0 || size > maxRecord {
			return 0, 0, ErrNotTLS
		}
		pos += recordHeader
		body := b[pos:min(len(b), pos+size)]
		for i := 0; i < len(body) && have+i < messageHeader; i++ {
			head[have+i] = body[i]
		}
		have += len(body)
		if have > 0 && head[0] != messageHello {
			return 0, 0, ErrNotTLS
		}
		if have >= messageHeader {
			length = int(head[1])<<16 | int(head[2])<<8 | int(head[3])
			want = messageHeader + length
			if want > MaxHello {
				return 0, 0, ErrTooLarge
			}
		}
		if have < want && len(body) < size {
			need = pos + len(body) + min(want-have, size-len(body))
			return 0, need, tooLarge(need)
		}
		pos += size
	}
	return length, 0, nil
}

// tooLarge turns a need of more bytes than are ever peeked into the final error.
func tooLarge(need int) error {
	if need > MaxHello {
		return ErrTooLarge
	}
	return ErrShort
}

// checkRecord refuses what cannot begin a handshake record, however short it is.
func checkRecord(b []byte) error {
	if len(b) > 0 && b[0] != recordHandshake || len(b) > 1 && b[1] != 3 {
		return ErrNotTLS
	}
	return nil
}

// cursor reads the message across the borders of records, whose headers have
// been checked. left bounds the innermost field being read.
type cursor struct {
	b      []byte // from the current position on, record headers included
	record int    // bytes left in the current record
	left   int
	failed bool
}

// within bounds the cursor to the next n bytes and returns what was left outside
// of them, for done.
func (c *cursor) within(n int) (outside int) {
	if n > c.left {
		c.failed = true
		return 0
	}
	outside = c.left - n
	c.left = n
	return outside
}

// done ends within; a field must have been read to its end.
func (c *cursor) done(outside int) {
	if c.left != 0 {
		c.failed = true
	}
	c.left = outside
}

func (c *cursor) u8() int {
	if c.failed || c.left < 1 {
		c.failed = true
		return 0
	}
	if c.record == 0 {
		c.record = int(binary.BigEndian.Uint16(c.b[3:]))
		c.b = c.b[recordHeader:]
	}
	v := c.b[0]
	c.b = c.b[1:]
	c.record--
	c.left--
	return int(v)
}

func (c *cursor) u16() int {
	hi := c.u8()
	return hi<<8 | c.u8()
}

// skip passes n bytes.
func (c *cursor) skip(n int) {
	if n > c.left {
		c.failed = true
	}
	for n > 0 && !c.failed {
		if c.record == 0 {
			c.u8()
			n--
			continue
		}
		step := min(n, c.record)
		c.b = c.b[step:]
		c.record -= step
		c.left -= step
		n -= step
	}
}

// take copies n bytes into scratch, at most 255 as all names are.
func (c *cursor) take(n int, scratch *[255]byte) []byte {
	for i := range n {
		scratch[i] = byte(c.u8())
	}
	return scratch[:n]
}

// hello reads the message's body and reports whether it is well formed.
func (c *cursor) hello(h *Hello) bool {
	legacy := c.u16()
	c.skip(randomLen)
	session := c.u8()
	if session > maxSessionID {
		return false
	}
	c.skip(session)
	ciphers := c.u16()
	if ciphers == 0 || ciphers%2 != 0 {
		return false
	}
	c.skip(ciphers)
	compression := c.u8()
	if compression < minCompressionLen {
		return false
	}
	c.skip(compression)
	if c.failed {
		return false
	}
	if c.left > 0 {
		outside := c.within(c.u16())
		for c.left > 0 && !c.failed {
			c.extension(h)
		}
		c.done(outside)
	}
	if h.Versions == nil {
		h.Versions = []uint16{uint16(legacy)}
	}
	return !c.failed && c.left == 0
}

func (c *cursor) extension(h *Hello) {
	kind := c.u16()
	outside := c.within(c.u16())
	switch kind {
	case extServerName:
		c.serverName(h)
	case extALPN:
		c.alpn(h)
	case extVersions:
		c.versions(h)
	default:
		c.skip(c.left)
	}
	c.done(outside)
}

func (c *cursor) serverName(h *Hello) {
	outside := c.within(c.u16())
	if c.left == 0 || h.SNI != "" {
		c.failed = true
	}
	for c.left > 0 && !c.failed {
		kind, n := c.u8(), c.u16()
		if kind != nameTypeHost {
			c.skip(n)
			continue
		}
		if n == 0 || n > maxHostName || h.SNI != "" {
			c.failed = true
			return
		}
		var scratch [255]byte
		name := c.take(n, &scratch)
		if bytes.IndexByte(name, 0) >= 0 {
			c.failed = true
			return
		}
		lowerBytes(name)
		h.SNI = string(name)
	}
	c.done(outside)
}

func (c *cursor) alpn(h *Hello) {
	outside := c.within(c.u16())
	if c.left == 0 || h.ALPN != nil {
		c.failed = true
	}
	for c.left > 0 && !c.failed {
		n := c.u8()
		if n == 0 {
			c.failed = true
			return
		}
		var scratch [255]byte
		h.ALPN = append(h.ALPN, string(c.take(n, &scratch)))
	}
	c.done(outside)
}

func (c *cursor) versions(h *Hello) {
	outside := c.within(c.u8())
	if c.left == 0 || c.left%2 != 0 || h.Versions != nil {
		c.failed = true
	} else {
		h.Versions = make([]uint16, 0, c.left/2) // at most 127
	}
	for c.left > 0 && !c.failed {
		h.Versions = append(h.Versions, uint16(c.u16()))
	}
	c.done(outside)
}

// lowerASCII is lower case as filter chains and ParseClientHello know it.
func lowerASCII(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			lowerBytes(b[i:])
			return string(b)
		}
	}
	return s
}

func lowerBytes(b []byte) {
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
}

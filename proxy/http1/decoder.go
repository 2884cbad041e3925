package http1

import (
	"errors"
	"io"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// maxChunkLine bounds a chunk's size line with its extensions, which are ignored.
const maxChunkLine = 4 << 10

// chunkState is the place in a chunked body of the next byte.
type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailer
)

// decoder finds the end of a body and takes its framing away. It reads a chunked
// body's framing byte by byte, so that it needs no room and no second look.
type decoder struct {
	rd      *reader
	framing framing
	left    int64 // bytes of the body, or of the chunk

	state  chunkState
	digits int
	line   int // bytes of the present size line or trailer line

	trailer []byte // the trailer section as it came
	limits  limits

	// err ends the body; io.EOF is the good end.
	err error
}

func (d *decoder) start(rd *reader, f framing, length int64, l limits) {
	*d = decoder{rd: rd, framing: f, left: length, limits: l}
	switch f {
	case framingNone:
		d.err = io.EOF
	case framingChunked:
		d.left = 0
	case framingLength, framingClose:
	}
}

// read is io.Reader's Read. It returns io.EOF with the last bytes where the end is
// known by then.
func (d *decoder) read(p []byte) (int, error) {
	if d.err != nil || len(p) == 0 {
		return 0, d.err
	}
	for d.framing == framingChunked {
		d.advance()
		if d.err != nil {
			return 0, d.err
		}
		if d.state == chunkData {
			break
		}
		if err := d.rd.fill(); err != nil {
			return 0, d.broken(err)
		}
	}
	if d.framing != framingClose && int64(len(p)) > d.left {
		p = p[:d.left]
	}
	n, err := d.rd.read(p)
	if err != nil {
		return n, d.broken(err)
	}
	d.took(n)
	return n, d.err
}

// took accounts for n bytes of content.
func (d *decoder) took(n int) {
	if d.framing == framingClose {
		return
	}
	if d.left -= int64(n); d.left > 0 {
		return
	}
	if d.framing == framingLength {
		d.err = io.EOF
		return
	}
	d.state = chunkDataCR
	d.advance()
}

// broken keeps an error of the reader, unless the read may be tried again.
func (d *decoder) broken(err error) error {
	switch {
	case errors.Is(err, errInterrupted):
		return err
	case errors.Is(err, io.EOF) && d.framing == framingClose:
		d.err = io.EOF
	case errors.Is(err, io.EOF):
		d.err = io.ErrUnexpectedEOF
	default:
		d.err = err
	}
	return d.err
}

// buffered is the number of content bytes that can be read without waiting, -1 at
// the end.
func (d *decoder) buffered() int {
	if d.err == nil && d.framing == framingChunked {
		d.advance()
	}
	if d.err != nil {
		return -1
	}
	n := d.rd.avail()
	switch {
	case d.framing == framingClose && n == 0 && d.rd.err != nil:
		return -1
	case d.framing == framingClose:
		return n
	case d.framing == framingChunked && d.state != chunkData:
		return 0
	default:
		return int(min(int64(n), d.left))
	}
}

// discard passes over the content that is buffered.
func (d *decoder) discard() {
	for {
		n := d.buffered()
		if n <= 0 {
			return
		}
		d.rd.r += n
		d.took(n)
	}
}

// advance reads the buffered framing up to the next content byte.
func (d *decoder) advance() {
	b, i := d.rd.buf, d.rd.r
	for i < d.rd.w && d.state != chunkData && d.err == nil {
		if err := d.step(b[i]); err != nil {
			d.err = err
		}
		i++
	}
	d.rd.r = i
}

func (d *decoder) step(c byte) error {
	switch d.state {
	case chunkSize:
		return d.size(c)
	case chunkExtension:
		if d.line++; d.line > maxChunkLine || c < ' ' && c != '\t' && c != '\r' || c == 0x7f {
			return errSyntax
		}
		if c == '\r' {
			d.state = chunkSizeLF
		}
	case chunkSizeLF:
		if c != '\n' {
			return errSyntax
		}
		d.line = 0
		d.state = chunkData
		if d.left == 0 {
			d.state = chunkTrailer
		}
	case chunkDataCR:
		if c != '\r' {
			return errSyntax
		}
		d.state = chunkDataLF
	case chunkDataLF:
		if c != '\n' {
			return errSyntax
		}
		d.state, d.digits, d.line, d.left = chunkSize, 0, 0, 0
	case chunkTrailer:
		return d.trailerByte(c)
	case chunkData: // content is not read here
	}
	return nil
}

// size reads a character of the size: up to fifteen hexadecimal digits, nothing
// else, not even white space.
func (d *decoder) size(c byte) error {
	v := hexValue(c)
	switch {
	case v < 16 && d.digits < 15:
		d.digits++
		d.left = d.left<<4 | int64(v)
	case d.digits == 0:
		return errSyntax
	case c == ';':
		d.state = chunkExtension
	case c == '\r':
		d.state = chunkSizeLF
	default:
		return errSyntax
	}
	return nil
}

func hexValue(c byte) byte {
	switch {
	case c-'0' <= 9:
		return c - '0'
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	default:
		return 16
	}
}

// trailerByte collects the trailer section up to its empty line.
func (d *decoder) trailerByte(c byte) error {
	if len(d.trailer) >= d.limits.raw() {
		return errTooLarge
	}
	if len(d.trailer) == 0 && d.line == 0 && c == '\r' {
		d.line = 1 // no trailers: nothing is collected
		return nil
	}
	if len(d.trailer) == 0 && d.line == 1 {
		if c != '\n' {
			return errSyntax
		}
		return io.EOF
	}
	d.line = 2
	d.trailer = append(d.trailer, c)
	if c != '\n' || len(d.trailer) < 4 || string(d.trailer[len(d.trailer)-4:]) != "\r\n\r\n" {
		return nil
	}
	var h httpmsg.Header
	p := fieldParser{limits: d.limits}
	if n, err := p.parse(d.trailer, 0, &h); err != nil || n != len(d.trailer) {
		return errSyntax
	}
	return io.EOF
}

// trailers parses the trailer section, which was found to be valid, into h. Fields
// that belong to the head are not trailers (RFC 9110 section 6.5.1).
func (d *decoder) trailers(h *httpmsg.Header) {
	if len(d.trailer) == 0 {
		return
	}
	p := fieldParser{limits: d.limits}
	_, _ = p.parse(d.trailer, 0, h)
	h.DeleteFunc(func(f httpmsg.Field) bool {
		return f.Name == "host" || f.Name == "content-length" || f.Name == "te" || f.Name == "trailer"
	})
}

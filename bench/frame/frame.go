// Package frame reads and writes the frames of HTTP/2 for the benchmark's own client
// and server, without allocating.
//
// Its life: Next cuts one frame off the bytes that were read; Fragment and Content take
// priority and padding away; the Append functions write frames behind what is there.
//
// It must not know streams, windows or header compression.
package frame

import (
	"encoding/binary"
	"errors"
)

// Preface is what a client sends first.
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Size is that of a frame's head, Max the greatest payload unless a peer says so.
const (
	Size = 9
	Max  = 16384
)

// Types of frames.
const (
	Data         = 0
	Headers      = 1
	Priority     = 2
	Reset        = 3
	Settings     = 4
	PushPromise  = 5
	Ping         = 6
	GoAway       = 7
	WindowUpdate = 8
	Continuation = 9
)

// Flags. Ack and EndStream are the same bit.
const (
	Ack         = 0x1
	EndStream   = 0x1
	EndHeaders  = 0x4
	Padded      = 0x8
	HasPriority = 0x20
)

// Settings that the benchmark looks at.
const (
	HeaderTableSize      = 1
	MaxConcurrentStreams = 3
	InitialWindowSize    = 4
	MaxFrameSize         = 5
)

// Errors of frames that cannot be.
var (
	ErrTooLarge = errors.New("frame larger than agreed")
	ErrPadding  = errors.New("frame with impossible padding")
	ErrLength   = errors.New("frame of impossible length")
)

// Frame is one frame; its payload belongs to the bytes it was cut from.
type Frame struct {
	Type, Flags byte
	Stream      uint32
	Payload     []byte
}

// Has says whether all bits of a flag are set.
func (f *Frame) Has(flag byte) bool { return f.Flags&flag == flag }

// Next cuts the first frame off, and says how many bytes it took: none if there is no
// whole frame yet.
func Next(in []byte) (f Frame, used int, err error) {
	if len(in) < Size {
		return f, 0, nil
	}
	n := int(in[0])<<16 | int(in[1])<<8 | int(in[2])
	if n > Max {
		return f, 0, ErrTooLarge
	}
	if len(in) < Size+n {
		return f, 0, nil
	}
	f.Type, f.Flags = in[3], in[4]
	f.Stream = binary.BigEndian.Uint32(in[5:]) & (1<<31 - 1)
	f.Payload = in[Size : Size+n]
	return f, Size + n, checkLength(&f)
}

// checkLength refuses payloads that are shorter than what is read from them.
func checkLength(f *Frame) error {
	n := len(f.Payload)
	bad := false
	switch f.Type {
	case Settings:
		bad = n%6 != 0
	case WindowUpdate, Reset:
		bad = n != 4
	case Ping:
		bad = n != 8
	case GoAway:
		bad = n < 8
	}
	if bad {
		return ErrLength
	}
	return nil
}

// Content returns what a DATA frame carries, without its padding.
func (f *Frame) Content() ([]byte, error) {
	p := f.Payload
	if !f.Has(Padded) {
		return p, nil
	}
	if len(p) == 0 || int(p[0]) >= len(p) {
		return nil, ErrPadding
	}
	return p[1 : len(p)-int(p[0])], nil
}

// Fragment returns what a HEADERS or CONTINUATION frame has of a header block.
func (f *Frame) Fragment() ([]byte, error) {
	if f.Type == Continuation {
		return f.Payload, nil
	}
	p, err := f.Content()
	if err != nil || !f.Has(HasPriority) {
		return p, err
	}
	if len(p) < 5 {
		return nil, ErrLength
	}
	return p[5:], nil
}

// Uint32 is the first number of a payload: a window's increment, or a code.
func (f *Frame) Uint32() uint32 { return binary.BigEndian.Uint32(f.Payload) }

// Setting returns the i-th setting of a SETTINGS frame.
func (f *Frame) Setting(i int) (id uint16, value uint32, ok bool) {
	p := f.Payload
	if len(p) < (i+1)*6 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint16(p[i*6:]), binary.BigEndian.Uint32(p[i*6+2:]), true
}

// AppendHead writes the head of a frame whose payload has n bytes.
func AppendHead(b []byte, n int, kind, flags byte, stream uint32) []byte {
	b = append(b, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	return binary.BigEndian.AppendUint32(b, stream)
}

// Append writes a whole frame.
func Append(b, payload []byte, kind, flags byte, stream uint32) []byte {
	return append(AppendHead(b, len(payload), kind, flags, stream), payload...)
}

// AppendSettings writes settings, pairs of id and value.
func AppendSettings(b []byte, pairs ...[2]uint32) []byte {
	b = AppendHead(b, 6*len(pairs), Settings, 0, 0)
	for _, p := range pairs {
		b = binary.BigEndian.AppendUint16(b, uint16(p[0]))
		b = binary.BigEndian.AppendUint32(b, p[1])
	}
	return b
}

// AppendWindowUpdate gives credit to a stream, or with 0 to the connection.
func AppendWindowUpdate(b []byte, stream, n uint32) []byte {
	return binary.BigEndian.AppendUint32(AppendHead(b, 4, WindowUpdate, 0, stream), n)
}

// AppendBlock writes a header block as HEADERS and as many CONTINUATIONs as it takes.
func AppendBlock(b, block []byte, flags byte, stream uint32) []byte {
	kind := byte(Headers)
	for len(block) > Max {
		b = Append(b, block[:Max], kind, flags, stream)
		block, kind, flags = block[Max:], Continuation, 0
	}
	return Append(b, block, kind, flags|EndHeaders, stream)
}

// AppendData writes content as DATA frames, the last of them with flags.
func AppendData(b, content []byte, flags byte, stream uint32) []byte {
	for len(content) > Max {
		b = Append(b, content[:Max], Data, 0, stream)
		content = content[Max:]
	}
	return Append(b, content, Data, flags, stream)
}

package load

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// tableSize is how much of the other side's dynamic table is used at most.
const tableSize = 4096

// blocks has the header blocks of one connection's requests, which are all alike: the
// first one fills the dynamic table, those after it are indices into it, and are encoded
// once.
type blocks struct {
	fields  []hpack.HeaderField
	encoder *hpack.Encoder
	buffer  bytes.Buffer
	last    []byte
	steady  bool // every further block is like the last
}

func (b *blocks) init(t *Target, isGRPC bool) {
	scheme := "http"
	if t.TLS != nil {
		scheme = "https"
	}
	add := func(name, value string) {
		b.fields = append(b.fields, hpack.HeaderField{Name: name, Value: value})
	}
	add(":method", t.Method)
	add(":scheme", scheme)
	add(":authority", t.Host)
	add(":path", t.Path)
	for _, h := range t.Header {
		add(strings.ToLower(h[0]), h[1])
	}
	if isGRPC {
		add("content-type", "application/grpc")
		add("te", "trailers")
	} else if len(t.Body) > 0 {
		add("content-length", strconv.Itoa(len(t.Body)))
	}
	b.encoder = hpack.NewEncoder(&b.buffer)
}

// resize follows the other side's setting.
func (b *blocks) resize(n uint32) {
	b.encoder.SetMaxDynamicTableSizeLimit(n)
	b.encoder.SetMaxDynamicTableSize(min(n, tableSize))
	b.last, b.steady = nil, false
}

// take returns the next request's block, which is valid until the one after it.
func (b *blocks) take() []byte {
	if b.steady {
		return b.last
	}
	b.buffer.Reset()
	for _, f := range b.fields {
		_ = b.encoder.WriteField(f) // a buffer takes everything
	}
	b.steady = bytes.Equal(b.last, b.buffer.Bytes())
	b.last = slices.Clone(b.buffer.Bytes())
	return b.last
}

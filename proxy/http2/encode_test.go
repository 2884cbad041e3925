package http2

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// twin decodes what the encoder says, as a peer does.
type twin struct {
	enc encoder
	dec *hpack.Decoder
	got []hpack.HeaderField
}

func newTwin() *twin {
	w := &twin{}
	w.enc.init()
	w.dec = hpack.NewDecoder(4096, func(f hpack.HeaderField) { w.got = append(w.got, f) })
	return w
}

func (w *twin) send(t *testing.T, fields ...string) (size int) {
	t.Helper()
	w.got = w.got[:0]
	b := w.enc.begin(nil)
	for i := 0; i+1 < len(fields); i += 2 {
		b = w.enc.field(b, fields[i], fields[i+1])
	}
	if _, err := w.dec.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.dec.Close(); err != nil {
		t.Fatal(err)
	}
	if len(w.got) != len(fields)/2 {
		t.Fatalf("got %d fields, want %d", len(w.got), len(fields)/2)
	}
	for i, f := range w.got {
		if f.Name != fields[2*i] || f.Value != fields[2*i+1] {
			t.Fatalf("field %d: got %q: %q, want %q: %q", i, f.Name, f.Value, fields[2*i], fields[2*i+1])
		}
	}
	return len(b)
}

func TestEncoderAgreesWithTheDecoder(t *testing.T) {
	w := newTwin()
	for i := range 2000 {
		if i%100 == 50 {
			size := uint32(i%5) * 300
			w.enc.resize(size)
			w.enc.resize(size + 500)
			w.dec.SetAllowedMaxDynamicTableSize(4096)
		}
		w.send(t, ":method", "GET", ":status", "200", "user-agent", fmt.Sprint("agent/", i%30), "x-a", strings.Repeat("v", i%1200),
			fmt.Sprint("x-", i%77), strconv.Itoa(i%11), "authorization", "secret", "x-request-id", strconv.Itoa(i), "", "")
	}
}

func TestStableFieldsAreIndexedAtTheSecondTime(t *testing.T) {
	fields := []string{"user-agent", "grpc-go/1.85", "content-type", "application/grpc", "x-tenant", "blue"}
	got := 0
	for range 6 { // two of three fields share one of 64 places with one seed in twenty
		w := newTwin()
		w.send(t, fields...)
		w.send(t, fields...)
		if got = w.send(t, fields...); got == 3 {
			return
		}
	}
	t.Errorf("got %d bytes, want one for each field", got)
}

func TestFieldsThatAreNotIndexed(t *testing.T) {
	w := newTwin()
	for _, name := range []string{"x-request-id", "traceparent", "grpc-timeout", "cookie", "set-cookie", "authorization"} {
		for range 3 {
			w.send(t, name, "the same")
		}
		if w.enc.first != w.enc.next {
			t.Errorf("%s is in the table", name)
		}
		if got, want := w.got[0].Sensitive, name == "authorization"; got != want {
			t.Errorf("%s: never indexed = %v, want %v", name, got, want)
		}
	}
}

func TestStatusIsEncoded(t *testing.T) {
	w := newTwin()
	for status := 100; status < 600; status++ {
		w.got = w.got[:0]
		if _, err := w.dec.Write(w.enc.appendStatus(nil, status)); err != nil || w.got[0].Value != strconv.Itoa(status) {
			t.Fatalf("%d: got %v, %v", status, w.got, err)
		}
	}
}

func TestStaticNames(t *testing.T) {
	for _, s := range names {
		if index, policy := classify(s.name); index != int(s.index) || policy != s.policy {
			t.Errorf("%q is not found: it shares its place with another name", s.name)
		}
		if s.index == 0 {
			continue
		}
		d := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
			if f.Name != s.name {
				t.Errorf("index %d is %q, want %q", s.index, f.Name, s.name)
			}
		})
		if _, err := d.Write(appendInt(nil, 0x80, 7, int(s.index))); err != nil {
			t.Error(err)
		}
	}
}

func TestParseLength(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "5": 5, "5,5": -1, "5, 5": -1, "005": 5, "": -1, "5,6": -1, "+5": -1, "5,": -1, ",5": -1, "0x5": -1, "99999999999999999999": -1, " 5": -1,
	} {
		got, ok := parseLength(in)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: got %d, %v, want %d", in, got, ok, want)
		}
	}
}

func FuzzEncoder(f *testing.F) {
	f.Add("user-agent\x00a\x00x-b\x00c", uint32(4096))
	f.Add(strings.Repeat("a\x00b\x00", 100), uint32(64))
	f.Fuzz(func(t *testing.T, in string, size uint32) {
		w := newTwin()
		fields := strings.Split(in, "\x00")
		fields = fields[:len(fields)&^1]
		for range 3 {
			w.send(t, fields...)
			w.enc.resize(size)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	var e encoder
	e.init()
	buf := make([]byte, 0, 1<<10)
	b.ReportAllocs()
	for b.Loop() {
		buf = e.begin(buf[:0])
		buf = e.field(buf, ":method", "POST")
		buf = e.field(buf, ":scheme", "http")
		buf = e.path(buf, "/pkg.Service/Method")
		buf = e.field(buf, ":authority", "service.namespace.svc.cluster.local:8080")
		buf = e.field(buf, "content-type", "application/grpc")
		buf = e.field(buf, "user-agent", "grpc-go/1.85.0")
		buf = e.field(buf, "te", "trailers")
		buf = e.field(buf, "x-request-id", "6f1d2b1c-74b6-9d3a-9d7a-0b3c6b1b2f3a")
	}
}

package echo

import (
	"fmt"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/bench/frame"
)

func TestHeaderBlocksAreReadAsTheyWereMeant(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{0, 60, 130, 4096} {
		c := newHTTP2(&Servers{config: Config{Header: [][2]string{{"x-a", "1"}, {"x-b", "2"}}}})
		c.table.resize(limit)
		d := hpack.NewDecoder(4096, nil)
		for i := range 300 {
			kind := []int{5, grpcHead, grpcTrailers, i}[i%4]
			got, err := d.DecodeFull(c.block(kind))
			if err != nil {
				t.Fatalf("limit %d, block %d: %v", limit, i, err)
			}
			for n, want := range c.fields(kind) {
				if n >= len(got) || got[n].Name != want.name || got[n].Value != want.value {
					t.Fatalf("limit %d, block %d: got %v, want %v", limit, i, got, c.fields(kind))
				}
			}
		}
		if limit == 4096 && len(c.block(5)) > 9 {
			t.Errorf("a block of known fields has %d bytes", len(c.block(5)))
		}
	}
}

func TestAnswersFitTheWindows(t *testing.T) {
	t.Parallel()
	c := newHTTP2(&Servers{config: Config{Size: 100_000}})
	in := frame.AppendSettings([]byte(frame.Preface), [2]uint32{frame.InitialWindowSize, 40_000})
	for id := uint32(1); id < 8; id += 2 {
		in = frame.AppendBlock(in, []byte{0x82, 0x86, 0x84}, frame.EndStream, id)
	}
	sent := map[uint32]int{}
	drain := func() (total int) {
		c.pump()
		for b := c.out; len(b) > 0; {
			f, n, err := frame.Next(b)
			if err != nil {
				t.Fatal(err)
			}
			if f.Type == frame.Data {
				sent[f.Stream] += len(f.Payload)
				total += len(f.Payload)
			}
			b = b[n:]
		}
		c.out = c.out[:0]
		return total
	}
	if _, ok := c.consume(in); !ok {
		t.Fatal("the connection is refused")
	}
	if got := drain(); got != 65535 || sent[7] == 0 {
		t.Errorf("got %d bytes in a window of 65535, by stream %v", got, sent)
	}
	c.consume(frame.AppendWindowUpdate(nil, 0, 1<<20))
	if drain(); sent[1] != 40_000 || sent[7] != 40_000 {
		t.Errorf("got %v in windows of 40,000", sent)
	}
	c.consume(frame.AppendWindowUpdate(nil, 1, 1<<20))
	c.consume(frame.Append(nil, make([]byte, 4), frame.Reset, 0, 3))
	c.consume(frame.AppendSettings(nil, [2]uint32{frame.InitialWindowSize, 100_000}))
	drain()
	if want := map[uint32]int{1: 100_000, 3: 40_000, 5: 100_000, 7: 100_000}; fmt.Sprint(sent) != fmt.Sprint(want) || len(c.streams) > 0 || len(c.queue) > 0 {
		t.Errorf("got %v, want %v; %d streams are left", sent, want, len(c.streams))
	}
}

func FuzzHTTP1Requests(f *testing.F) {
	f.Add([]byte("GET /bytes/2 HTTP/1.1\r\nhost: h\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nokPOST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		c := http1{servers: &Servers{config: Config{Size: 1}}}
		if used := c.consume(in); used > len(in) || len(c.out) > maxSize+len(in)*100 {
			t.Errorf("used %d of %d bytes, %d to send", used, len(in), len(c.out))
		}
	})
}

func FuzzHTTP2Requests(f *testing.F) {
	in := frame.AppendSettings([]byte(frame.Preface), [2]uint32{frame.HeaderTableSize, 10})
	f.Add(frame.AppendBlock(in, []byte{0x82, 0x86, 0x84}, frame.EndStream, 1))
	f.Add(frame.AppendData(frame.AppendBlock(in, []byte{0x82, 0x86, 0x84}, 0, 1), []byte("body"), frame.EndStream, 1))
	f.Fuzz(func(t *testing.T, in []byte) {
		c := newHTTP2(&Servers{config: Config{Size: 1}})
		if used, _ := c.consume(in); used > len(in) {
			t.Errorf("used %d of %d bytes", used, len(in))
		}
		c.pump()
	})
}

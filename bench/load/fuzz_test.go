package load

import (
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/bench/frame"
)

// feed gives a codec bytes in pieces and counts good and bad answers. Each answer is
// followed by another request.
func feed(t *testing.T, c codec, in []byte, piece int, ends *[2]int) (broken bool) {
	t.Helper()
	out, have := []byte(nil), []byte(nil)
	for len(in) > 0 {
		n := min(piece, len(in))
		have, in = append(have, in[:n]...), in[n:]
		out, _ = c.request(out[:0], 0)
		used, next, err := c.consume(have, out)
		if used > len(have) {
			t.Fatalf("used %d of %d bytes", used, len(have))
		}
		if err != nil {
			return true
		}
		out, have = next, have[used:]
		if ends[0]+ends[1] > 1000 {
			return false
		}
	}
	return false
}

// count returns a verdict that counts.
func count(ends *[2]int) verdict {
	return func(_ time.Duration, err error) {
		if err == nil {
			ends[0]++
		} else {
			ends[1]++
		}
	}
}

func FuzzHTTP1Answers(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"), byte(3))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nx: y\r\n\r\n"), byte(1))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\nconnection: close\r\n\r\n"), byte(50))
	f.Fuzz(func(t *testing.T, in []byte, piece byte) {
		var whole, parts [2]int
		target := &Target{Answer: 2}
		broken := feed(t, newHTTP1(nil, newExpectation(target), count(&whole)), in, 1, &whole)
		again := feed(t, newHTTP1(nil, newExpectation(target), count(&parts)), in, int(piece%7)+1, &parts)
		if !broken && !again && whole != parts {
			t.Errorf("good and bad answers %v byte by byte, and %v in pieces of %d", whole, parts, piece%7+1)
		}
	})
}

// http2Answer is what a server sends for the first request.
func http2Answer(isGRPC bool) []byte {
	table := &sink{}
	e := hpack.NewEncoder(table)
	write := func(fields ...string) []byte {
		table.bytes = nil
		for i := 0; i < len(fields); i += 2 {
			_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		return table.bytes
	}
	b := frame.AppendSettings(nil, [2]uint32{frame.HeaderTableSize, 100}, [2]uint32{frame.MaxConcurrentStreams, 2})
	if !isGRPC {
		b = frame.AppendBlock(b, write(":status", "200", "x", "y"), 0, 1)
		return frame.AppendData(b, []byte("ok"), frame.EndStream, 1)
	}
	b = frame.AppendBlock(b, write(":status", "200", "content-type", "application/grpc"), 0, 1)
	b = frame.AppendData(b, grpcMessage([]byte("ok")), 0, 1)
	return frame.AppendBlock(b, write("grpc-status", "0"), frame.EndStream, 1)
}

type sink struct{ bytes []byte }

func (s *sink) Write(b []byte) (int, error) { s.bytes = append(s.bytes, b...); return len(b), nil }

func FuzzHTTP2Answers(f *testing.F) {
	f.Add(http2Answer(false), byte(3), false)
	f.Add(http2Answer(true), byte(9), true)
	f.Add(frame.Append(http2Answer(false), make([]byte, 8), frame.GoAway, 0, 0), byte(200), false)
	f.Add(frame.Append(http2Answer(true), make([]byte, 4), frame.Reset, 0, 1), byte(255), true)
	f.Fuzz(func(t *testing.T, in []byte, piece byte, isGRPC bool) {
		var ends [2]int
		target := &Target{Method: "GET", Path: "/", Host: "h"}
		c, _ := newHTTP2(target, isGRPC, newExpectation(target), count(&ends))
		feed(t, c, in, int(piece)+1, &ends)
		if len(c.streams) > len(in) {
			t.Errorf("%d streams after %d bytes", len(c.streams), len(in))
		}
	})
}

func TestGoodAnswersOfHTTP2AreGood(t *testing.T) {
	t.Parallel()
	for _, isGRPC := range []bool{false, true} {
		for piece := 1; piece < 100; piece += 7 {
			var ends [2]int
			target := &Target{Method: "GET", Path: "/", Host: "h"}
			c, _ := newHTTP2(target, isGRPC, newExpectation(target), count(&ends))
			// The request is sent between the settings and the answer.
			in := http2Answer(isGRPC)
			if feed(t, c, in[:21], 21, &ends) || feed(t, c, in[21:], piece, &ends) || ends != [2]int{1, 0} {
				t.Errorf("gRPC %v in pieces of %d: got %v good and bad", isGRPC, piece, ends)
			}
		}
	}
}

func TestBadAnswersOfHTTP2AreNoticed(t *testing.T) {
	t.Parallel()
	settings := frame.AppendSettings(nil)
	ok := []byte{0x88} // :status 200
	grpc := append([]byte{0x88, 0x0f, 0x10, 16}, "application/grpc"...)
	status := func(b []byte, code string) []byte {
		return append(append(append(b, 0, 11), "grpc-status"...), append([]byte{byte(len(code))}, code...)...)
	}
	for _, tt := range []struct {
		name   string
		grpc   bool
		answer []byte
		want   [2]int // good and bad
		broken bool
	}{
		{name: "good", answer: frame.AppendData(frame.AppendBlock(nil, ok, 0, 1), []byte("ok"), 1, 1), want: [2]int{1, 0}},
		{name: "status 404", answer: frame.AppendBlock(nil, []byte{0x8d}, 1, 1), want: [2]int{0, 1}},
		{name: "short body", answer: frame.AppendData(frame.AppendBlock(nil, ok, 0, 1), []byte("o"), 1, 1), want: [2]int{0, 1}},
		{name: "no status", answer: frame.AppendData(nil, []byte("ok"), 1, 1), want: [2]int{0, 1}},
		{name: "reset", answer: frame.Append(nil, []byte{0, 0, 0, 8}, frame.Reset, 0, 1), want: [2]int{0, 1}},
		{name: "goaway with an error", answer: frame.Append(nil, []byte{0, 0, 0, 0, 0, 0, 0, 1}, frame.GoAway, 0, 0), broken: true},
		{name: "goaway before the stream", answer: frame.Append(nil, make([]byte, 8), frame.GoAway, 0, 0), want: [2]int{0, 1}, broken: true},
		{name: "bad header block", answer: frame.AppendBlock(nil, []byte{0xff, 0xff, 0xff, 0xff, 0xff}, 1, 1), broken: true},
		{name: "push", answer: frame.Append(nil, nil, frame.PushPromise, 0, 1), broken: true},
		{name: "continuation of nothing", answer: frame.Append(nil, nil, frame.Continuation, 0, 1), broken: true},
		{name: "gRPC without status", grpc: true, answer: frame.AppendBlock(nil, grpc, 1, 1), want: [2]int{0, 1}},
		{name: "gRPC without message", grpc: true, answer: frame.AppendBlock(nil, status(grpc, "0"), 1, 1), want: [2]int{0, 1}},
		{name: "gRPC refused", grpc: true, answer: frame.AppendBlock(nil, status(grpc, "14"), 1, 1), want: [2]int{0, 1}},
		{
			name: "gRPC with a short message", grpc: true, want: [2]int{0, 1},
			answer: frame.AppendBlock(frame.AppendData(frame.AppendBlock(nil, grpc, 0, 1), []byte{0, 0, 0, 0, 3, 'o', 'k'}, 0, 1), status(nil, "0"), 1, 1),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var ends [2]int
			target := &Target{Method: "GET", Path: "/", Host: "h"}
			if !tt.grpc {
				target.Answer = 2
			}
			c, _ := newHTTP2(target, tt.grpc, newExpectation(target), count(&ends))
			feed(t, c, settings, 100, &ends)
			if broken := feed(t, c, tt.answer, 1000, &ends); broken != tt.broken || ends != tt.want {
				t.Errorf("got %v good and bad, broken %v; want %v, %v", ends, broken, tt.want, tt.broken)
			}
		})
	}
}

package http2_test

import (
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/http2"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// fixed answers with the same bytes each time.
type fixed struct {
	s  string
	at int
}

func (f *fixed) Read(p []byte) (int, error) {
	n := copy(p, f.s[f.at:])
	if f.at += n; f.at == len(f.s) {
		return n, io.EOF
	}
	return n, nil
}

func (f *fixed) Buffered() int {
	if f.at == len(f.s) {
		return -1
	}
	return len(f.s) - f.at
}
func (f *fixed) Close() error { return nil }

func origin(size int) handlerFunc {
	s := strings.Repeat("x", size)
	return func(w httpmsg.ResponseWriter, _ *httpmsg.Request) {
		res := httpmsg.Response{Status: 200, Body: &fixed{s: s}, ContentLength: int64(size)}
		res.Header.Add("content-type", "text/plain")
		res.Header.Add("server", "origin")
		_, _ = w.WriteResponse(&res)
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchmarkHop sends requests over conns connections with so many streams each,
// through a hop.
func benchmarkHop(b *testing.B, conns, streams, size int) {
	benchmarkOver(b, conns, streams, size, func(h httpmsg.Handler) *http2.ClientConn {
		return connect(b, http2.ServerOptions{}, http2.ClientOptions{}, h)
	})
}

func benchmarkOver(b *testing.B, conns, streams, size int, connected func(httpmsg.Handler) *http2.ClientConn) {
	var downs []*http2.ClientConn
	for range conns {
		downs = append(downs, connected(forward(connected(origin(size)))))
	}
	work := make(chan struct{}, conns*streams)
	done := make(chan struct{})
	for i := range conns * streams {
		c := downs[i%conns]
		go func() {
			defer func() { done <- struct{}{} }()
			buf := make([]byte, 64<<10)
			for range work {
				s, err := c.Open()
				if err != nil {
					b.Error(err)
					return
				}
				r := get("/path")
				r.Header.Fields = append(r.Header.Fields, httpmsg.Field{Name: "user-agent", Value: "bench/1.0"},
					httpmsg.Field{Name: "x-request-id", Value: "6f1d2b1c-74b6-9d3a-9d7a-0b3c6b1b2f3a"})
				res, err := s.RoundTrip(r, time.Time{})
				if err != nil {
					b.Error(err)
					return
				}
				for {
					if _, err := res.Body.Read(buf); err != nil {
						break
					}
				}
				s.Close()
			}
		}()
	}
	b.ReportAllocs()
	start := cpu()
	b.ResetTimer()
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	for range conns * streams {
		<-done
	}
	b.ReportMetric(float64((cpu()-start).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
}

func BenchmarkHop(b *testing.B) {
	b.Run("4x16", func(b *testing.B) { benchmarkHop(b, 4, 16, 1<<10) })
	b.Run("16x1", func(b *testing.B) { benchmarkHop(b, 16, 1, 1<<10) })
	b.Run("4x4-1MB", func(b *testing.B) { benchmarkHop(b, 4, 4, 1<<20) })
	b.Run("4x4-1MB-TLS", func(b *testing.B) {
		benchmarkOver(b, 4, 4, 1<<20, func(h httpmsg.Handler) *http2.ClientConn { return overTLS(b, h) })
	})
}

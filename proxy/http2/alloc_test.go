//go:build !race

package http2_test

import (
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/http2"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// An exchange through a hop has its strings decoded twice on the way up and twice on
// the way down; nothing else may be made for it.
func TestExchangeAllocations(t *testing.T) {
	up := connect(t, http2.ServerOptions{}, http2.ClientOptions{}, origin(100))
	down := connect(t, http2.ServerOptions{}, http2.ClientOptions{}, forward(up))
	r := get("/path")
	r.Header.Add("user-agent", "test")
	buf := make([]byte, 1<<10)
	allocs := testing.AllocsPerRun(2000, func() {
		s, err := down.Open()
		if err != nil {
			t.Fatal(err)
		}
		res, err := s.RoundTrip(r, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := res.Body.Read(buf); err != nil {
				break
			}
		}
		s.Close()
	})
	// The origin's body, response and fields, the closure over the watched stream, the
	// strings of content-length on both hops, and what a collection took from the pools.
	if allocs > 10 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestIdleConnectionsAreSmall(t *testing.T) {
	const conns = 200
	var downs []net.Conn
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := heap()
	for range conns {
		p, _, _ := downstream(t, http2.ServerOptions{}, handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) { ok200(w, nil) }))
		p.request(1, true)
		p.response(1)
		downs = append(downs, p.conn)
	}
	// The scripted downstream is counted, too. Workers go home after a moment.
	eventually(t, "16 KiB per connection", func() bool { return int64(heap()-before)/conns < 16<<10 })
	runtime.KeepAlive(downs)
}

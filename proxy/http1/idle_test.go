//go:build !race

package http1_test

import (
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/http1"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg/msgtest"
)

// maxIdleBytes is what an idle plain-text downstream connection may cost besides
// its socket: the codec and the goroutine.
const maxIdleBytes = 8 << 10

func TestIdleConnectionsAreSmall(t *testing.T) {
	const conns = 200
	var before, after runtime.MemStats
	used := func(m *runtime.MemStats) uint64 {
		measure(m)
		return m.HeapInuse + m.StackInuse
	}
	servers, ends := make([]net.Conn, conns), make([]net.Conn, conns)
	for i := range conns {
		servers[i], ends[i] = msgtest.Pipe(t)
	}
	start := used(&before)
	var serving sync.WaitGroup
	for i, down := range ends {
		serving.Go(func() { _ = http1.NewServerConn(servers[i], http1.ServerOptions{}).Serve(answerOK) })
		for range 2 {
			send(t, down, string(benchRequest))
			expect(t, down, okResponse)
		}
	}
	per := (int64(used(&after)) - int64(start)) / conns
	t.Logf("%d bytes per connection besides its socket: heap %d, stack %d", per,
		(int64(after.HeapInuse)-int64(before.HeapInuse))/conns, (int64(after.StackInuse)-int64(before.StackInuse))/conns)
	if per > maxIdleBytes {
		t.Errorf("%d bytes per idle connection, want at most %d", per, maxIdleBytes)
	}
	for _, c := range ends {
		_ = c.Close()
	}
	serving.Wait()
}

func measure(m *runtime.MemStats) {
	for range 3 { // pools need two collections, stacks one more
		runtime.GC()
	}
	runtime.ReadMemStats(m)
}

// What is not a socket, as a TLS session, has to be read to be waited for.
func TestSilentConnectionsHoldNoBufferWithoutSocket(t *testing.T) {
	const conns = 100
	synctest.Test(t, func(t *testing.T) {
		var before, after runtime.MemStats
		ends, done := make([]net.Conn, conns), make([]chan error, conns)
		for i := range conns {
			ends[i], _, done[i] = inMemory(http1.ServerOptions{}, answerOK)
		}
		talk := func() {
			for _, c := range ends {
				send(t, c, string(benchRequest))
				expect(t, c, okResponse)
			}
			synctest.Wait()
		}
		talk()
		measure(&before)
		time.Sleep(10 * time.Second)
		measure(&after)
		if per := (int64(before.HeapAlloc) - int64(after.HeapAlloc)) / conns; per < 3<<10 {
			t.Errorf("a silent connection gave %d bytes back, want its buffer", per)
		}
		talk()
		for i, c := range ends {
			_ = c.Close()
			if err := <-done[i]; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestIdleUpstreamConnectionsKeepNoHead(t *testing.T) {
	const conns = 50
	var before, after runtime.MemStats
	all, ends := make([]*http1.ClientConn, conns), make([]net.Conn, conns)
	for i := range conns {
		all[i], ends[i] = upstream(t)
	}
	measure(&before)
	for i, c := range all { // at the same time, so that none has the buffer of another
		send(t, ends[i], okResponse)
		res, err := c.RoundTrip(get(), time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(res.Body); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range all {
		c.Release()
	}
	measure(&after)
	if per := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / conns; per > 2<<10 {
		t.Errorf("%d bytes of heap per idle connection, want its buffer back", per)
	}
	runtime.KeepAlive(all)
}

//go:build !race

package http1_test

import (
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy/http1"
)

// maxIdleBytes is what an idle plain-text downstream connection may cost besides
// its socket: the codec and the goroutine.
const maxIdleBytes = 8 << 10

func TestIdleConnectionsAreSmall(t *testing.T) {
	const conns = 200
	var before, after runtime.MemStats
	used := func(m *runtime.MemStats) uint64 {
		for range 3 { // pools need two collections, stacks one more
			runtime.GC()
		}
		runtime.ReadMemStats(m)
		return m.HeapInuse + m.StackInuse
	}
	servers, ends := make([]net.Conn, conns), make([]net.Conn, conns)
	for i := range conns {
		servers[i], ends[i] = pipe(t)
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

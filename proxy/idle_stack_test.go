//go:build !race

package proxy_test

import (
	"bufio"
	"io"
	"runtime"
	"testing"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/mtls/mtlstest"
	"github.com/outrigger-mesh/outrigger/proxy"
)

// A stack shrinks by half when less than a quarter of it is in use: from 8 KiB, which an
// exchange needs, as long as waiting for the next one takes little.
func TestIdleConnectionsStandOnLittle(t *testing.T) {
	const conns, most = 200, 5 << 10
	for name, w := range map[string]*wires{
		"plain": {ca: mtlstest.NewCA(t, "mesh.test")}, "mTLS": {ca: mtlstest.NewCA(t, "mesh.test"), down: true},
	} {
		t.Run(name, func(t *testing.T) {
			h := proxy.NewHTTP(proxy.HTTPSpec{Direction: flow.Inbound})
			h.SetRoutes(rules{to(w.upstream(t, echoHead("")))})
			g := w.rig(t, h, newRecords())
			var before runtime.MemStats
			for range 3 { // stacks of tests before
				runtime.GC()
			}
			runtime.ReadMemStats(&before)
			for range conns {
				c := w.dial(t, g)
				_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")
				bodyOf(t, readResponse(t, bufio.NewReader(c), "GET"))
			}
			var per int64
			poll(t, "the stacks have shrunk", func() bool {
				var now runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&now)
				per = (int64(now.StackInuse) - int64(before.StackInuse)) / conns
				return per <= most
			})
			t.Logf("%d bytes of stack per connection", per)
		})
	}
}

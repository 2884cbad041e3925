package upstream_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// pipes dials in-memory connections to a peer that answers 200 after delay, and
// counts those that are open.
type pipes struct {
	connect time.Duration // how long a dial takes
	answer  time.Duration // how long a response takes
	field   string        // a further field of the response
	dialled atomic.Int64
	open    atomic.Int64
}

func (p *pipes) dial(ctx context.Context, _ netip.Addr, _ netip.AddrPort, _ upstream.KeepAlive) (net.Conn, error) {
	p.dialled.Add(1)
	if err := pause(ctx, p.connect); err != nil {
		return nil, err
	}
	ours, theirs := net.Pipe()
	p.open.Add(1)
	go p.serve(theirs)
	return ours, nil
}

func (p *pipes) serve(conn net.Conn) {
	defer p.open.Add(-1)
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	for {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		time.Sleep(p.answer)
		if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n"+p.field+"\r\nok"); err != nil {
			return
		}
	}
}

// pause sleeps until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cluster publishes a cluster over pipes, inside a synctest bubble.
func (p *pipes) cluster(t *testing.T, spec *upstream.Spec) (*upstream.Cluster, *lb.Endpoint) {
	t.Helper()
	c := upstream.New("bubble", upstream.Options{Dial: p.dial})
	c.Publish(spec, lb.NewSet(nil, []lb.EndpointSpec{{Addr: somewhere}}, spec.Policy))
	return c, pick(t, c)
}

var somewhere = netip.MustParseAddrPort("192.0.2.1:80")

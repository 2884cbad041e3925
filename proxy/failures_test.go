package proxy_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/mtls/mtlstest"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/upstream"
)

func TestFailedHandshakeWithTheEndpointSaysWhy(t *testing.T) {
	t.Parallel()
	w := &wires{ca: mtlstest.NewCA(t, "mesh.test"), up: true}
	plain := script(t, func(_ int, c net.Conn, r *bufio.Reader) {
		_, _ = r.ReadByte()
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
	})
	c := cluster(t, func(s *upstream.Spec) { s.Default = upstream.Socket{TLS: w.client(t, idProxy)} }, plain)
	g := httpRig(t, proxy.HTTPSpec{}, to(c))
	body := bodyOf(t, g.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n"))
	r := g.records.next(t)
	if strings.Contains(body, "TLS_error") || r.flags != "UF" ||
		!strings.HasPrefix(r.details, "upstream_reset_before_response_started{remote_connection_failure|TLS_error:") ||
		!strings.HasPrefix(r.Upstream.FailureReason, "TLS_error:") {
		t.Errorf("body %q, flags %s, details %q, reason %q", body, r.flags, r.details, r.Upstream.FailureReason)
	}
}

func TestConnectTimeoutIsEnvoys(t *testing.T) {
	t.Parallel()
	c := upstream.New("slow", upstream.Options{Dial: func(ctx context.Context, _ netip.Addr, _ netip.AddrPort, _ upstream.KeepAlive) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	spec := &upstream.Spec{Name: "slow", Kind: upstream.Static, ConnectTimeout: 30 * time.Millisecond}
	c.Publish(spec, lb.NewSet(nil, []lb.EndpointSpec{{Addr: netip.MustParseAddrPort("192.0.2.1:80"), Weight: 1}}, spec.Policy))
	g := httpRig(t, proxy.HTTPSpec{}, to(c))
	resp := g.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
	r := g.records.next(t)
	if got := bodyOf(t, resp); resp.StatusCode != 503 || !strings.HasSuffix(got, "reset reason: connection timeout") || r.flags != "UF" ||
		r.details != "upstream_reset_before_response_started{connection_timeout}" {
		t.Errorf("got %d %q, flags %s, details %s", resp.StatusCode, got, r.flags, r.details)
	}
}

type pending struct{}

func (pending) Match(*httpmsg.Request, uint64) (*proxy.Rule, bool) { return nil, false }
func (pending) Pending() bool                                      { return true }

func TestRoutesThatHaveNotArrivedAreNamed(t *testing.T) {
	t.Parallel()
	for _, routes := range []proxy.Routes{nil, pending{}} {
		rec := newRecords()
		h := proxy.NewHTTP(proxy.HTTPSpec{Observers: []flow.Observer{rec}})
		h.SetRoutes(routes)
		resp := newRig(t, h, rec).ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
		if r := rec.next(t); resp.StatusCode != 404 || r.flags != "NR" || r.details != "route_configuration_not_found" {
			t.Errorf("got %d, flags %s, details %s", resp.StatusCode, r.flags, r.details)
		}
	}
}

// TestOriginalDestinationIsNeverOurOwnSocket: a cluster that follows the original
// destination must not dial the proxy itself where nothing was captured.
func TestOriginalDestinationIsNeverOurOwnSocket(t *testing.T) {
	t.Parallel()
	c := upstream.New("PassthroughCluster", upstream.Options{})
	c.Publish(&upstream.Spec{Name: "PassthroughCluster", Kind: upstream.OriginalDst}, nil)
	rec := newRecords()
	g := newRig(t, proxy.NewTCP(proxy.TCPSpec{Clusters: []proxy.WeightedCluster{{Cluster: c}}, Observers: []flow.Observer{rec}}), rec)
	if got, err := readAll(t, g.addr); got != "" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if r := rec.next(t); r.flags != "UH" || g.listener.Stats.Total.Load() != 1 {
		t.Errorf("flags %s, %d connections", r.flags, g.listener.Stats.Total.Load())
	}
}

func TestStatusThatIsRetriedUntilTheLimitIsPassedOn(t *testing.T) {
	t.Parallel()
	rule := to(cluster(t, nil, script(t, answer("HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy"))))
	rule.Retry = &proxy.Retry{On: proxy.RetryOn5xx, Max: 2, BackoffBase: time.Millisecond}
	g := httpRig(t, proxy.HTTPSpec{}, rule)
	resp := g.ask("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc")
	r := g.records.next(t)
	if resp.StatusCode != 503 || bodyOf(t, resp) != "busy" || r.flags != "URX" || r.details != "via_upstream" || r.Upstream.Attempts != 3 {
		t.Errorf("got %d, flags %s, details %s after %d attempts", resp.StatusCode, r.flags, r.details, r.Upstream.Attempts)
	}
}

func TestBodyTooLargeToKeepIsForwardedOnce(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	sums := make(chan [32]byte, 2)
	addr := script(t, func(_ int, c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		sum, _, _ := digest(req.Body)
		sums <- sum
		_, _ = io.WriteString(c, "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")
	})
	rule := to(cluster(t, nil, addr))
	rule.Retry = &proxy.Retry{On: proxy.RetryOn5xx, Max: 2, BackoffBase: time.Millisecond}
	g := httpRig(t, proxy.HTTPSpec{}, rule)
	c := g.dial()
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3145728\r\n\r\n")
	_, _ = io.Copy(c, pattern(size, 7))
	resp := readResponse(t, bufio.NewReader(c), "POST")
	r := g.records.next(t)
	if resp.StatusCode != 503 || r.Upstream.Attempts != 1 || r.Request.Bytes != size {
		t.Errorf("got %d after %d attempts and %d bytes", resp.StatusCode, r.Upstream.Attempts, r.Request.Bytes)
	}
	if want, _, _ := digest(pattern(size, 7)); <-sums != want {
		t.Error("upstream got another body")
	}
}

package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/outlier"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// watched is a round robin over the addresses that ejects after three failures.
func watched(t *testing.T, edit func(*outlier.Config, *upstream.Spec), addrs ...string) *upstream.Cluster {
	t.Helper()
	return cluster(t, func(s *upstream.Spec) {
		c := outlier.Defaults()
		c.MaxPercent, c.Consecutive = 100, [3]uint32{3, 0, 3}
		s.Outliers, s.Policy = &c, lb.Policy{Kind: lb.RoundRobin}
		if edit != nil {
			edit(&c, s)
		}
	}, addrs...)
}

func statOf(c *upstream.Cluster, name string) (v uint64) {
	c.EachStat(func(n string, value uint64, _ bool) {
		if n == name {
			v = value
		}
	})
	return v
}

// TestOutcomesOfAttemptsEject sends six requests to two endpoints, of which the first
// fails in some way.
func TestOutcomesOfAttemptsEject(t *testing.T) {
	t.Parallel()
	silent := func(_ int, _ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) }
	const grpc = "content-type: application/grpc\r\n"
	status := func(code int, fields ...string) func(int, net.Conn, *bufio.Reader) {
		return answer("HTTP/1.1 " + strconv.Itoa(code) + " X\r\ncontent-length: 0\r\n" + strings.Join(fields, "") + "\r\n")
	}
	for _, tt := range []struct {
		name    string
		play    func(int, net.Conn, *bufio.Reader) // nil refuses connections
		fields  string
		timeout time.Duration
		edit    func(*outlier.Config, *upstream.Spec)
		ejected bool
		counter string
	}{
		{name: "500", play: status(500), ejected: true, counter: "consecutive_5xx"},
		{name: "404", play: status(404)},
		{name: "refused", ejected: true, counter: "consecutive_5xx"},
		{name: "closes", play: func(_ int, _ net.Conn, r *bufio.Reader) { _, _ = http.ReadRequest(r) }, ejected: true, counter: "consecutive_5xx"},
		{name: "garbage", play: answer("what?\r\n\r\n"), ejected: true, counter: "consecutive_5xx"},
		{name: "breaks off", play: func(_ int, c net.Conn, r *bufio.Reader) {
			_, _ = http.ReadRequest(r)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
		}},
		{name: "silent", play: silent, timeout: 50 * time.Millisecond, ejected: true, counter: "consecutive_5xx"},
		{name: "gRPC's status in the head", play: status(200, grpc, "grpc-status: 14\r\n"), fields: grpc, ejected: true, counter: "consecutive_5xx"},
		{name: "gRPC's status of no failure", play: status(200, grpc, "grpc-status: 5\r\n"), fields: grpc},
		{name: "gRPC's status to who does not speak it", play: status(200, grpc, "grpc-status: 14\r\n")},
		{name: "what the cluster calls an error", play: status(418), ejected: true, counter: "consecutive_5xx", edit: func(_ *outlier.Config, s *upstream.Spec) {
			s.HTTP.IsError = func(r *httpmsg.Response) bool { return r.Status == 418 }
		}},
		{name: "what the cluster calls none", play: status(500), edit: func(_ *outlier.Config, s *upstream.Spec) {
			s.HTTP.IsError = func(r *httpmsg.Response) bool { return r.Status == 418 }
		}},
		{name: "refused, counted apart", ejected: true, counter: "consecutive_local_origin_failure", edit: func(c *outlier.Config, _ *upstream.Spec) { c.Split = true }},
		{name: "500 of a connection that holds, counted apart", play: status(500), ejected: true, counter: "consecutive_5xx", edit: func(c *outlier.Config, _ *upstream.Spec) { c.Split = true }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bad := closedPort(t)
			if tt.play != nil {
				bad = script(t, tt.play)
			}
			c := watched(t, tt.edit, bad, script(t, answer(hello)))
			rule := to(c)
			rule.Timeout = tt.timeout
			g := httpRig(t, proxy.HTTPSpec{}, rule)
			for range 6 {
				conn := g.dial()
				_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n"+tt.fields+"\r\n")
				_, _ = io.Copy(io.Discard, conn)
				g.records.next(t)
			}
			if got := c.Endpoints().Endpoints()[0].Ejected(); got != tt.ejected {
				t.Errorf("ejected %v, want %v", got, tt.ejected)
			}
			if tt.ejected && statOf(c, "outlier_detection.ejections_enforced_"+tt.counter) != 1 {
				t.Errorf("%s is %d", tt.counter, statOf(c, "outlier_detection.ejections_enforced_"+tt.counter))
			}
			if !tt.ejected {
				return
			}
			for range 4 {
				if resp := g.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n"); bodyOf(t, resp) != "hello" {
					t.Errorf("got %d from the endpoint that was ejected", resp.StatusCode)
				}
			}
			if healthy := statOf(c, "membership_healthy"); healthy != 1 {
				t.Errorf("%d healthy", healthy)
			}
		})
	}
}

func TestEveryAttemptOfARequestIsJudged(t *testing.T) {
	t.Parallel()
	c := watched(t, nil, script(t, answer("HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n")), script(t, answer("HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n")))
	rule := to(c)
	rule.Retry = &proxy.Retry{On: proxy.RetryOn5xx, Max: 5, BackoffBase: time.Millisecond}
	g := httpRig(t, proxy.HTTPSpec{}, rule)
	resp := g.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
	if active := statOf(c, "outlier_detection.ejections_active"); resp.StatusCode != 503 || active != 2 {
		t.Errorf("got %d and %d ejected after six attempts", resp.StatusCode, active)
	}
	if resp := g.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n"); bodyOf(t, resp) != "no healthy upstream" {
		t.Errorf("got %d with all ejected and no panic", resp.StatusCode)
	}
}

func TestEjectionsOutliveUpdates(t *testing.T) {
	t.Parallel()
	bad, good := script(t, answer("HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n")), script(t, answer(hello))
	c := watched(t, nil, bad, good)
	g := httpRig(t, proxy.HTTPSpec{}, to(c))
	for range 6 {
		g.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
	}
	all := func(what string) {
		t.Helper()
		for range 6 {
			if resp := g.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n"); resp.StatusCode != 200 {
				t.Fatalf("%s: got %d", what, resp.StatusCode)
			}
		}
	}
	all("ejected")
	addEndpoint(t, c, script(t, answer(hello)))
	all("another endpoint")
	spec := *c.Spec()
	spec.ConnectTimeout = time.Second
	c.Publish(&spec, c.Endpoints().With(spec.Policy))
	all("another configuration of the cluster")
	if active := statOf(c, "outlier_detection.ejections_active"); active != 1 {
		t.Errorf("%d are ejected", active)
	}
	c.PublishEndpoints(lb.NewSet(c.Endpoints(), []lb.EndpointSpec{*c.Endpoints().Endpoints()[1].Spec()}, spec.Policy))
	if active := statOf(c, "outlier_detection.ejections_active"); active != 0 {
		t.Errorf("%d are ejected of those that are left", active)
	}
}

func TestConnectionsOfTCPAreJudged(t *testing.T) {
	t.Parallel()
	c := watched(t, nil, closedPort(t), script(t, func(_ int, c net.Conn, _ *bufio.Reader) { _, _ = io.WriteString(c, "hello") }))
	rec := newRecords()
	g := newRig(t, proxy.NewTCP(proxy.TCPSpec{Clusters: []proxy.WeightedCluster{{Cluster: c, Weight: 1}}, Observers: []flow.Observer{rec}}), rec)
	for range 10 {
		conn := g.dial()
		b, _ := io.ReadAll(conn)
		_ = conn.Close()
		r := rec.next(t)
		if string(b) != "hello" && r.flags != "UF,URX" {
			t.Errorf("got %q with %s", b, r.flags)
		}
	}
	if !c.Endpoints().Endpoints()[0].Ejected() || c.Endpoints().Endpoints()[1].Ejected() {
		t.Error("not the endpoint that refuses connections was ejected")
	}
}

package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// echoServer answers a POST with its own body, as it comes.
func echoServer(t *testing.T, version int, seen chan<- *http.Request) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Protocols: protocols(version, false), ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r
		out := http.NewResponseController(w)
		_ = out.EnableFullDuplex() // HTTP/2 always is
		w.WriteHeader(http.StatusOK)
		_ = out.Flush()
		b := make([]byte, 4096)
		for {
			n, err := r.Body.Read(b)
			_, _ = w.Write(b[:n])
			_ = out.Flush()
			if err != nil {
				return
			}
		}
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return l.Addr().String()
}

// tunnelling is a TCP proxy that goes through an HTTP proxy.
func tunnelling(t *testing.T, spec proxy.TCPSpec, way proxy.TCPTunnel, via *upstream.Cluster) *rig {
	t.Helper()
	rec := newRecords()
	spec.Observers, spec.Tunnel = append(spec.Observers, rec), &way
	spec.Clusters = []proxy.WeightedCluster{{Cluster: via, Weight: 1}}
	return newRig(t, proxy.NewTCP(spec), rec)
}

func speaking(version int) func(*upstream.Spec) {
	return func(s *upstream.Spec) {
		if version == 2 {
			s.HTTP.Protocol = upstream.HTTP2
		}
	}
}

func TestBytesPassThroughAnHTTPProxy(t *testing.T) {
	t.Parallel()
	for _, version := range []int{1, 2} {
		for _, post := range []bool{false, true} {
			t.Run(map[bool]string{false: "CONNECT", true: "POST"}[post]+" over HTTP/"+string(rune('0'+version)), func(t *testing.T) {
				t.Parallel()
				way := proxy.TCPTunnel{Target: "db.example:5432", Post: post, Path: "/tunnel", Header: []httpmsg.Field{{Name: "x-key", Value: "k"}}}
				seen := make(chan *http.Request, 1)
				var last *rig
				via := ""
				if post {
					via = echoServer(t, version, seen)
				} else {
					last = httpRig(t, proxy.HTTPSpec{}, terminating(cluster(t, nil, echo(t))))
					via = last.addr
				}
				g := tunnelling(t, proxy.TCPSpec{}, way, cluster(t, speaking(version), via))
				c := g.dial()
				r := bufio.NewReader(c)
				tells(t, c, r, "hello")
				tells(t, c, r, strings.Repeat("x", 60_000))
				_ = c.(*net.TCPConn).CloseWrite()
				if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
					t.Errorf("after our end: %q, %v", rest, err)
				}
				rec := g.records.next(t)
				if rec.Request.Bytes != 60_005 || rec.Response.Bytes != 60_005 || rec.flags != "-" || rec.Upstream.Cluster == "" || !rec.Upstream.Local.IsValid() {
					t.Errorf("recorded %d up, %d down, %s, %+v", rec.Request.Bytes, rec.Response.Bytes, rec.flags, rec.Upstream)
				}
				if post {
					if q := <-seen; q.Host != "db.example:5432" || q.URL.Path != "/tunnel" || q.Header.Get("x-key") != "k" {
						t.Errorf("asked for %s %s %v", q.Host, q.URL, q.Header)
					}
					return
				}
				if q := last.records.next(t); q.method != "CONNECT" || q.authority != "db.example:5432" || q.header.Value("x-key") != "k" {
					t.Errorf("asked for %s %s %v", q.method, q.authority, q.header)
				}
			})
		}
	}
}

func TestAProxyThatRefusesTheTunnelIsTriedAgain(t *testing.T) {
	t.Parallel()
	g := tunnelling(t, proxy.TCPSpec{MaxConnectAttempts: 2}, proxy.TCPTunnel{Target: "a:1"}, cluster(t, nil, script(t, answer("HTTP/1.1 407 No\r\ncontent-length: 2\r\n\r\nno"))))
	if rest, _ := io.ReadAll(g.dial()); len(rest) > 0 {
		t.Errorf("got %q", rest)
	}
	rec := g.records.next(t)
	if rec.flags != "UF,URX" || rec.Upstream.Attempts != 2 || rec.Upstream.FailureReason != "tunnel refused with status 407" {
		t.Errorf("recorded %s, %d attempts, %q", rec.flags, rec.Upstream.Attempts, rec.Upstream.FailureReason)
	}
}

func TestTunnelsOfTCPChainsEndByTheClock(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want, flags string
		post              bool
		spec              proxy.TCPSpec
	}{
		{"idle", "idle_timeout", "-", false, proxy.TCPSpec{IdleTimeout: patience}},
		{"idle POST", "idle_timeout", "-", true, proxy.TCPSpec{IdleTimeout: patience}},
		{"too old", "max_connection_duration_reached", "DT", false, proxy.TCPSpec{MaxDuration: patience}},
		{"too old POST", "max_connection_duration_reached", "DT", true, proxy.TCPSpec{MaxDuration: patience}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			via := ""
			if tt.post {
				via = echoServer(t, 1, make(chan *http.Request, 1))
			} else {
				via = httpRig(t, proxy.HTTPSpec{}, terminating(cluster(t, nil, echo(t)))).addr
			}
			g := tunnelling(t, tt.spec, proxy.TCPTunnel{Target: "a:1", Post: tt.post, Path: "/"}, cluster(t, nil, via))
			c := g.dial()
			tells(t, c, c, "hello")
			_, _ = io.ReadAll(c) // how it ends does not matter
			if rec := g.records.next(t); rec.Termination != tt.want || rec.flags != tt.flags || rec.Request.Bytes != 5 {
				t.Errorf("recorded %q, %s, %d up", rec.Termination, rec.flags, rec.Request.Bytes)
			}
		})
	}
}

func TestClosingTheListenersEndsTunnels(t *testing.T) {
	t.Parallel()
	via := httpRig(t, proxy.HTTPSpec{}, terminating(cluster(t, nil, echo(t))))
	g := tunnelling(t, proxy.TCPSpec{}, proxy.TCPTunnel{Target: "a:1"}, cluster(t, nil, via.addr))
	c := g.dial()
	tells(t, c, c, "hello")
	g.listeners.Close()
	if rec := g.records.next(t); rec.Termination != "local_close" {
		t.Errorf("recorded %q", rec.Termination)
	}
}

package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/mtls"
	"github.com/outrigger-mesh/outrigger/mtls/mtlstest"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// lane is one cell of the matrix: the HTTP version of either side, plain or over
// mutual TLS.
type lane struct {
	down, up int // 1 or 2
	tls      bool
	ca       *mtlstest.CA
}

// forEachProtocol runs a test over {HTTP/1.1, HTTP/2} downstream × the same upstream
// × {plain, mTLS}.
func forEachProtocol(t *testing.T, f func(t *testing.T, l *lane)) {
	t.Helper()
	ca := mtlstest.NewCA(t, "mesh.test")
	for _, over := range []bool{false, true} {
		for _, down := range []int{1, 2} {
			for _, up := range []int{1, 2} {
				name := fmt.Sprintf("HTTP %d to %d %s", down, up, map[bool]string{false: "plain", true: "mTLS"}[over])
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					f(t, &lane{down: down, up: up, tls: over, ca: ca})
				})
			}
		}
	}
}

func (l *lane) server(t testing.TB, id string) *mtls.Server {
	t.Helper()
	s, err := mtls.NewServer(mtls.ServerSpec{
		Cert: mtlstest.Secret("default", l.ca.Issue(id, time.Hour)), Roots: mtlstest.Secret("ROOTCA", l.ca.Trust()),
		RequireClientCert: true, ALPN: []string{"h2", "http/1.1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (l *lane) client(t testing.TB, id string, version int) *mtls.Client {
	t.Helper()
	alpn := map[int][]string{1: {"istio-http/1.1", "istio", "http/1.1"}, 2: {"istio-h2", "istio", "h2"}}[version]
	c, err := mtls.NewClient(mtls.ClientSpec{
		Cert: mtlstest.Secret("default", l.ca.Issue(id, time.Hour)), Roots: mtlstest.Secret("ROOTCA", l.ca.Trust()),
		SNI: "outbound_.80_._.test", ALPN: alpn,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// protocols is what a server or a client of the standard library speaks.
func protocols(version int, over bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(version == 1)
	p.SetHTTP2(version == 2 && over)
	p.SetUnencryptedHTTP2(version == 2 && !over)
	return p
}

// tlsListener ends TLS on what it accepts.
type tlsListener struct {
	net.Listener
	server *mtls.Server
	conns  chan net.Conn
	done   chan struct{}
	once   sync.Once
}

func newTLSListener(l net.Listener, s *mtls.Server) *tlsListener {
	tl := &tlsListener{Listener: l, server: s, conns: make(chan net.Conn), done: make(chan struct{})}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				tc, _, err := s.Handshake(context.Background(), c)
				if err != nil {
					_ = c.Close()
					return
				}
				select {
				case tl.conns <- tc:
				case <-tl.done:
					_ = c.Close()
				}
			}()
		}
	}()
	return tl
}

// Accept implements net.Listener.
func (l *tlsListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *tlsListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// upstream serves a handler, in the lane's version.
func (l *lane) upstream(t testing.TB, h http.HandlerFunc, edit func(*upstream.Spec)) *upstream.Cluster {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	if l.tls {
		ln = newTLSListener(ln, l.server(t, idUp))
	}
	server := &http.Server{Handler: h, Protocols: protocols(l.up, l.tls), ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	return cluster(t, func(s *upstream.Spec) {
		if l.up == 2 {
			s.HTTP.Protocol = upstream.HTTP2
		}
		if l.tls {
			s.Default = upstream.Socket{Name: "tls", TLS: l.client(t, idProxy, l.up)}
		}
		if edit != nil {
			edit(s)
		}
	}, addr)
}

// rig serves an HTTP handler behind the lane's downstream side.
func (l *lane) rig(t testing.TB, spec proxy.HTTPSpec, rule *proxy.Rule) *rig {
	t.Helper()
	rec := newRecords()
	spec.Observers = append(spec.Observers, rec)
	h := proxy.NewHTTP(spec)
	h.SetRoutes(rules{rule})
	if !l.tls {
		return newRig(t, h, rec)
	}
	chain := &proxy.Chain{Name: "mtls", Handler: h, TLS: l.server(t, idProxy), Criteria: proxy.Criteria{
		TransportProtocol: proxy.TransportTLS, ApplicationProtocols: []string{"istio-http/1.1", "istio-h2"},
	}}
	set, err := proxy.NewChainSet([]*proxy.Chain{chain}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return newRigSpec(t, &proxy.ListenerSpec{
		Name: "virtualInbound", Direction: flow.Inbound, Address: loopback, Bind: true, Chains: set, Inspect: proxy.Inspect{TLS: true},
	}, rec)
}

// downstream is a client of the rig in the lane's version.
func (l *lane) downstream(t testing.TB, g *rig) *http.Client {
	t.Helper()
	tr := &http.Transport{Protocols: protocols(l.down, l.tls), DisableCompression: true, ExpectContinueTimeout: 5 * time.Second}
	if l.tls {
		tr.ForceAttemptHTTP2 = l.down == 2
		client := l.client(t, idDown, l.down)
		tr.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			tc, _, err := client.Handshake(ctx, c)
			if err != nil {
				_ = c.Close()
				return nil, err
			}
			return tc, nil
		}
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

func (l *lane) url(g *rig, path string) string {
	if l.tls {
		return "https://" + g.addr + path
	}
	return "http://" + g.addr + path
}

// ask sends a request and reads the whole answer.
func (l *lane) ask(t testing.TB, c *http.Client, r *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read body: %v", err)
	}
	_ = resp.Body.Close()
	return resp, string(b)
}

func newRequest(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRequestsPassInEveryVersion(t *testing.T) {
	t.Parallel()
	forEachProtocol(t, func(t *testing.T, l *lane) {
		c := l.upstream(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("x-proto", r.Proto)
			w.Header().Set("x-host", r.Host)
			w.Header().Set("x-cookie", r.Header.Get("cookie"))
			w.Header()["X-Twice"] = []string{"a", "b"}
			b, _ := io.ReadAll(r.Body)
			_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.URL, b)
		}, nil)
		g := l.rig(t, proxy.HTTPSpec{}, to(c))
		client := l.downstream(t, g)
		for range 3 {
			r := newRequest(t, http.MethodPost, l.url(g, "/a?b=c"), strings.NewReader("hello"))
			r.Host = "shop.test"
			r.Header.Set("cookie", "a=1; b=2")
			resp, body := l.ask(t, client, r)
			if resp.StatusCode != 200 || body != "POST /a?b=c hello" {
				t.Errorf("got %d %q", resp.StatusCode, body)
			}
			if got, want := resp.Header.Get("x-proto"), map[int]string{1: "HTTP/1.1", 2: "HTTP/2.0"}[l.up]; got != want {
				t.Errorf("upstream got %s, want %s", got, want)
			}
			if resp.ProtoMajor != l.down || resp.Header.Get("x-host") != "shop.test" || resp.Header.Get("x-cookie") != "a=1; b=2" {
				t.Errorf("got %s, %v", resp.Proto, resp.Header)
			}
			if got := strings.Join(resp.Header["X-Twice"], ","); got != "a,b" {
				t.Errorf("got %q", got)
			}
			rec := g.records.next(t)
			if want := map[int]string{1: "HTTP/1.1", 2: "HTTP/2"}[l.down]; rec.Request.Protocol != want {
				t.Errorf("recorded %s, want %s", rec.Request.Protocol, want)
			}
			if rec.Response.Status != 200 || rec.flags != "-" || rec.details != "via_upstream" || rec.Request.Bytes != 5 {
				t.Errorf("recorded %d %s %s %d", rec.Response.Status, rec.flags, rec.details, rec.Request.Bytes)
			}
		}
	})
}

func TestLargeBodiesPassInEveryVersion(t *testing.T) {
	t.Parallel()
	size := int64(4 << 20)
	if raceEnabled {
		size = 256 << 10
	}
	forEachProtocol(t, func(t *testing.T, l *lane) {
		c := l.upstream(t, func(w http.ResponseWriter, r *http.Request) {
			sum, n, err := digest(r.Body)
			w.Header().Set("x-sum", fmt.Sprintf("%x %d %v", sum, n, err))
			_, _ = io.Copy(w, pattern(size, 3))
		}, nil)
		g := l.rig(t, proxy.HTTPSpec{}, to(c))
		client := l.downstream(t, g)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				r := newRequest(t, http.MethodPost, l.url(g, "/"), pattern(size, 5))
				resp, err := client.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				sum, _, _ := digest(pattern(size, 5))
				if got, want := resp.Header.Get("x-sum"), fmt.Sprintf("%x %d <nil>", sum, size); got != want {
					t.Errorf("upstream got %s, want %s", got, want)
				}
				got, n, err := digest(resp.Body)
				if want, _, _ := digest(pattern(size, 3)); got != want || err != nil {
					t.Errorf("downstream got %d bytes, %v", n, err)
				}
			})
		}
		wg.Wait()
	})
}

func TestBodilessAnswersInEveryVersion(t *testing.T) {
	t.Parallel()
	forEachProtocol(t, func(t *testing.T, l *lane) {
		c := l.upstream(t, func(w http.ResponseWriter, r *http.Request) {
			status, _ := strconv.Atoi(r.URL.Query().Get("status"))
			if r.Method == http.MethodHead {
				w.Header().Set("content-length", "1234")
			}
			w.WriteHeader(status)
		}, nil)
		g := l.rig(t, proxy.HTTPSpec{}, to(c))
		client := l.downstream(t, g)
		for _, tc := range []struct {
			method string
			status int
		}{{"GET", 204}, {"GET", 304}, {"HEAD", 200}, {"DELETE", 204}, {"GET", 200}, {"GET", 503}} {
			resp, body := l.ask(t, client, newRequest(t, tc.method, l.url(g, "/?status="+strconv.Itoa(tc.status)), nil))
			if resp.StatusCode != tc.status || body != "" {
				t.Errorf("%s: got %d %q, want %d", tc.method, resp.StatusCode, body, tc.status)
			}
			if tc.method == "HEAD" && resp.ContentLength != 1234 {
				t.Errorf("HEAD: got length %d", resp.ContentLength)
			}
		}
	})
}

func TestExpectContinueInEveryVersion(t *testing.T) {
	t.Parallel()
	forEachProtocol(t, func(t *testing.T, l *lane) {
		c := l.upstream(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			_, _ = w.Write(b)
		}, nil)
		g := l.rig(t, proxy.HTTPSpec{}, to(c))
		r := newRequest(t, http.MethodPost, l.url(g, "/"), strings.NewReader("patience"))
		r.Header.Set("expect", "100-continue")
		if resp, body := l.ask(t, l.downstream(t, g), r); resp.StatusCode != 200 || body != "patience" {
			t.Errorf("got %d %q", resp.StatusCode, body)
		}
	})
}

func TestAnswerBeforeTheUploadEndsInEveryVersion(t *testing.T) {
	t.Parallel()
	forEachProtocol(t, func(t *testing.T, l *lane) {
		c := l.upstream(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("connection", "close")
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}, nil)
		g := l.rig(t, proxy.HTTPSpec{}, to(c))
		client := l.downstream(t, g)
		resp, err := client.Do(newRequest(t, http.MethodPost, l.url(g, "/"), io.LimitReader(pattern(256<<20, 1), 256<<20)))
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode != 413 {
				t.Errorf("got %d", resp.StatusCode)
			}
		}
		rec := g.records.next(t)
		if rec.Response.Status != 413 && rec.Response.Status != 503 {
			t.Errorf("recorded %d %s %s", rec.Response.Status, rec.flags, rec.details)
		}
	})
}

func TestTimeoutInEveryVersion(t *testing.T) {
	t.Parallel()
	forEachProtocol(t, func(t *testing.T, l *lane) {
		c := l.upstream(t, func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-time.After(10 * time.Second):
			}
		}, nil)
		rule := to(c)
		rule.Timeout = 50 * time.Millisecond
		g := l.rig(t, proxy.HTTPSpec{}, rule)
		resp, body := l.ask(t, l.downstream(t, g), newRequest(t, http.MethodGet, l.url(g, "/"), nil))
		rec := g.records.next(t)
		if resp.StatusCode != 504 || body != "upstream request timeout" || rec.flags != "UT" || rec.details != "response_timeout" {
			t.Errorf("got %d %q %s %s", resp.StatusCode, body, rec.flags, rec.details)
		}
	})
}

func TestLeavingDownstreamEndsItsExchangeAloneInEveryVersion(t *testing.T) {
	t.Parallel()
	forEachProtocol(t, func(t *testing.T, l *lane) {
		arrived, left := make(chan struct{}, 1), make(chan struct{}, 1)
		c := l.upstream(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/quick" {
				_, _ = io.WriteString(w, "ok")
				return
			}
			arrived <- struct{}{}
			<-r.Context().Done()
			left <- struct{}{}
		}, nil)
		g := l.rig(t, proxy.HTTPSpec{}, to(c))
		client := l.downstream(t, g)
		ctx, leave := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			r, _ := http.NewRequestWithContext(ctx, http.MethodGet, l.url(g, "/slow"), nil)
			resp, err := client.Do(r)
			if err == nil {
				_ = resp.Body.Close()
			}
			done <- err
		}()
		<-arrived
		leave()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		select {
		case <-left:
		case <-time.After(time.Minute):
			t.Error("the upstream was not told")
		}
		rec := g.records.next(t)
		if rec.Response.Status != 0 || rec.flags != "DC" && rec.flags != "DR" {
			t.Errorf("recorded %d %s %s", rec.Response.Status, rec.flags, rec.details)
		}
		if resp, body := l.ask(t, client, newRequest(t, http.MethodGet, l.url(g, "/quick"), nil)); resp.StatusCode != 200 || body != "ok" {
			t.Errorf("afterwards: got %d %q", resp.StatusCode, body)
		}
	})
}

func TestBrokenResponseIsNotTakenForAWholeOneInAnyVersion(t *testing.T) {
	t.Parallel()
	forEachProtocol(t, func(t *testing.T, l *lane) {
		c := l.upstream(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, nil)
		g := l.rig(t, proxy.HTTPSpec{}, to(c))
		resp, err := l.downstream(t, g).Do(newRequest(t, http.MethodGet, l.url(g, "/"), nil))
		if err == nil {
			b, readErr := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if readErr == nil {
				t.Errorf("got %q as a whole response", b)
			}
		}
		if rec := g.records.next(t); rec.flags != "UC" && rec.flags != "UR" && rec.flags != "UPE" {
			t.Errorf("recorded %s %s", rec.flags, rec.details)
		}
	})
}

func TestManyExchangesAtOnceInEveryVersion(t *testing.T) {
	t.Parallel()
	forEachProtocol(t, func(t *testing.T, l *lane) {
		c := l.upstream(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			_, _ = w.Write(b)
			_, _ = io.WriteString(w, r.URL.Path)
		}, nil)
		g := l.rig(t, proxy.HTTPSpec{}, to(c))
		client := l.downstream(t, g)
		var wg sync.WaitGroup
		for n := range 20 {
			wg.Go(func() {
				for k := range 20 {
					body := bytes.Repeat([]byte{byte('a' + n)}, n*k*37)
					path := fmt.Sprintf("/%d/%d", n, k)
					r := newRequest(t, http.MethodPost, l.url(g, path), bytes.NewReader(body))
					resp, err := client.Do(r)
					if err != nil {
						t.Error(err)
						return
					}
					got, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if err != nil || string(got) != string(body)+path {
						t.Errorf("%s: got %d bytes, %v", path, len(got), err)
					}
				}
			})
		}
		wg.Wait()
	})
}

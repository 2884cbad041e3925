package acceptance_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/echo"
)

// request makes a request with header fields given as name, value, name, ….
func request(t *testing.T, method, url string, body io.Reader, fields ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

// echoed reads a response of the echo application.
func echoed(t *testing.T, in *bufio.Reader) (*http.Response, *echo.Reply) {
	t.Helper()
	resp, body := answer(t, in, http.MethodGet)
	reply := new(echo.Reply)
	if err := unmarshal(body, reply); err != nil {
		t.Fatalf("got %d %q: %v", resp.StatusCode, body, err)
	}
	return resp, reply
}

// TestMeshHTTPThroughBothSidecars sends bytes by hand where a client library
// would hide something.
func TestMeshHTTPThroughBothSidecars(t *testing.T) {
	mesh := town(t)
	pods := mesh.Pods("client", "solo")
	client := pods[0]
	plain := mesh.PlainPod("plain")

	t.Run("keep-alive", func(t *testing.T) {
		c := dial(t, client, "solo:80")
		in := bufio.NewReader(c)
		var upstream uint64
		for n := 1; n <= 20; n++ {
			send(t, c, "GET /k HTTP/1.1\r\nHost: solo\r\n\r\n")
			resp, got := echoed(t, in)
			if resp.Close {
				t.Fatalf("request %d: the connection ends", n)
			}
			if n > 1 && got.Connection != upstream {
				t.Errorf("request %d: the application sees a new connection", n)
			}
			upstream = got.Connection
		}
	})
	t.Run("pipelined requests are answered in order", func(t *testing.T) {
		c := dial(t, client, "solo:80")
		in := bufio.NewReader(c)
		var b strings.Builder
		for n := range 10 {
			fmt.Fprintf(&b, "GET /%d?delay=%dms HTTP/1.1\r\nHost: solo\r\n\r\n", n, 20*(n%2))
		}
		send(t, c, b.String())
		for n := range 10 {
			if _, got := echoed(t, in); got.Path != fmt.Sprintf("/%d", n) {
				t.Fatalf("got %s as answer %d", got.Path, n)
			}
		}
	})
	t.Run("header order, repetition and lower case", func(t *testing.T) {
		c := dial(t, client, "solo:80")
		send(t, c, "GET /h HTTP/1.1\r\nHost: solo\r\nX-Zed: 1\r\nx-ALPHA:  a b \r\nAccept: */*\r\nX-Zed: 2\r\nCookie: a=1\r\nCookie: b=2\r\nX-Empty:\r\n\r\n")
		_, got := echoed(t, bufio.NewReader(c))
		var seen []string
		for _, h := range got.Headers {
			if h[0] != strings.ToLower(h[0]) {
				t.Errorf("the application sees %q", h[0])
			}
			if slices.Contains([]string{"x-zed", "x-alpha", "accept", "cookie", "x-empty"}, h[0]) {
				seen = append(seen, h[0]+"="+h[1])
			}
		}
		want := []string{"x-zed=1", "x-alpha=a b", "accept=*/*", "x-zed=2", "cookie=a=1", "cookie=b=2", "x-empty="}
		if !slices.Equal(seen, want) {
			t.Errorf("got %q, want %q", seen, want)
		}
		if got.Headers[0][0] != "host" {
			t.Errorf("got %q first, want host", got.Headers[0])
		}
	})
	t.Run("what the sidecars add and remove", func(t *testing.T) {
		c := dial(t, client, "solo:80")
		send(t, c, "GET /h HTTP/1.1\r\nHost: solo\r\nConnection: X-Nominated\r\nX-Nominated: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip, trailers\r\nX-Envoy-Internal: true\r\nX-Envoy-Peer-Metadata: forged\r\nX-Forwarded-Client-Cert: By=forged\r\n\r\n")
		resp, got := echoed(t, bufio.NewReader(c))
		one := func(name string) string {
			v := got.Header(name)
			if len(v) != 1 {
				t.Errorf("got %s %q, want one", name, v)
				return ""
			}
			return v[0]
		}
		if v := one("x-forwarded-proto"); v != "http" {
			t.Errorf("got x-forwarded-proto %q", v)
		}
		if v := one("x-request-id"); len(v) != 36 || v[14] != '4' && v[14] != '9' {
			t.Errorf("got x-request-id %q", v)
		}
		if v := one("x-envoy-attempt-count"); v != "1" {
			t.Errorf("got x-envoy-attempt-count %q", v)
		}
		xfcc := one("x-forwarded-client-cert")
		if strings.Contains(xfcc, "forged") || !strings.Contains(xfcc, "By="+pods[1].Identity()+";Hash=") || !strings.Contains(xfcc, ";URI="+client.Identity()) {
			t.Errorf("got x-forwarded-client-cert %q", xfcc)
		}
		for _, name := range []string{"connection", "x-nominated", "keep-alive", "proxy-connection", "x-envoy-internal", "x-envoy-peer-metadata", "x-envoy-peer-metadata-id", "x-forwarded-for", "x-envoy-expected-rq-timeout-ms", "x-envoy-decorator-operation", "upgrade", "transfer-encoding"} {
			if v := got.Header(name); len(v) != 0 {
				t.Errorf("the application sees %s: %q", name, v)
			}
		}
		if v := got.Header("te"); len(v) > 1 || len(v) == 1 && v[0] != "trailers" {
			t.Errorf("got te %q", v)
		}
		if resp.Header.Get("Server") != "envoy" && resp.Header.Get("Server") != "istio-envoy" && resp.Header.Get("Server") != "echo" {
			t.Errorf("got server %q", resp.Header["Server"])
		}
		if len(resp.Header["Date"]) != 1 || len(resp.Header["X-Envoy-Upstream-Service-Time"]) != 1 {
			t.Errorf("got response header %v", resp.Header)
		}
	})
	t.Run("a given request id is kept", func(t *testing.T) {
		const id = "11111111-2222-4333-8444-555555555555"
		r := client.Do(request(t, "GET", "http://solo/", nil, "X-Request-Id", id))
		if r.Echo == nil || !slices.Equal(r.Echo.Header("x-request-id"), []string{id}) {
			t.Errorf("got %+v", r.Echo)
		}
	})
	t.Run("absolute form", func(t *testing.T) {
		c := dial(t, client, "solo:80")
		send(t, c, "GET http://solo/abs?x=1 HTTP/1.1\r\nHost: liar.example\r\n\r\n")
		resp, got := echoed(t, bufio.NewReader(c))
		if resp.StatusCode != 200 || got.Target != "/abs?x=1" || got.Host != "solo" {
			t.Errorf("got %d, target %q, host %q", resp.StatusCode, got.Target, got.Host)
		}
	})
	t.Run("odd targets pass unchanged", func(t *testing.T) {
		for _, target := range []string{"/a%2Fb", "/a//b", "/?", "/x;y=z", "/%E2%82%AC?q=%00&r=a+b", "/a?b?c", "/" + strings.Repeat("long/", 2000)} {
			c := dial(t, client, "solo:80")
			send(t, c, "GET "+target+" HTTP/1.1\r\nHost: solo\r\n\r\n")
			if _, got := echoed(t, bufio.NewReader(c)); got.Target != target {
				t.Errorf("%.80s arrives as %.80s", target, got.Target)
			}
		}
	})
	t.Run("dot segments and backslashes are normalised", func(t *testing.T) {
		for target, want := range map[string]string{"/a/../b": "/b", "/a/./b": "/a/b", "/a/%2e%2e/b": "/b", `/a\b`: "/a/b", "/%41": "/A"} {
			c := dial(t, client, "solo:80")
			send(t, c, "GET "+target+" HTTP/1.1\r\nHost: solo\r\n\r\n")
			if _, got := echoed(t, bufio.NewReader(c)); got.Target != want {
				t.Errorf("%s arrives as %s, want %s", target, got.Target, want)
			}
		}
	})
	t.Run("methods", func(t *testing.T) {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "REPORT"} {
			r := client.Do(request(t, method, "http://solo/m", nil))
			if r.Echo == nil || r.Echo.Method != method {
				t.Errorf("%s: got %v", method, r)
			}
		}
	})
	t.Run("chunked request, trailers dropped", func(t *testing.T) {
		c := dial(t, client, "solo:80")
		send(t, c, "POST /c HTTP/1.1\r\nHost: solo\r\nTransfer-Encoding: Chunked\r\nTrailer: X-T\r\n\r\n4;ext=1\r\nWiki\r\n0005\r\npedia\r\n0\r\nX-T: v\r\n\r\n")
		in := bufio.NewReader(c)
		_, got := echoed(t, in)
		sum := sha256.Sum256([]byte("Wikipedia"))
		if got.BodyLength != 9 || got.BodySHA256 != hex.EncodeToString(sum[:]) || len(got.Trailers) != 0 {
			t.Errorf("got %d bytes, trailers %v", got.BodyLength, got.Trailers)
		}
		send(t, c, "GET /next HTTP/1.1\r\nHost: solo\r\n\r\n")
		if _, got := echoed(t, in); got.Path != "/next" {
			t.Errorf("got %s after the chunks", got.Path)
		}
	})
	t.Run("chunked response", func(t *testing.T) {
		c := dial(t, client, "solo:80")
		in := bufio.NewReader(c)
		for range 2 {
			send(t, c, "GET /?chunked=1&size=100000 HTTP/1.1\r\nHost: solo\r\n\r\n")
			resp, body := answer(t, in, "GET")
			want, err := io.ReadAll(echo.Pattern(100000))
			if err != nil || body != string(want) || !slices.Equal(resp.TransferEncoding, []string{"chunked"}) {
				t.Errorf("got %d bytes, %v", len(body), resp.TransferEncoding)
			}
		}
	})
	t.Run("bodiless responses keep the connection", func(t *testing.T) {
		c := dial(t, client, "solo:80")
		in := bufio.NewReader(c)
		for _, ask := range [][2]string{{"HEAD", "/?size=77"}, {"HEAD", "/?chunked=1"}, {"GET", "/?status=204"}, {"GET", "/?status=304"}, {"GET", "/?size=0"}, {"POST", "/?status=204"}} {
			length := ""
			if ask[0] == "POST" {
				length = "Content-Length: 3\r\n\r\nabc"
			} else {
				length = "\r\n"
			}
			send(t, c, ask[0]+" "+ask[1]+" HTTP/1.1\r\nHost: solo\r\n"+length)
			resp, body := answer(t, in, ask[0])
			if body != "" || resp.Close {
				t.Errorf("%s %s: got %d, body %q, close %v", ask[0], ask[1], resp.StatusCode, body, resp.Close)
			}
			if ask[1] == "/?size=77" && resp.ContentLength != 77 {
				t.Errorf("HEAD: got content-length %d", resp.ContentLength)
			}
			if strings.Contains(ask[1], "04") && (len(resp.TransferEncoding) > 0) {
				t.Errorf("%s: got %v", ask[1], resp.TransferEncoding)
			}
		}
		send(t, c, "GET /last HTTP/1.1\r\nHost: solo\r\n\r\n")
		if _, got := echoed(t, in); got.Path != "/last" {
			t.Errorf("got %s", got.Path)
		}
	})
	t.Run("statuses pass", func(t *testing.T) {
		for _, status := range []int{200, 201, 299, 301, 400, 404, 418, 500, 502, 599} {
			if r := client.Get(fmt.Sprintf("http://solo/?status=%d", status)); r.Status != status {
				t.Errorf("%d: got %v", status, r)
			}
		}
	})
	t.Run("Expect: 100-continue", func(t *testing.T) {
		c := dial(t, client, "solo:80")
		in := bufio.NewReader(c)
		send(t, c, "POST /e HTTP/1.1\r\nHost: solo\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		resp, _ := answer(t, in, "POST")
		if resp.StatusCode != 100 {
			t.Fatalf("got %d, want 100", resp.StatusCode)
		}
		send(t, c, "hello")
		if resp, got := echoed(t, in); resp.StatusCode != 200 || got.BodyLength != 5 {
			t.Errorf("got %d, %+v", resp.StatusCode, got)
		}
	})
	t.Run("Expect: 100-continue within a pipeline", func(t *testing.T) {
		c := dial(t, client, "solo:80")
		in := bufio.NewReader(c)
		send(t, c, "GET /1?delay=50ms HTTP/1.1\r\nHost: solo\r\n\r\nPOST /2 HTTP/1.1\r\nHost: solo\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
		if _, got := echoed(t, in); got.Path != "/1" {
			t.Fatalf("got %s first", got.Path)
		}
		if resp, _ := answer(t, in, "POST"); resp.StatusCode != 100 {
			t.Fatalf("got %d, want 100", resp.StatusCode)
		}
		send(t, c, "5\r\nhello\r\n0\r\n\r\nGET /3 HTTP/1.1\r\nHost: solo\r\nExpect: 100-Continue\r\n\r\nGET /4 HTTP/1.1\r\nHost: solo\r\n\r\n")
		if _, got := echoed(t, in); got.Path != "/2" || got.BodyLength != 5 || len(got.Header("expect")) > 1 {
			t.Errorf("got %+v", got)
		}
		for want := 3; want <= 4; {
			resp, body := answer(t, in, "GET")
			if resp.StatusCode == 100 {
				continue // a request without content may get one
			}
			if path := fmt.Sprintf("\"/%d\"", want); resp.StatusCode != 200 || !strings.Contains(body, path) {
				t.Errorf("got %d %.200s, want %s", resp.StatusCode, body, path)
			}
			want++
		}
	})
	t.Run("a body that is expected and not wanted", func(t *testing.T) {
		c := dial(t, client, "solo:80")
		send(t, c, "POST /?early=1&status=413 HTTP/1.1\r\nHost: solo\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n")
		in := bufio.NewReader(c)
		resp, _ := answer(t, in, "POST")
		if resp.StatusCode == 100 { // the sidecar may ask for it on its own
			resp, _ = answer(t, in, "POST")
		}
		if resp.StatusCode != 413 || !resp.Close {
			t.Errorf("got %d, the connection goes on: %v", resp.StatusCode, !resp.Close)
		}
	})
	t.Run("an answer before the body", func(t *testing.T) {
		c := dial(t, client, "solo:80")
		send(t, c, "POST /?early=1&status=413 HTTP/1.1\r\nHost: solo\r\nContent-Length: 1000000\r\n\r\nfirst part")
		resp, _ := answer(t, bufio.NewReader(c), "POST")
		if resp.StatusCode != 413 {
			t.Errorf("got %d", resp.StatusCode)
		}
		if !resp.Close {
			t.Error("the connection is said to go on in the middle of a body")
		}
	})
	t.Run("50 MB up and down", func(t *testing.T) {
		size := int64(50 << 20)
		if testing.Short() {
			size = 4 << 20
		}
		want := sha256.New()
		if _, err := io.Copy(want, echo.Pattern(size)); err != nil {
			t.Fatal(err)
		}
		for _, length := range []int64{size, -1} {
			r := request(t, "PUT", "http://solo/up", echo.Pattern(size))
			r.ContentLength = length
			got := client.Do(r)
			if got.Echo == nil || got.Echo.BodyLength != size || got.Echo.BodySHA256 != hex.EncodeToString(want.Sum(nil)) {
				t.Errorf("up, length %d: got %v %+v", length, got, got.Echo)
			}
		}
		for _, how := range []string{"", "&chunked=1"} {
			got := client.Get(fmt.Sprintf("http://solo/?size=%d%s", size, how))
			sum := sha256.Sum256(got.Body)
			if got.Err != nil || !bytes.Equal(sum[:], want.Sum(nil)) {
				t.Errorf("down %q: got %d bytes, %v", how, len(got.Body), got.Err)
			}
		}
	})
	t.Run("HTTP/1.0 is told to upgrade", func(t *testing.T) {
		// Outbound, HTTP/1.0 is no protocol of the HTTP chain and passes as bytes.
		got, closed := talk(t, plain, pods[1].Addr().String()+":8080", "GET / HTTP/1.0\r\nHost: solo\r\n\r\n", soon)
		if !strings.HasPrefix(got, "HTTP/1.1 426 ") || !closed {
			t.Errorf("got %q, closed %v", got, closed)
		}
	})
	t.Run("connection: close is honoured", func(t *testing.T) {
		got, closed := talk(t, client, "solo:80", "GET /?size=3 HTTP/1.1\r\nHost: solo\r\nConnection: close\r\n\r\n", soon)
		if !strings.HasPrefix(got, "HTTP/1.1 200 ") || !closed || !strings.Contains(strings.ToLower(got), "connection: close") {
			t.Errorf("got %q, closed %v", got, closed)
		}
	})
	t.Run("h2c is served as HTTP/1.1", func(t *testing.T) {
		c := dial(t, client, "solo:80")
		send(t, c, "GET /h2c HTTP/1.1\r\nHost: solo\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
		resp, _ := answer(t, bufio.NewReader(c), "GET")
		if resp.StatusCode != 200 && resp.StatusCode != 403 {
			t.Errorf("got %d", resp.StatusCode)
		}
	})
}

// TestMeshHTTPFromScriptedUpstream has the upstream do what the echo
// application does not.
func TestMeshHTTPFromScriptedUpstream(t *testing.T) {
	mesh := town(t)
	pods := mesh.Pods("client", "script")
	client := pods[0]
	gate := make(chan struct{}, 10)
	replies := map[string]func(c *net.TCPConn, in *bufio.Reader){
		"/interim": func(c *net.TCPConn, _ *bufio.Reader) {
			_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		},
		"/nolength": func(c *net.TCPConn, _ *bufio.Reader) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Kind: none\r\n\r\nuntil the end")
			_ = c.CloseWrite()
		},
		"/old": func(c *net.TCPConn, _ *bufio.Reader) {
			_, _ = io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\nold style")
		},
		"/slow": func(c *net.TCPConn, _ *bufio.Reader) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for range 5 {
				<-gate
				_, _ = io.WriteString(c, "4\r\ntick\r\n")
			}
			_, _ = io.WriteString(c, "0\r\nX-Sum: 1\r\n\r\n")
		},
		"/ws": func(c *net.TCPConn, in *bufio.Reader) {
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n")
			_, _ = io.Copy(c, in)
			_ = c.CloseWrite()
		},
		"/ws-no": func(c *net.TCPConn, _ *bufio.Reader) {
			_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
		},
		"/garbage": func(c *net.TCPConn, _ *bufio.Reader) { _, _ = io.WriteString(c, "SSH-2.0-what\r\n\r\n") },
		"/close":   func(*net.TCPConn, *bufio.Reader) {},
		"/short": func(c *net.TCPConn, _ *bufio.Reader) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
		},
		"/badchunk": func(c *net.TCPConn, _ *bufio.Reader) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nZZ\r\n")
		},
		"/bighead": func(c *net.TCPConn, _ *bufio.Reader) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Big: "+strings.Repeat("x", 90<<10)+"\r\nContent-Length: 0\r\n\r\n")
		},
		"/early101": func(c *net.TCPConn, _ *bufio.Reader) {
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
		},
		"/extra": func(c *net.TCPConn, _ *bufio.Reader) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
		},
		"/fields": func(c *net.TCPConn, _ *bufio.Reader) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 Fine\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-MiXed: Y\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nServer: mine\r\nX-Envoy-Peer-Metadata: x\r\nContent-Length: 0\r\n\r\n")
		},
	}
	script(t, pods[1], 8080, func(c *net.TCPConn) {
		in := bufio.NewReader(c)
		h, err := head(in)
		if err != nil {
			return
		}
		path, _, _ := strings.Cut(strings.TrimPrefix(h, "GET "), " ")
		if f := replies[path]; f != nil {
			f(c, in)
		}
	})
	ask := func(t *testing.T, path, fields string) (*net.TCPConn, *bufio.Reader) {
		t.Helper()
		c := dial(t, client, "script:80")
		send(t, c, "GET "+path+" HTTP/1.1\r\nHost: script\r\n"+fields+"\r\n")
		return c, bufio.NewReader(c)
	}

	t.Run("the first interim response passes", func(t *testing.T) {
		_, in := ask(t, "/interim", "")
		for _, want := range []int{103, 200} {
			resp, err := http.ReadResponse(in, nil)
			if err != nil || resp.StatusCode != want {
				t.Fatalf("got %v, %v, want %d", resp, err, want)
			}
			if want == 103 && resp.Header.Get("Link") == "" {
				t.Error("103 lost its field")
			}
		}
	})
	t.Run("a response without length ends with the connection or in chunks", func(t *testing.T) {
		for path, want := range map[string]string{"/nolength": "until the end", "/old": "old style"} {
			_, in := ask(t, path, "")
			if resp, body := answer(t, in, "GET"); body != want || resp.StatusCode != 200 {
				t.Errorf("%s: got %d %q", path, resp.StatusCode, body)
			}
		}
	})
	t.Run("a slow stream is delivered chunk by chunk", func(t *testing.T) {
		_, in := ask(t, "/slow", "")
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			gate <- struct{}{}
			buf := make([]byte, 4)
			if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "tick" {
				t.Fatalf("got %q, %v", buf, err)
			}
		}
		if rest, err := io.ReadAll(resp.Body); len(rest) != 0 || err != nil || len(resp.Trailer) != 0 {
			t.Errorf("got %q, %v, trailers %v", rest, err, resp.Trailer)
		}
	})
	const upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n"
	t.Run("websocket", func(t *testing.T) {
		c, in := ask(t, "/ws", upgrade)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != 101 || !strings.EqualFold(resp.Header.Get("Upgrade"), "websocket") || resp.Header.Get("Sec-Websocket-Accept") != "x" {
			t.Fatalf("got %v, %v", resp, err)
		}
		for n := range 3 {
			frame := fmt.Sprintf("\x81\x05\x00fr%d", n)
			send(t, c, frame)
			buf := make([]byte, len(frame))
			if _, err := io.ReadFull(in, buf); err != nil || string(buf) != frame {
				t.Fatalf("got %q, %v", buf, err)
			}
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(in); len(rest) != 0 || err != nil {
			t.Errorf("after half-close: got %q, %v", rest, err)
		}
	})
	t.Run("websocket refused by the application", func(t *testing.T) {
		_, in := ask(t, "/ws-no", upgrade)
		if resp, body := answer(t, in, "GET"); resp.StatusCode != 403 || body != "no" {
			t.Errorf("got %d %q", resp.StatusCode, body)
		}
	})
	t.Run("101 that nobody asked for", func(t *testing.T) {
		_, in := ask(t, "/early101", "")
		resp, body := answer(t, in, "GET")
		if resp.StatusCode < 500 || strings.Contains(body, "evil") {
			t.Errorf("got %d %q", resp.StatusCode, body)
		}
	})
	t.Run("other protocols are not upgraded to", func(t *testing.T) {
		_, in := ask(t, "/ws", "Connection: Upgrade\r\nUpgrade: something\r\n")
		if resp, _ := answer(t, in, "GET"); resp.StatusCode != 403 {
			t.Errorf("got %d, want 403", resp.StatusCode)
		}
	})
	t.Run("fields of a response", func(t *testing.T) {
		c, _ := ask(t, "/fields", "Connection: close\r\n")
		raw, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		got := string(raw)
		for _, want := range []string{"\r\nset-cookie: a=1\r\n", "\r\nset-cookie: b=2\r\n", "\r\nx-mixed: Y\r\n"} {
			if !strings.Contains(got, want) {
				t.Errorf("lacks %q: %q", want, got)
			}
		}
		for _, bad := range []string{"x-hop", "keep-alive", "peer-metadata", "X-MiXed"} {
			if strings.Contains(got, bad) {
				t.Errorf("has %q: %q", bad, got)
			}
		}
	})
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/garbage": {502, "reset reason: protocol error"},
		"/bighead": {502, "reset reason: protocol error"},
		"/close":   {503, "reset reason: connection termination"},
	} {
		t.Run("upstream sends "+path, func(t *testing.T) {
			_, in := ask(t, path, "")
			resp, body := answer(t, in, "GET")
			if resp.StatusCode != want.status || !strings.Contains(body, want.body) {
				t.Errorf("got %d %q, want %d %q", resp.StatusCode, body, want.status, want.body)
			}
		})
	}
	for _, path := range []string{"/short", "/badchunk"} {
		t.Run("a response cut within its body ends the connection, "+path, func(t *testing.T) {
			_, in := ask(t, path, "")
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("got %q as if it were whole", body)
			}
		})
	}
	t.Run("bytes after a response reach nobody", func(t *testing.T) {
		for range 5 {
			_, in := ask(t, "/extra", "")
			if _, body := answer(t, in, "GET"); body != "ok" {
				t.Errorf("got %q", body)
			}
			_, in = ask(t, "/interim", "")
			if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 103 {
				t.Errorf("the next request got %v, %v", resp, err)
			}
		}
	})
}

func TestMeshSpoofedHeadersFromPlainClientAreStripped(t *testing.T) {
	mesh := town(t)
	solo := mesh.Pod("solo")
	plain := mesh.PlainPod("plain")
	spoofed := []string{
		"X-Forwarded-Client-Cert", "X-Envoy-Internal", "X-Envoy-Retry-On", "X-Envoy-Max-Retries", "X-Envoy-Upstream-Rq-Timeout-Ms",
		"X-Envoy-Upstream-Rq-Per-Try-Timeout-Ms", "X-Envoy-Expected-Rq-Timeout-Ms", "X-Envoy-Force-Trace", "X-Envoy-Ip-Tags",
		"X-Envoy-Original-Url", "X-Envoy-Retriable-Status-Codes", "X-Envoy-Upstream-Alt-Stat-Name", "X-Envoy-Peer-Metadata", "X-Envoy-Peer-Metadata-Id",
	}
	r := request(t, "GET", "http://"+solo.Addr().String()+":8080/", nil)
	for _, name := range spoofed {
		r.Header.Set(name, "5")
	}
	got := plain.Do(r)
	if got.Echo == nil {
		t.Fatalf("got %v", got)
	}
	for _, name := range spoofed {
		if v := got.Echo.Header(name); len(v) != 0 {
			t.Errorf("the application sees %s: %q", name, v)
		}
	}
	// A timeout that an outsider asks for must not bind the sidecar either.
	slow := request(t, "GET", "http://"+solo.Addr().String()+":8080/?delay=300ms", nil, "X-Envoy-Upstream-Rq-Timeout-Ms", "50")
	if got := plain.Do(slow); got.Status != 200 {
		t.Errorf("a stranger's timeout is obeyed: %v", got)
	}
}

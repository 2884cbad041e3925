package acceptance_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// spoiled are requests that no application may see and the statuses they get.
// An empty status stands for a connection closed without a word.
func spoiled() map[string]struct{ text, status string } {
	many := strings.Repeat("X-Field: 1\r\n", 101)
	big := "X-Big: " + strings.Repeat("x", 61<<10) + "\r\n"
	const good = "POST / HTTP/1.1\r\nHost: script\r\n"
	return map[string]struct{ text, status string }{
		"garbage":                           {"\x00\x01\x02\x03 what\r\n\r\n", "400"},
		"no method":                         {" / HTTP/1.1\r\nHost: script\r\n\r\n", "400"},
		"unknown method":                    {"FETCH / HTTP/1.1\r\nHost: script\r\n\r\n", "400"},
		"lower-case method":                 {"get / HTTP/1.1\r\nHost: script\r\n\r\n", "400"},
		"no version":                        {"GET /\r\nHost: script\r\n\r\n", "400 426"},
		"unknown version":                   {"GET / HTTP/3.7\r\nHost: script\r\n\r\n", "400 426"},
		"spaces in the target":              {"GET /a b HTTP/1.1\r\nHost: script\r\n\r\n", "400"},
		"control character in the target":   {"GET /a\x01b HTTP/1.1\r\nHost: script\r\n\r\n", "400"},
		"no Host":                           {"GET / HTTP/1.1\r\nX: y\r\n\r\n", "400"},
		"bad Host":                          {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400"},
		"two Hosts":                         {"GET / HTTP/1.1\r\nHost: script\r\nHost: other\r\n\r\n", "400"},
		"no colon":                          {good + "Nonsense\r\n\r\n", "400"},
		"empty name":                        {good + ": x\r\n\r\n", "400"},
		"space before the colon":            {good + "X-A : x\r\n\r\n", "400"},
		"NUL in a value":                    {good + "X-A: a\x00b\r\n\r\n", "400"},
		"NUL in a name":                     {good + "X\x00A: a\r\n\r\n", "400"},
		"bare CR in a value":                {good + "X-A: a\rX-B: b\r\n\r\n", "400"},
		"control character in a value":      {good + "X-A: a\x07b\r\n\r\n", "400"},
		"two equal Content-Lengths":         {good + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "400"},
		"two different Content-Lengths":     {good + "Content-Length: 3\r\nContent-Length: 30\r\n\r\nabc", "400"},
		"Content-Length list":               {good + "Content-Length: 3, 3\r\n\r\nabc", "400"},
		"Content-Length with sign":          {good + "Content-Length: +3\r\n\r\nabc", "400"},
		"negative Content-Length":           {good + "Content-Length: -1\r\n\r\n", "400"},
		"empty Content-Length":              {good + "Content-Length: \r\n\r\n", "400"},
		"huge Content-Length":               {good + "Content-Length: 99999999999999999999999\r\n\r\n", "400"},
		"Transfer-Encoding, Content-Length": {good + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", "400"},
		"Content-Length, Transfer-Encoding": {good + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		"Transfer-Encoding: identity":       {good + "Transfer-Encoding: identity\r\n\r\n", "400 501"},
		"Transfer-Encoding: gzip, chunked":  {good + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "400 501"},
		"Transfer-Encoding: xchunked":       {good + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "400 501"},
		"Transfer-Encoding: chunked, x":     {good + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", "400 501"},
		"Transfer-Encoding twice":           {good + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 501"},
		"Transfer-Encoding with \\v":        {good + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", "400 501"},
		"101 fields":                        {good + many + "\r\n", "431"},
		"a field of 61 KiB":                 {good + big + "\r\n", "431"},
		"a target of 61 KiB":                {"GET /" + strings.Repeat("a", 61<<10) + " HTTP/1.1\r\nHost: script\r\n\r\n", "431"},
		"a head without end":                {good + strings.Repeat("X-F: "+strings.Repeat("y", 1000)+"\r\n", 99), "431"},
		"Connection nominates many":         {good + "Connection: a,b,c,d,e,f,g,h,i,j,k\r\n\r\n", "400"},
		"Connection nominates X-F-F":        {good + "Connection: x-forwarded-for\r\n\r\n", "400"},
		"odd scheme":                        {"GET ftp://script/ HTTP/1.1\r\nHost: script\r\n\r\n", "400"},
	}
}

// recorder counts what reaches the application's port.
type recorder struct{ bytes atomic.Int64 }

func (r *recorder) serve(c *net.TCPConn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := c.Read(buf)
		r.bytes.Add(int64(n))
		if err != nil {
			return
		}
	}
}

func TestMeshSpoiledRequestsAreAnsweredAndNotForwarded(t *testing.T) {
	mesh := town(t)
	pods := mesh.Pods("client", "script")
	client, server := pods[0], pods[1]
	plain := mesh.PlainPod("plain")
	app := new(recorder)
	script(t, server, 8080, app.serve)
	before := map[*testmesh.Pod]resting{client: rest(t, client), server: rest(t, server)}

	for _, from := range []struct {
		name string
		pod  *testmesh.Pod
		addr string
	}{{"inbound", plain, server.Addr().String() + ":8080"}, {"outbound", client, "script:80"}} {
		for name, c := range spoiled() {
			t.Run(from.name+", "+name, func(t *testing.T) {
				got, closed := talk(t, from.pod, from.addr, c.text, soon)
				if !closed {
					t.Errorf("the connection stays open after %q", got)
				}
				status := ""
				if len(got) > 12 && strings.HasPrefix(got, "HTTP/1.1 ") {
					status = got[9:12]
				}
				// Outbound, what is not HTTP/1.1 passes as bytes to an address that nobody has.
				if status == "" && from.name == "outbound" && got == "" {
					return
				}
				if status == "" || !strings.Contains(c.status, status) {
					t.Errorf("got %.200q, want status %s", got, c.status)
				}
				if strings.Count(got, "HTTP/1.1 ") > 1 {
					t.Errorf("answered more than once: %q", got)
				}
			})
		}
	}
	if n := app.bytes.Load(); n != 0 {
		t.Errorf("%d bytes reached the application", n)
	}
	returns(t, before)
}

// returns checks that sidecars hold again what they held before, a few idle
// connections and runtime threads aside.
func returns(t *testing.T, before map[*testmesh.Pod]resting) {
	t.Helper()
	for pod, b := range before {
		var after resting
		began := time.Now()
		if !within(soon, func() bool {
			after = rest(t, pod)
			return after.Descriptors <= b.Descriptors+4 && after.Threads <= b.Threads+12
		}) {
			t.Errorf("%s: got %+v, before %+v", pod.Name(), after, b)
		}
		t.Logf("%s is at rest after %v: %+v, before %+v", pod.Name(), time.Since(began), after, b)
	}
}

func TestMeshSmugglingMakesOneRequest(t *testing.T) {
	mesh := town(t)
	server := mesh.Pod("script")
	plain := mesh.PlainPod("plain")
	var heads atomic.Int64
	script(t, server, 8080, func(c *net.TCPConn) {
		in := bufio.NewReader(c)
		for {
			h, err := head(in)
			if err != nil {
				return
			}
			heads.Add(1)
			if strings.Contains(h, "/evil") {
				t.Errorf("smuggled: %q", h)
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
		}
	})
	const evil = "GET /evil HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, text := range map[string]string{
		"Content-Length hides a request":     "POST /a HTTP/1.1\r\nHost: script\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n" + evil,
		"folded Transfer-Encoding":           "POST /a HTTP/1.1\r\nHost: script\r\nTransfer-Encoding:\r\n chunked, x\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + evil,
		"chunk size with underscore":         "POST /a HTTP/1.1\r\nHost: script\r\nTransfer-Encoding: chunked\r\n\r\n1_0\r\n" + evil,
		"chunk size in hex notation":         "POST /a HTTP/1.1\r\nHost: script\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + evil,
		"chunk size overflows":               "POST /a HTTP/1.1\r\nHost: script\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n" + evil,
		"lone CR in a chunk extension":       "POST /a HTTP/1.1\r\nHost: script\r\nTransfer-Encoding: chunked\r\n\r\n0;a\rb\r\n\r\n" + evil,
		"chunk without its line end":         "POST /a HTTP/1.1\r\nHost: script\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naXX\r\n" + evil,
		"Content-Length in a Connection":     "POST /a HTTP/1.1\r\nHost: script\r\nConnection: content-length\r\nContent-Length: 3\r\nContent-Length: 1\r\n\r\n" + evil,
		"a field after the blank in a chunk": "POST /a HTTP/1.1\r\nHost: script\r\nTransfer-Encoding: chunked\r\n\r\nG\r\n" + evil,
	} {
		t.Run(name, func(t *testing.T) {
			got, closed := talk(t, plain, server.Addr().String()+":8080", text, soon)
			if !closed {
				t.Errorf("the connection stays open after %q", got)
			}
			if strings.Count(got, "HTTP/1.1 ") > 1 {
				t.Errorf("answered more than once: %q", got)
			}
		})
	}
}

func TestMeshSlowAndSilentClients(t *testing.T) {
	mesh := town(t)
	pods := mesh.Pods("client", "script")
	client, server := pods[0], pods[1]
	plain := mesh.PlainPod("plain")
	app := new(recorder)
	script(t, server, 8080, app.serve)
	inbound := server.Addr().String() + ":8080"
	before := map[*testmesh.Pod]resting{client: rest(t, client), server: rest(t, server)}
	const hello = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefgh"

	t.Run("group", func(t *testing.T) {
		t.Run("half a ClientHello, then silence", func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			if got, closed := talk(t, plain, inbound, hello, 30*time.Second); !closed {
				t.Errorf("got %q and no end within %v", got, time.Since(began))
			}
		})
		t.Run("half a ClientHello, then the end", func(t *testing.T) {
			t.Parallel()
			c := dial(t, plain, inbound)
			send(t, c, hello)
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if err := c.SetReadDeadline(time.Now().Add(soon)); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(c); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("got %q, %v", got, err)
			}
		})
		t.Run("a ClientHello, one byte a second", func(t *testing.T) {
			t.Parallel()
			trickle(t, plain, inbound, hello)
		})
		t.Run("a head, one byte a second, then gone", func(t *testing.T) {
			t.Parallel()
			c := dial(t, plain, inbound)
			for _, b := range []byte("GET / HTT") {
				send(t, c, string(b))
				pause(time.Second)
			}
			_ = c.Close()
		})
		t.Run("200 silent connections do not hinder others", func(t *testing.T) {
			t.Parallel()
			for range 200 {
				_ = dial(t, plain, inbound)
			}
			// Nobody listens there.
			if got, closed := talk(t, plain, server.Addr().String()+":7000", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", soon); !closed {
				t.Errorf("got %q and no end", got)
			}
		})
		t.Run("garbage on every port of the sidecar", func(t *testing.T) {
			t.Parallel()
			for _, port := range []int{15021, 15090, 15006, 15001} {
				_, _ = talk(t, plain, fmt.Sprintf("%s:%d", server.Addr(), port), "\x16\x03\x01\xff\xff\x00garbage\r\n\r\n", 2*time.Second)
			}
			if code, why := health(plain, server); code != 200 {
				t.Errorf("got %d %s", code, why)
			}
		})
	})
	if n := app.bytes.Load(); n != 0 {
		t.Errorf("%d bytes reached the application", n)
	}
	returns(t, before)
}

// trickle sends a byte a second until the peer closes, at most half a minute.
func trickle(t *testing.T, pod *testmesh.Pod, addr, text string) {
	t.Helper()
	c := dial(t, pod, addr)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.ReadAll(c) // the end is what counts
	}()
	text += strings.Repeat("\x00", 30)
	for _, b := range []byte(text)[:30] {
		if _, err := c.Write([]byte{b}); err != nil {
			break
		}
		timer := time.NewTimer(time.Second)
		select {
		case <-ended:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
	select {
	case <-ended:
	default:
		t.Error("still open after half a minute")
		_ = c.Close()
		<-ended
	}
}

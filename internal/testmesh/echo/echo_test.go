package echo_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/echo"
)

// start runs the application with one port of this kind and connects to it.
func start(t *testing.T, kind echo.Kind) *net.TCPConn {
	t.Helper()
	port := freePort(t)
	done := make(chan error, 1)
	go func() {
		done <- echo.Run(t.Context(), echo.Config{Pod: "p", Version: "v7", Ports: []echo.Port{{Number: port, Kind: kind}}})
	}()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(time.Minute); ; {
		c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			t.Cleanup(func() { _ = c.Close() }) // may be closed already
			if err := c.SetDeadline(deadline.Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			return c.(*net.TCPConn)
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// freePort finds a port that the kernel gives to nobody by itself: one of those
// could be taken before the application listens.
func freePort(t *testing.T) int {
	t.Helper()
	var err error
	for range 100 {
		var l net.Listener
		if l, err = net.Listen("tcp", ":"+strconv.Itoa(20_000+rand.N(10_000))); err == nil {
			defer l.Close()
			return l.Addr().(*net.TCPAddr).Port
		}
	}
	t.Fatal(err)
	return 0
}

func send(t *testing.T, c io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func response(t *testing.T, in *bufio.Reader) (*http.Response, *echo.Reply) {
	t.Helper()
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	reply := new(echo.Reply)
	if resp.Header.Get("Content-Type") == "application/json" {
		if err := json.Unmarshal(body, reply); err != nil {
			t.Fatal(err)
		}
	}
	return resp, reply
}

func TestHeadersComeBackInOrderAndCase(t *testing.T) {
	c := start(t, echo.HTTP)
	send(t, c, "POST /a?status=503 HTTP/1.1\r\nHost: h\r\nX-b: 1\r\nx-A:  2 \r\nX-b: 3\r\nContent-Length: 3\r\n\r\nabc")
	resp, got := response(t, bufio.NewReader(c))
	want := [][2]string{{"Host", "h"}, {"X-b", "1"}, {"x-A", "2"}, {"X-b", "3"}, {"Content-Length", "3"}}
	if !slices.Equal(got.Headers, want) {
		t.Errorf("got headers %v, want %v", got.Headers, want)
	}
	if resp.StatusCode != 503 || got.Path != "/a" || got.Host != "h" || got.Pod != "p" || got.Version != "v7" {
		t.Errorf("got %d %+v", resp.StatusCode, got)
	}
	if got.BodyLength != 3 || got.BodySHA256 != sum([]byte("abc")) {
		t.Errorf("got body %d %s", got.BodyLength, got.BodySHA256)
	}
}

func TestRequestsShareAConnectionUntilClose(t *testing.T) {
	c := start(t, echo.HTTP)
	in := bufio.NewReader(c)
	send(t, c, "GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-T: v\r\n\r\n")
	_, first := response(t, in)
	_, second := response(t, in)
	if first.Request != 1 || second.Request != 2 || first.Connection != second.Connection {
		t.Errorf("got %+v and %+v", first, second)
	}
	if second.BodyLength != 2 || !slices.Equal(second.Trailers, [][2]string{{"X-T", "v"}}) {
		t.Errorf("got body of %d bytes, trailers %v", second.BodyLength, second.Trailers)
	}
	send(t, c, "GET /3?close=1&chunked=1&size=5 HTTP/1.1\r\n\r\n")
	if resp, _ := response(t, in); !resp.Close {
		t.Error("?close=1 keeps the connection")
	}
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("got %v, want EOF", err)
	}
}

func TestEchoPassesHalfCloseOn(t *testing.T) {
	c := start(t, echo.Echo)
	send(t, c, "hello")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestGreetSpeaksFirst(t *testing.T) {
	c := start(t, echo.Greet)
	got, err := bufio.NewReader(c).ReadString('\n')
	if want := echo.Greeting("p", "v7"); got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestBulkMovesBothWaysAtOnce(t *testing.T) {
	c := start(t, echo.Bulk)
	if err := echo.Exchange(c, 1<<20+3, 3<<20+5); err != nil {
		t.Error(err)
	}
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

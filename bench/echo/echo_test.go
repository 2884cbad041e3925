package echo_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/echo"
)

// childMark makes the test binary a backend, as the benchmark's hidden command is.
const childMark = "echo-child"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == childMark {
		if err := echo.Child(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func start(t *testing.T, c echo.Config) *echo.Servers {
	t.Helper()
	s, err := echo.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// TestGoClientsAreAnswered asks as another implementation does.
func TestGoClientsAreAnswered(t *testing.T) {
	t.Parallel()
	s := start(t, echo.Config{Size: 10, Header: [][2]string{{"x-backend", "b"}}})
	for _, kind := range []echo.Kind{echo.HTTP1, echo.HTTP2} {
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(kind == echo.HTTP1)
		transport.Protocols.SetUnencryptedHTTP2(kind == echo.HTTP2)
		t.Cleanup(transport.CloseIdleConnections)
		client := &http.Client{Transport: transport, Timeout: time.Minute}
		for _, tt := range []struct {
			path string
			want int
		}{{"/", 10}, {"/bytes/0", 0}, {"/bytes/5?q", 5}, {"/bytes/3000000", 3000000}, {"/bytes/x", 10}, {"/", 10}} {
			for _, body := range []io.Reader{nil, strings.NewReader("body"), io.MultiReader(strings.NewReader("chunked")), bytes.NewReader(make([]byte, 3<<20))} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("http://%s%s", s.Addr(kind), tt.path), body)
				if err != nil {
					t.Fatal(err)
				}
				reply, err := client.Do(r)
				if err != nil {
					t.Fatalf("%s %s: %v", kind, tt.path, err)
				}
				n, err := io.Copy(io.Discard, reply.Body)
				_ = reply.Body.Close()
				if err != nil || int(n) != tt.want || reply.StatusCode != 200 || reply.Header.Get("X-Backend") != "b" {
					t.Errorf("%s %s: got %d, %d bytes (%v)", kind, tt.path, reply.StatusCode, n, err)
				}
			}
		}
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, echo.Config{}), echo.HTTP1)
	fmt.Fprint(c, "GET /bytes/1 HTTP/1.1\r\n\r\nPOST /bytes/2 HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcGET /bytes/3 HTTP/1.1\r\nconnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n")
	r := bufio.NewReader(c)
	for want := int64(1); want <= 3; want++ {
		reply, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, _ := io.Copy(io.Discard, reply.Body); n != want {
			t.Errorf("got %d bytes, want %d", n, want)
		}
		_ = reply.Body.Close()
	}
	if _, err := r.ReadByte(); err == nil {
		t.Error("the connection goes on after connection: close")
	}
}

func TestNonsenseEndsTheConnection(t *testing.T) {
	t.Parallel()
	s := start(t, echo.Config{})
	for _, tt := range []struct {
		kind echo.Kind
		text string
	}{
		{echo.HTTP1, "nonsense\r\n\r\n"},
		{echo.HTTP1, "POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n"},
		{echo.HTTP1, "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"},
		{echo.HTTP1, strings.Repeat("long", 20_000)},
		{echo.HTTP2, "GET / HTTP/1.1\r\n\r\n"},
		{echo.HTTP2, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00\x00\x00\x00\x00"},
	} {
		c := dial(t, s, tt.kind)
		_, _ = io.WriteString(c, tt.text) // the end may come before all is written
		if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s %.30q: %v", tt.kind, tt.text, err)
		}
	}
}

func dial(t *testing.T, s *echo.Servers, k echo.Kind) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Addr(k).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

func TestOnlyTheKindsAskedForAreServed(t *testing.T) {
	t.Parallel()
	s := start(t, echo.Config{Ports: map[echo.Kind]uint16{echo.TCP: 0}})
	if !s.Addr(echo.TCP).IsValid() || s.Addr(echo.HTTP1).IsValid() {
		t.Errorf("got %v and %v", s.Addr(echo.TCP), s.Addr(echo.HTTP1))
	}
	if _, err := echo.Start(t.Context(), echo.Config{Ports: map[echo.Kind]uint16{"smtp": 0}}); err == nil {
		t.Error("an unknown kind is served")
	}
	if _, err := echo.Start(t.Context(), echo.Config{Ports: map[echo.Kind]uint16{echo.TCP: s.Addr(echo.TCP).Port()}}); err == nil {
		t.Error("a port is served twice")
	}
}

func TestServersEndWithTheirContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s, err := echo.Start(ctx, echo.Config{})
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, s, echo.TCP)
	cancel()
	if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("got %v", err)
	}
	s.Close()
}

func TestServersInAProcessOfTheirOwn(t *testing.T) {
	t.Parallel()
	p, err := echo.Spawn(t.Context(), echo.Config{Size: 3}, os.Args[0], childMark)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://%s/", p.Addrs[echo.HTTP1]), nil)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := http.DefaultClient.Do(r)
	if err != nil || reply.ContentLength != 3 {
		t.Errorf("got %v (%v)", reply, err)
	}
	if reply != nil {
		_ = reply.Body.Close()
	}
	if p.PID() == os.Getpid() {
		t.Error("it is this process")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := echo.Spawn(t.Context(), echo.Config{}, "false"); err == nil {
		t.Error("a program that serves nothing is taken")
	}
}

func TestChildRefusesNonsense(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"", "{", "nonsense\n"} {
		if err := echo.Child(t.Context(), strings.NewReader(in), io.Discard); err == nil {
			t.Errorf("%q is taken", in)
		}
	}
	var out bytes.Buffer
	if err := echo.Child(t.Context(), strings.NewReader(`{"Ports":{"tcp":0}}`+"\n"), &out); err != nil {
		t.Error(err)
	}
	if !json.Valid(out.Bytes()) {
		t.Errorf("got %q", out.String())
	}
}

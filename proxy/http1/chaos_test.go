package http1_test

import (
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/http1"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg/msgtest"
)

// TestChaosEnds has both sides misbehave at random: whatever they do, each proxied
// connection ends, and so do its goroutines.
func TestChaosEnds(t *testing.T) {
	var all sync.WaitGroup
	for seed := range uint64(150) {
		all.Go(func() { chaos(t, seed) })
	}
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("some connection did not end")
	}
}

func chaos(t *testing.T, seed uint64) {
	near, far := msgtest.Pipe(t)
	server, down := msgtest.Pipe(t)
	var running sync.WaitGroup
	running.Go(func() { chaoticOrigin(far, seed) })
	running.Go(func() { chaoticDownstream(down, seed) })
	f := newForwarder(near)
	_ = http1.NewServerConn(server, http1.ServerOptions{}).Serve(f)
	_ = f.up.Close()
	running.Wait()
}

func chaoticOrigin(c net.Conn, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	_ = http1.NewServerConn(c, http1.ServerOptions{}).Serve(handlerFunc(func(w httpmsg.ResponseWriter, r *httpmsg.Request) {
		if random.IntN(3) == 0 {
			time.Sleep(time.Duration(random.IntN(70)) * time.Millisecond)
		}
		switch random.IntN(6) {
		case 0:
			_ = c.Close()
		case 1: // early
			_, _ = w.WriteResponse(msgtest.Text("early"))
		case 2:
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"))
			_ = c.Close()
		default:
			b, _ := io.ReadAll(r.Body)
			res := msgtest.Text(string(b))
			if random.IntN(2) == 0 {
				res.ContentLength = httpmsg.Unknown
			}
			_, _ = w.WriteResponse(res)
		}
	}))
}

func chaoticDownstream(c *net.TCPConn, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 2))
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	go func() { _, _ = io.Copy(io.Discard, c) }()
	body := strings.Repeat("x", 1<<random.IntN(18))
	requests := []string{
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + itoa(int64(len(body))) + "\r\n\r\n" + body,
		"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: " + itoa(int64(len(body))) + "\r\n\r\n" + body,
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5\r\nabcde\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n",
	}
	for range 1 + random.IntN(6) {
		s := requests[random.IntN(len(requests))]
		for len(s) > 0 {
			n := 1 + random.IntN(len(s))
			if _, err := io.WriteString(c, s[:n]); err != nil {
				break
			}
			if s = s[n:]; random.IntN(4) == 0 {
				time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
			}
			if random.IntN(20) == 0 {
				_ = c.Close()
			}
		}
	}
	if random.IntN(2) == 0 {
		_ = c.CloseWrite()
		time.Sleep(20 * time.Millisecond)
	}
	_ = c.Close()
}

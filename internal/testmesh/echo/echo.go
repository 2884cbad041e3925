// Package echo is the application inside a pod of the test mesh: HTTP servers
// that tell exactly what reached them and TCP servers that move bytes.
//
// Run listens on the ports of a Config and serves until its context ends. An
// HTTP request is read by a reader of our own, which keeps order, case and
// repetition of header lines, and answered with a Reply in JSON; its query says
// what else to do. A TCP connection is served by the behaviour of its port and
// passes half-closes on.
//
// It knows nothing of the mesh and must stay a plain program that trusts what it
// is sent: what is under test stands in front of it.
package echo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
)

// Kind is the behaviour of a port.
type Kind string

// The kinds of ports.
const (
	HTTP  Kind = "http"  // answers with a Reply
	Echo  Kind = "echo"  // sends back what it gets, end of stream included
	Greet Kind = "greet" // sends one line first, as databases do, then echoes
	Bulk  Kind = "bulk"  // sends and receives at once, see BulkReport
)

// Port is one port to listen on.
type Port struct {
	Number int
	Kind   Kind
}

// Config says who we are and what to listen on.
type Config struct {
	Pod     string
	Version string
	Ports   []Port
}

// Listening is what Run prints when all its ports are open.
const Listening = "listening"

// server is a running application.
type server struct {
	// immutable
	config Config

	accepted atomic.Uint64

	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu; nil once stopped
}

// Run listens on every port, serves until ctx ends and then closes everything.
func Run(ctx context.Context, c Config) error {
	s := &server{config: c, conns: map[net.Conn]struct{}{}}
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			_ = l.Close() // a second time
		}
	}()
	for _, p := range c.Ports {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", ":"+strconv.Itoa(p.Number))
		if err != nil {
			return fmt.Errorf("listen on port %d: %w", p.Number, err)
		}
		listeners = append(listeners, l)
	}
	fmt.Println(Listening)
	var wg sync.WaitGroup
	for i, l := range listeners {
		wg.Go(func() { s.accept(l, c.Ports[i].Kind, &wg) })
	}
	<-ctx.Done()
	for _, l := range listeners {
		_ = l.Close() // ends accept
	}
	s.stop()
	wg.Wait()
	return nil
}

func (s *server) accept(l net.Listener, kind Kind, wg *sync.WaitGroup) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || !s.keep(c) {
			continue // the peer was gone again, or we are about to be
		}
		number := s.accepted.Add(1)
		wg.Go(func() {
			defer s.drop(c)
			s.serve(c, kind, number)
		})
	}
}

func (s *server) serve(c net.Conn, kind Kind, number uint64) {
	tcp := c.(*net.TCPConn)
	switch kind {
	case HTTP:
		s.serveHTTP(tcp, number)
	case Echo:
		echo(tcp)
	case Greet:
		greet(tcp, s.config)
	case Bulk:
		bulk(tcp)
	}
}

func (s *server) keep(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		_ = c.Close() // nothing was said yet
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *server) drop(c net.Conn) {
	_ = c.Close() // everything was said
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close() // ends its serve
	}
	s.conns = nil
}

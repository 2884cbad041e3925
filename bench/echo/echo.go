package echo

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// Kind is what a server does.
type Kind string

// The kinds of servers. Those of HTTP answer a request for /bytes/N with N bytes, and
// any other with Config.Size bytes.
const (
	HTTP1  Kind = "http1"
	HTTP2  Kind = "http2"  // prior knowledge, or ALPN with TLS
	GRPC   Kind = "grpc"   // unary: answers with the message that it was sent
	TCP    Kind = "tcp"    // sends back what it reads
	Sink   Kind = "sink"   // reads to the end, then says how much it was: 8 bytes, big-endian
	Source Kind = "source" // reads 8 bytes, big-endian, and sends as many as they say
)

// server serves one connection until its end.
type server func(s *Servers, conn net.Conn)

// kinds has the server of each kind.
var kinds = map[Kind]server{
	HTTP1: (*Servers).serveHTTP1, HTTP2: (*Servers).serveHTTP2, GRPC: (*Servers).serveHTTP2,
	TCP: (*Servers).serveTCP, Sink: (*Servers).serveSink, Source: (*Servers).serveSource,
}

// Config is what is served.
type Config struct {
	Addr   netip.Addr      // 127.0.0.1 if not valid
	Ports  map[Kind]uint16 // the kinds that are wanted; 0 is a free port; all kinds if empty
	Size   int             // bytes of an HTTP answer, 1024 if 0
	Header [][2]string     // added to HTTP answers, names in lower case
	TLS    *tls.Config     `json:"-"` // nil is plain text
}

// Servers are open servers.
type Servers struct {
	config Config                  // immutable
	addrs  map[Kind]netip.AddrPort // immutable
	stop   func()                  // immutable
	all    sync.WaitGroup

	mu     sync.Mutex
	closed bool                      // guarded by mu
	open   map[net.Conn]struct{}     // guarded by mu
	listen map[Kind]*net.TCPListener // guarded by mu
}

// Start opens servers; they end with ctx or Close.
func Start(ctx context.Context, c Config) (*Servers, error) {
	if !c.Addr.IsValid() {
		c.Addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if c.Size == 0 {
		c.Size = 1024
	}
	if len(c.Ports) == 0 {
		c.Ports = make(map[Kind]uint16)
		for k := range kinds {
			c.Ports[k] = 0
		}
	}
	s := &Servers{
		config: c, addrs: make(map[Kind]netip.AddrPort),
		open: make(map[net.Conn]struct{}), listen: make(map[Kind]*net.TCPListener),
	}
	for k, port := range c.Ports {
		if err := s.bind(k, port); err != nil {
			s.Close()
			return nil, err
		}
	}
	for k, l := range s.listen {
		s.all.Go(func() { s.accept(kinds[k], l) })
	}
	unhook := context.AfterFunc(ctx, s.end)
	s.stop = func() { unhook() }
	return s, nil
}

func (s *Servers) bind(k Kind, port uint16) error {
	if kinds[k] == nil {
		return fmt.Errorf("no server of kind %q", k)
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(s.config.Addr, port)))
	if err != nil {
		return fmt.Errorf("serve %s: %w", k, err)
	}
	s.listen[k] = l
	s.addrs[k] = l.Addr().(*net.TCPAddr).AddrPort()
	return nil
}

// Addr is where a kind of server listens; not valid if it was not asked for.
func (s *Servers) Addr(k Kind) netip.AddrPort { return s.addrs[k] }

// Close ends all servers and connections.
func (s *Servers) Close() {
	if s.stop != nil {
		s.stop()
	}
	s.end()
	s.all.Wait()
}

// end closes sockets; those who use them return.
func (s *Servers) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, l := range s.listen {
		_ = l.Close()
	}
	for c := range s.open {
		_ = c.Close()
	}
}

func (s *Servers) accept(serve server, l *net.TCPListener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return // closed; a listening socket of loopback has no other end
		}
		if !s.add(conn) {
			return
		}
		s.all.Go(func() {
			defer s.remove(conn)
			if s.config.TLS != nil {
				serve(s, tls.Server(conn, s.config.TLS))
				return
			}
			serve(s, conn)
		})
	}
}

func (s *Servers) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return false
	}
	s.open[conn] = struct{}{}
	return true
}

func (s *Servers) remove(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
	_ = conn.Close()
}

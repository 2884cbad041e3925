package echo

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/netip"
)

// Kind is what a server does.
type Kind string

// The kinds of servers. Those of HTTP answer a GET of /bytes/N with N bytes, and of
// anything else with Config.Size bytes.
const (
	HTTP1  Kind = "http1"
	HTTP2  Kind = "http2"  // prior knowledge, or ALPN with TLS
	GRPC   Kind = "grpc"   // unary: answers with the message that it was sent
	TCP    Kind = "tcp"    // sends back what it reads
	Sink   Kind = "sink"   // reads to the end, then says how much it was: 8 bytes, big-endian
	Source Kind = "source" // reads 8 bytes, big-endian, and sends as many as they say
)

// Config is what is served.
type Config struct {
	Addr   netip.Addr      // 127.0.0.1 if not valid
	Ports  map[Kind]uint16 // the kinds that are wanted; 0 is a free port; all kinds if empty
	Size   int             // bytes of an HTTP answer, 1024 if 0
	Header [][2]string     // added to HTTP answers
	TLS    *tls.Config     // nil is plain text
}

// Servers are open servers.
type Servers struct {
	addrs map[Kind]netip.AddrPort
}

// Start opens servers; they stop with ctx or Close.
func Start(ctx context.Context, c Config) (*Servers, error) { return nil, errors.ErrUnsupported }

// Addr is where a kind of server listens; not valid if it was not asked for.
func (s *Servers) Addr(k Kind) netip.AddrPort { return s.addrs[k] }

// Close ends all servers and connections.
func (s *Servers) Close() {}

// Child serves as a process of its own: args are those after the hidden command's
// name. It writes a line of JSON, kind to address, and ends with ctx or stdin.
func Child(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	return errors.ErrUnsupported
}

// Spawn runs the program's hidden command as a process of its own and returns where
// it listens, and what ends it.
func Spawn(ctx context.Context, program []string, c Config) (*Servers, error) {
	return nil, errors.ErrUnsupported
}

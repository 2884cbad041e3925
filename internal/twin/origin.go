package twin

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// attempt is what reached a server.
type attempt struct {
	pod   string
	tls   string // ALPN, SNI and client, "" in plain text
	head  string // the request line, or the pseudo headers
	lines []field
	body  string
	end   string // why the request is not complete
	tail  []field
}

// origin is the servers of the mesh: scripts by the number of the trial.
type origin struct {
	// immutable
	certs map[string]*tls.Config // by kind of port

	wg sync.WaitGroup

	mu      sync.Mutex
	scripts map[string][]answer   // guarded by mu; by trial
	seen    map[string][]*attempt // guarded by mu; by trial
	conns   map[net.Conn]struct{} // guarded by mu; nil once closed
	listens []net.Listener        // guarded by mu
}

func newOrigin() *origin {
	return &origin{
		certs: map[string]*tls.Config{}, scripts: map[string][]answer{},
		seen: map[string][]*attempt{}, conns: map[net.Conn]struct{}{},
	}
}

// begin forgets what was seen and takes the scripts of a run.
func (o *origin) begin(scripts map[string][]answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.scripts, o.seen = scripts, map[string][]*attempt{}
}

// attempts returns what reached the servers of a trial.
func (o *origin) attempts(id string) []attempt {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]attempt, 0, len(o.seen[id]))
	for _, a := range o.seen[id] {
		out = append(out, *a)
	}
	return out
}

// note records an attempt, and returns what to do about it.
func (o *origin) note(id string, a *attempt) answer {
	o.mu.Lock()
	defer o.mu.Unlock()
	script := o.scripts[id]
	if id != "" {
		o.seen[id] = append(o.seen[id], a)
	}
	if len(script) == 0 {
		return answer{}
	}
	return script[min(len(o.seen[id]), len(script))-1]
}

// change alters a recorded attempt.
func (o *origin) change(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

// serve listens in a pod; kind is the key of a TLS configuration for the peers that
// begin with a handshake, and a protocol: "http", "tcp" or "liar".
func (o *origin) serve(ctx context.Context, pod *testmesh.Pod, port int, protocol, kind string) error {
	l, err := pod.Listen(ctx, "tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return fmt.Errorf("listen in %s: %w", pod.Name(), err)
	}
	o.mu.Lock()
	o.listens = append(o.listens, l)
	o.mu.Unlock()
	o.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			if !o.keep(c) {
				return
			}
			o.wg.Go(func() {
				defer o.drop(c)
				o.handle(pod.Name(), c.(*net.TCPConn), protocol, o.certs[kind])
			})
		}
	})
	return nil
}

func (o *origin) keep(c net.Conn) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conns == nil {
		_ = c.Close() // nothing was said yet
		return false
	}
	o.conns[c] = struct{}{}
	return true
}

func (o *origin) drop(c net.Conn) {
	_ = c.Close() // often closed already
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.conns, c)
}

// close ends all servers.
func (o *origin) close() {
	o.mu.Lock()
	for _, l := range o.listens {
		_ = l.Close()
	}
	for c := range o.conns {
		_ = c.Close()
	}
	o.conns = nil
	o.mu.Unlock()
	o.wg.Wait()
}

// served is a connection of a server.
type served struct {
	origin *origin
	pod    string
	tls    string
	tcp    *net.TCPConn
	conn   net.Conn
	in     *bufio.Reader
}

// handle serves a connection in whatever its first bytes are.
func (o *origin) handle(pod string, tcp *net.TCPConn, protocol string, config *tls.Config) {
	s := &served{origin: o, pod: pod, tcp: tcp, conn: tcp, in: bufio.NewReaderSize(tcp, 64<<10)}
	first, err := s.in.Peek(1)
	if err != nil {
		return
	}
	if protocol == "mute" {
		_, _ = s.in.Discard(s.in.Buffered()) // a reset would be the answer to what is unread
		return
	}
	if protocol == "liar" {
		_, _ = io.WriteString(tcp, "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
		_ = tcp.CloseWrite()
		_, _ = io.Copy(io.Discard, io.LimitReader(tcp, 1<<20))
		return
	}
	if first[0] == 0x16 && config != nil {
		secure := tls.Server(&peeked{Conn: tcp, in: s.in}, config)
		if secure.SetDeadline(time.Now().Add(10*time.Second)) != nil || secure.Handshake() != nil || secure.SetDeadline(time.Time{}) != nil {
			return
		}
		state := secure.ConnectionState()
		s.conn, s.in, s.tls = secure, bufio.NewReaderSize(secure, 64<<10), describeTLS(&state)
	}
	if protocol == "tcp" {
		s.serveTCP()
		return
	}
	start, err := s.in.Peek(4)
	if err == nil && string(start) == "PRI " {
		s.serveHTTP2()
		return
	}
	for s.serveHTTP1() {
	}
}

// peeked is a connection of which a part is in a buffer.
type peeked struct {
	net.Conn
	in *bufio.Reader
}

// Read reads the buffer first.
func (p *peeked) Read(b []byte) (int, error) { return p.in.Read(b) }

func describeTLS(s *tls.ConnectionState) string {
	return fmt.Sprintf("alpn=%s sni=%s peer=%s", s.NegotiatedProtocol, s.ServerName, peerName(s.PeerCertificates))
}

func peerName(certs []*x509.Certificate) string {
	if len(certs) == 0 {
		return "-"
	}
	if len(certs[0].URIs) > 0 {
		return certs[0].URIs[0].String()
	}
	return strings.Join(certs[0].DNSNames, ",")
}

// serveTCP learns its trial from the first line and then does what the script
// says, or echoes.
func (s *served) serveTCP() {
	line, err := s.in.ReadString('\n')
	a := &attempt{pod: s.pod, tls: s.tls, head: line}
	_, id, _ := strings.Cut(strings.TrimSpace(line), "trial ")
	id, _, _ = strings.Cut(id, " ")
	script := s.origin.note(id, a)
	if err != nil {
		s.origin.change(func() { a.end = why(err) })
		return
	}
	s.write(script.raw, script.wait, script.end == "close")
	s.finish(script.end, a)
	if script.end == "" {
		s.echo(a, 0)
	}
}

// echo sends back what comes, until the end of the stream.
func (s *served) echo(a *attempt, lag time.Duration) {
	b := make([]byte, 16<<10)
	for {
		n, err := s.in.Read(b)
		s.origin.change(func() { a.body += string(b[:n]) })
		if n > 0 {
			time.Sleep(lag)
			_, _ = s.conn.Write(b[:n])
		}
		if err != nil {
			s.origin.change(func() { a.end = why(err) })
			if c, ok := s.conn.(interface{ CloseWrite() error }); ok {
				_ = c.CloseWrite()
			}
			return
		}
	}
}

// write writes parts; the last one goes out with the end of the connection, where
// that follows: else the next request might be sent on it before the end is seen.
func (s *served) write(parts []string, wait time.Duration, closing bool) {
	time.Sleep(wait)
	for i, part := range parts {
		if i > 0 {
			time.Sleep(pause)
		}
		if closing && i == len(parts)-1 {
			s.hold()
		}
		if _, err := io.WriteString(s.conn, part); err != nil {
			return
		}
	}
}

// hold keeps what is written back until the connection is closed.
func (s *served) hold() {
	raw, err := s.tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // without it the test is only less sure
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, 1) //nolint:gosec // descriptors are small
	})
}

// finish ends a connection as the script says.
func (s *served) finish(end string, a *attempt) {
	switch end {
	case "reset":
		_ = s.tcp.SetLinger(0)
		_ = s.tcp.Close()
	case "close":
		_ = s.conn.Close()
	case "hold":
		_, err := io.Copy(io.Discard, s.in)
		s.origin.change(func() { a.end = why(err) })
	}
}

// why tells how reading ended.
func why(err error) string {
	var ne net.Error
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return "eof"
	case errors.As(err, &ne) && ne.Timeout():
		return "timeout"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "cut"
	}
	return "reset"
}

//go:build oracle

package oracle_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// answer is what the origin does about one request.
type answer struct {
	// parts are written with a pause between them.
	parts []string
	// end is "close", "reset", "fin" or nothing: the connection is kept.
	end string
	// early answers when the head has come, and never reads the body.
	early bool
	// before runs first.
	wait time.Duration
	// frames answers a request over HTTP/2 instead of parts.
	frames func(id uint32) []string
	// tunnel copies what comes back, in capitals, after the parts.
	tunnel bool
}

const hello = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"

const pause = 40 * time.Millisecond

// origin plays the current case's answers, and records what it was sent.
type origin struct {
	plain, secure net.Listener
	pki           *pki

	mu      sync.Mutex
	answers []answer
	raw     func(net.Conn) // of TCP cases
	seen    []string
	gen     int
	conns   map[net.Conn]bool
}

func newOrigin(t *testing.T, p *pki) *origin {
	t.Helper()
	o := &origin{pki: p, conns: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	o.plain, o.secure = listen(), listen()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.ca.RootPEM())
	for _, l := range []net.Listener{o.plain, o.secure} {
		wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				o.mu.Lock()
				o.conns[c] = true
				o.mu.Unlock()
				wg.Go(func() {
					defer func() {
						_ = c.Close()
						o.mu.Lock()
						delete(o.conns, c)
						o.mu.Unlock()
					}()
					conn := c
					if l == o.secure {
						tc := tls.Server(c, &tls.Config{
							Certificates: []tls.Certificate{p.origin}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert,
							NextProtos: []string{"istio-http/1.1", "istio", "http/1.1"},
						})
						if err := tc.Handshake(); err != nil {
							o.note("handshake failed")
							return
						}
						st := tc.ConnectionState()
						o.note(fmt.Sprintf("tls alpn=%s sni=%s version=%x peer=%v", st.NegotiatedProtocol, st.ServerName, st.Version, st.PeerCertificates[0].URIs))
						conn = tc
					}
					o.serve(conn)
				})
			}
		})
	}
	t.Cleanup(func() {
		_ = o.plain.Close()
		_ = o.secure.Close()
		o.mu.Lock()
		for c := range o.conns {
			_ = c.Close()
		}
		o.mu.Unlock()
		wg.Wait()
	})
	return o
}

func (o *origin) port() int    { return portOf(o.plain) }
func (o *origin) tlsPort() int { return portOf(o.secure) }

// begin sets what the next requests get.
func (o *origin) begin(answers []answer, raw func(net.Conn)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers, o.raw, o.seen = answers, raw, nil
	o.gen++
}

func (o *origin) generation() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.gen
}

func (o *origin) taken() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.seen...)
}

func (o *origin) note(s string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = append(o.seen, s)
}

// next records the start of a request and returns what to do about it.
func (o *origin) next(head string) (int, answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = append(o.seen, head)
	n := 0
	for _, s := range o.seen {
		if !strings.HasPrefix(s, "tls ") {
			n++
		}
	}
	a := answer{parts: []string{hello}}
	if len(o.answers) > 0 {
		a = o.answers[min(n, len(o.answers))-1]
	}
	return len(o.seen) - 1, a
}

func (o *origin) add(i int, s string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i < len(o.seen) {
		o.seen[i] += s
	}
}

func (o *origin) serve(c net.Conn) {
	r := bufio.NewReader(c)
	o.mu.Lock()
	raw := o.raw
	o.mu.Unlock()
	if raw != nil {
		raw(c)
		return
	}
	if b, err := r.Peek(4); err == nil && string(b) == "PRI " {
		o.serve2(c, r)
		return
	}
	for {
		gen := o.generation()
		head, err := readHead(r)
		if err != nil {
			if head != "" && o.generation() == gen {
				o.note(head + "<" + why(err) + ">")
			}
			return
		}
		i, a := o.next(head)
		if !a.early {
			if !o.readBody(r, head, i) {
				return
			}
		}
		time.Sleep(a.wait)
		for n, part := range a.parts {
			if n > 0 {
				time.Sleep(pause)
			}
			if _, err := io.WriteString(c, part); err != nil {
				return
			}
		}
		if a.early && a.end == "" {
			if !o.readBody(r, head, i) {
				return
			}
		}
		if a.tunnel {
			o.echo(c, r, i)
			return
		}
		switch a.end {
		case "close":
			return
		case "reset":
			if tc, ok := c.(*net.TCPConn); ok {
				_ = tc.SetLinger(0)
			}
			return
		case "fin":
			_ = c.(*net.TCPConn).CloseWrite()
			n, err := io.Copy(io.Discard, r)
			_, _ = n, err
			return
		case "hold":
			b := make([]byte, 4096)
			for {
				n, err := r.Read(b)
				o.add(i, string(b[:n]))
				if err != nil {
					return
				}
			}
		}
	}
}

func (o *origin) echo(c net.Conn, r *bufio.Reader, i int) {
	b := make([]byte, 4096)
	for {
		n, err := r.Read(b)
		o.add(i, string(b[:n]))
		if n > 0 {
			_, _ = io.WriteString(c, strings.ToUpper(string(b[:n])))
		}
		if err != nil {
			o.add(i, "<"+why(err)+">")
			return
		}
	}
}

func why(err error) string {
	var ne net.Error
	switch {
	case errors.Is(err, io.EOF):
		return "eof"
	case errors.As(err, &ne) && ne.Timeout():
		return "timeout"
	case strings.Contains(err.Error(), "reset"):
		return "reset"
	default:
		return "error"
	}
}

func readHead(r *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return b.String(), err
		}
		if line == "\r\n" {
			return b.String(), nil
		}
	}
}

// readBody records the body as its framing says.
func (o *origin) readBody(r *bufio.Reader, head string, i int) bool {
	take := func(n int) bool {
		var b strings.Builder
		_, err := io.CopyN(&b, r, int64(n))
		o.add(i, b.String())
		if err != nil {
			o.add(i, "<"+why(err)+">")
		}
		return err == nil
	}
	lower := strings.ToLower(head)
	if strings.Contains(lower, "transfer-encoding: chunked") {
		for {
			line, err := r.ReadString('\n')
			o.add(i, line)
			if err != nil {
				o.add(i, "<"+why(err)+">")
				return false
			}
			size, _ := strconv.ParseInt(strings.TrimSpace(strings.SplitN(line, ";", 2)[0]), 16, 64)
			if size == 0 {
				rest, err := readHead(r)
				o.add(i, rest)
				return err == nil
			}
			if !take(int(size) + 2) {
				return false
			}
		}
	}
	if _, rest, ok := strings.Cut(lower, "content-length: "); ok {
		n, _ := strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "\r\n", 2)[0]))
		return take(n)
	}
	return true
}

package twin

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/pki"
)

// probePath is asked for after a response, to learn whether the connection goes on.
const probePath = "/probe"

const (
	dialWait = 5 * time.Second
	// quietWait is how long a client waits for something to happen.
	quietWait = 3 * time.Second
	// probeWait bounds the wait for the answer to a probe.
	probeWait = 8 * time.Second
	// lull is how long something may still follow a complete response.
	lull = 15 * time.Millisecond
)

// player plays trials.
type player struct {
	// immutable
	pods    map[string]*testmesh.Pod
	ca      *pki.CA
	foreign *pki.CA
	// firstPort is the client's port of the first trial.
	firstPort int
	turns     map[string]*sync.Mutex // by what a trial wants for itself
}

// played is what a client saw, and its address on the connection.
type played struct {
	local string
	parts outcome
}

// play plays a trial.
func (p *player) play(ctx context.Context, t *trial, id string) (*played, error) {
	from := t.from
	if from == "" {
		from = "client"
	}
	if t.alone != "" {
		p.turns[t.alone].Lock()
		defer p.turns[t.alone].Unlock()
	}
	for _, text := range t.beside {
		other, err := p.open(ctx, p.pods[from], t.to, 0)
		if err != nil {
			return nil, fmt.Errorf("%s: dial beside: %w", t.name, err)
		}
		defer p.end(other)
		if _, err := io.WriteString(other, strings.ReplaceAll(text, "{id}", id)); err != nil {
			return nil, fmt.Errorf("%s: write beside: %w", t.name, err)
		}
		time.Sleep(3 * pause)
	}
	n, err := strconv.Atoi(id)
	if err != nil {
		return nil, err
	}
	c, err := p.open(ctx, p.pods[from], t.to, p.firstPort+n)
	if err != nil {
		return nil, fmt.Errorf("%s: dial %s: %w", t.name, t.to, err)
	}
	defer c.Close()
	out := &played{local: c.LocalAddr().String(), parts: outcome{}}
	call := &call{trial: t, id: id, tcp: c.(*net.TCPConn), conn: c, parts: out.parts}
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, err
	}
	if t.hello != nil && !p.handshake(call) {
		return out, nil
	}
	call.in = bufio.NewReaderSize(call.conn, 64<<10)
	if t.streams != nil {
		call.http2()
	} else {
		call.bytes()
	}
	return out, nil
}

// end waits for the answer on a connection beside, so that the next trial finds none
// under way, and closes it.
func (p *player) end(c net.Conn) {
	_ = c.SetReadDeadline(time.Now().Add(quietWait))
	_, _ = c.Read(make([]byte, 4<<10))
	_ = c.Close()
	time.Sleep(pause)
}

// open connects from a port of the trial's own, which tells its lines of the access
// log apart from all others; 0 leaves it to the kernel.
func (p *player) open(ctx context.Context, from *testmesh.Pod, to string, own int) (net.Conn, error) {
	host, port, err := net.SplitHostPort(to)
	if err != nil {
		return nil, err
	}
	addrs, err := from.Lookup(host)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.Addr().AsSlice(), Port: own}}
	var c net.Conn
	err = from.NetNS().Do(func() (err error) { // the address is literal, so this thread dials
		c, err = d.DialContext(ctx, "tcp", net.JoinHostPort(addrs[0].String(), port))
		return err
	})
	return c, err
}

// handshake does the client's side of TLS and reports whether it went well.
func (p *player) handshake(c *call) bool {
	h := c.trial.hello
	config := &tls.Config{
		ServerName: h.sni, NextProtos: h.alpn, MinVersion: tls.VersionTLS12, MaxVersion: h.version,
		InsecureSkipVerify: true, //nolint:gosec // the certificate is a part of the outcome
	}
	if h.account != "" {
		ca := p.ca
		if h.foreign {
			ca = p.foreign
		}
		cert, err := ca.Leaf("spiffe://cluster.local/ns/twin/sa/"+h.account, time.Hour)
		if err != nil {
			c.parts["tls.error"] = err.Error()
			return false
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { // whomever the server trusts
			return &cert, nil
		}
	}
	secure := tls.Client(c.tcp, config)
	if err := secure.Handshake(); err != nil {
		c.parts["tls.error"] = alert(err)
		return false
	}
	state := secure.ConnectionState()
	c.conn = secure
	c.parts["tls.alpn"], c.parts["tls.server"] = state.NegotiatedProtocol, peerName(state.PeerCertificates)
	c.parts["tls.version"] = tls.VersionName(state.Version)
	return true
}

// alert tells a failed handshake by the peer's alert alone.
func alert(err error) string {
	var remote *net.OpError
	var verify *tls.CertificateVerificationError
	switch {
	case errors.As(err, &remote) && remote.Op == "remote error":
		return remote.Err.Error()
	case errors.As(err, &verify), errors.As(err, new(x509.UnknownAuthorityError)):
		return "server's certificate"
	}
	return "ended without an alert"
}

// call is a trial under way.
type call struct {
	trial *trial
	id    string
	tcp   *net.TCPConn
	conn  net.Conn
	in    *bufio.Reader
	parts outcome
}

// fill puts the trial's number into a text.
func (c *call) fill(s string) string { return strings.ReplaceAll(s, "{id}", c.id) }

func (c *call) quiet() time.Duration {
	if c.trial.quiet > 0 {
		return c.trial.quiet
	}
	return quietWait
}

// bytes sends bytes and reads what comes back, as HTTP/1 unless the trial says raw.
func (c *call) bytes() {
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		c.send()
	}()
	var text []byte
	var end string
	if c.trial.raw {
		text, end = c.untilQuiet()
		c.parts["response.bytes"] = clip(string(text))
	} else {
		text, end = c.responses()
		c.read(text)
	}
	<-sent
	c.parts["end"] = end
}

func (c *call) send() {
	for i, part := range c.trial.send {
		if i > 0 {
			time.Sleep(max(pause, c.trial.gap))
		}
		if _, err := io.WriteString(c.conn, c.fill(part)); err != nil {
			return
		}
	}
	switch c.trial.after {
	case "fin":
		if w, ok := c.conn.(interface{ CloseWrite() error }); ok {
			_ = w.CloseWrite()
		}
	case "reset":
		time.Sleep(max(pause, c.trial.gap))
		_ = c.tcp.SetLinger(0)
		_ = c.tcp.Close()
	}
}

// untilQuiet reads until the end of the stream, or until nothing has come for a
// while.
func (c *call) untilQuiet() ([]byte, string) {
	var text []byte
	b := make([]byte, 64<<10)
	for {
		if err := c.conn.SetReadDeadline(time.Now().Add(c.quiet())); err != nil {
			return text, "closed"
		}
		n, err := c.conn.Read(b)
		text = append(text, b[:n]...)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return text, "open"
		}
		if err != nil {
			return text, "closed"
		}
	}
}

// responses reads until the awaited responses are there, and says what becomes of
// the connection.
func (c *call) responses() ([]byte, string) {
	var text []byte
	b := make([]byte, 64<<10)
	want := max(c.trial.want, 1)
	methods := methodsOf(c.trial.send)
	probed := false
	for {
		done := c.trial.after == "" && count(text, methods) >= want
		wait := c.quiet()
		switch {
		case probed:
			wait = probeWait
		case done && !bytes.Contains(text, []byte("HTTP/1.1 101 ")): // what follows that one takes its time
			wait = lull
		}
		if err := c.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return text, "closed"
		}
		n, err := c.conn.Read(b)
		if probed && n > 0 {
			return text, "kept"
		}
		text = append(text, b[:n]...)
		switch {
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return text, "closed"
		case !done:
			return text, "silent"
		case probed || bytes.Contains(text, []byte("HTTP/1.1 101 ")):
			return text, "open"
		default:
			probed = true
			_, _ = io.WriteString(c.conn, "GET "+probePath+" HTTP/1.1\r\nhost: "+hostOf(c.trial.send)+"\r\n\r\n")
		}
	}
}

// hostOf returns the host that the first request names, or one that is known: what
// goes to unknown hosts may take long.
func hostOf(send []string) string {
	for line := range strings.SplitSeq(strings.Join(send, ""), "\r\n") {
		name, v, ok := strings.Cut(line, ":")
		if v = strings.TrimSpace(v); ok && strings.EqualFold(name, "host") && knownHost.MatchString(v) {
			return v
		}
	}
	return routesHost
}

var knownHost = regexp.MustCompile(`^[a-z]+(\.twin(\.svc\.cluster\.local)?)(:\d+)?$`)

// methodsOf returns the methods of the requests that are sent, as far as they are
// plain to see.
func methodsOf(send []string) []string {
	var methods []string
	for line := range strings.SplitSeq(strings.Join(send, ""), "\r\n") {
		if m, rest, ok := strings.Cut(line, " "); ok && strings.HasSuffix(rest, " HTTP/1.1") {
			methods = append(methods, m)
		}
	}
	return methods
}

// count counts the final responses that are complete.
func count(text []byte, methods []string) int {
	n := 0
	for {
		r, rest, ok := parse(text, nth(methods, n))
		if !ok || !r.whole {
			return n
		}
		if r.status >= 200 || r.status == 101 {
			n++
		}
		if r.status == 101 {
			return n
		}
		text = rest
	}
}

func nth(methods []string, i int) string {
	if i < len(methods) {
		return methods[i]
	}
	return "GET"
}

// response is one of a stream of responses.
type response struct {
	line     string
	status   int
	lines    []field
	body     string
	trailers []field
	whole    bool
}

// parse takes the first response of a text; what is cut off has whole unset.
func parse(text []byte, method string) (r response, rest []byte, ok bool) {
	first, rest, ok := bytes.Cut(text, []byte("\r\n\r\n"))
	if !ok {
		return r, text, false
	}
	head := strings.Split(string(first), "\r\n")
	r.line = head[0]
	if parts := strings.SplitN(r.line, " ", 3); len(parts) > 1 {
		r.status, _ = strconv.Atoi(parts[1])
	}
	for _, l := range head[1:] {
		name, v, _ := strings.Cut(l, ":")
		r.lines = append(r.lines, field{name, strings.TrimPrefix(v, " ")})
	}
	length := value(r.lines, "content-length")
	switch {
	case r.status < 200, r.status == 204, r.status == 304, method == "HEAD", method == "CONNECT" && r.status < 300:
		r.whole = true
	case value(r.lines, "transfer-encoding") == "chunked":
		rest = r.chunks(rest)
	case length != "":
		n, _ := strconv.Atoi(length)
		r.whole = len(rest) >= n
		n = min(n, len(rest))
		r.body, rest = string(rest[:n]), rest[n:]
	default:
		r.body, rest = string(rest), nil // up to the end of the connection
	}
	return r, rest, true
}

// chunks reads a chunked body and returns what follows it.
func (r *response) chunks(text []byte) []byte {
	in := bytes.NewReader(text)
	buffered := bufio.NewReader(in)
	body, err := io.ReadAll(httputil.NewChunkedReader(buffered))
	r.body = string(body)
	if err != nil {
		return nil
	}
	for {
		line, err := buffered.ReadString('\n')
		if err != nil {
			return nil
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			break
		}
		name, v, _ := strings.Cut(line, ":")
		r.trailers = append(r.trailers, field{name, strings.TrimPrefix(v, " ")})
	}
	r.whole = true
	return text[len(text)-in.Len()-buffered.Buffered():]
}

// read puts responses into the outcome.
func (c *call) read(text []byte) {
	methods := methodsOf(c.trial.send)
	final := 0
	for n := 1; len(text) > 0; n++ {
		prefix := "response"
		if n > 1 {
			prefix += strconv.Itoa(n)
		}
		r, rest, ok := parse(text, nth(methods, final))
		if !ok {
			c.parts[prefix+".bytes"] = clip(string(text))
			return
		}
		if r.status >= 200 {
			final++
		}
		c.parts[prefix+".status"] = r.line
		c.parts.head(prefix, r.lines)
		c.parts[prefix+".body"] = clip(r.body)
		for _, f := range r.trailers {
			c.parts[prefix+".trailer "+f.name] = f.value
		}
		if r.status == 101 {
			c.parts[prefix+".bytes"] = clip(string(rest))
			return
		}
		text = rest
	}
}

//go:build oracle

package oracle_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// trial is one case: bytes for a listener, and what the origin does.
type trial struct {
	name string
	// to is the listener: "out" where empty.
	to string
	// send is written in parts with a pause between.
	send    []string
	answers []answer
	raw     func(net.Conn)
	// want is how many final responses are awaited; 0 means 1.
	want int
	// quiet is how long to wait for something; 0 means the default.
	quiet time.Duration
	// after is "fin", "close" or "reset": what the downstream does when it has
	// sent everything.
	after  string
	alpn   []string
	settle time.Duration
	// http2 has what is sent and what comes back be frames; want counts streams.
	http2 bool
	// anyOrder: requests reach the origin beside each other.
	anyOrder bool
}

// outcome is what one side did about a trial.
type outcome struct {
	response string
	end      string // "kept", "closed", "reset"
	origin   []string
	local    string
	log      []string
}

func (s *side) play(t *testing.T, tr *trial, n int) outcome {
	t.Helper()
	s.origin.begin(tr.answers, tr.raw)
	to := tr.to
	if to == "" {
		to = "out"
	}
	port := s.ports[to]
	if name, ok := strings.CutPrefix(to, "tcp:"); ok {
		port = s.tcp[name]
	}
	// An address of its own tells its access log's lines apart.
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 10, byte(n/250), byte(1+n%250))}}
	tc, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer tc.Close()
	var c net.Conn = tc
	out := outcome{local: tc.LocalAddr().String()}
	if to == "intls" {
		c = tls.Client(tc, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{s.pki.client}, NextProtos: tr.alpn, ServerName: "outbound_.80_._.web.example"})
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i, part := range tr.send {
			if i > 0 {
				time.Sleep(pause)
			}
			if _, err := io.WriteString(c, part); err != nil {
				return
			}
		}
		switch tr.after {
		case "fin":
			if cw, ok := c.(interface{ CloseWrite() error }); ok {
				_ = cw.CloseWrite()
			}
		case "close":
			time.Sleep(pause)
			_ = c.Close()
		case "reset":
			time.Sleep(pause)
			_ = tc.(*net.TCPConn).SetLinger(0)
			_ = tc.Close()
		}
	}()
	out.response, out.end = listen(c, tr)
	if tr.http2 {
		read := read2([]byte(out.response))
		if out.response = read.String(); read.refused(s.name == "envoy") {
			out.response, out.end = "refused", "refused"
		}
	}
	<-sent
	_ = c.Close()
	settle := tr.settle
	if settle == 0 {
		settle = 3 * time.Millisecond
	}
	time.Sleep(settle)
	out.origin = s.origin.taken()
	if tr.anyOrder {
		slices.Sort(out.origin)
	}
	return out
}

// listen reads until the expected responses are complete and nothing follows.
func listen(c net.Conn, tr *trial) (string, string) {
	quiet := tr.quiet
	if quiet == 0 {
		quiet = 700 * time.Millisecond
	}
	want := max(tr.want, 1)
	var b bytes.Buffer
	buf := make([]byte, 64<<10)
	deadline := time.Now().Add(quiet)
	for {
		wait := deadline
		n := 0
		if tr.http2 {
			n = len(read2(b.Bytes()).ended)
		} else {
			n = complete(b.Bytes(), tr.send)
		}
		if n >= want {
			wait = time.Now().Add(25 * time.Millisecond)
			if n > want {
				wait = time.Now().Add(15 * time.Millisecond)
			}
		}
		_ = c.SetReadDeadline(wait)
		got, err := c.Read(buf)
		b.Write(buf[:got])
		if got > 0 {
			deadline = time.Now().Add(quiet)
		}
		if err != nil {
			switch why(err) {
			case "timeout":
				if n < want && b.Len() > 0 {
					return b.String(), "silent"
				}
				return b.String(), "kept"
			case "eof":
				return b.String(), "closed"
			default:
				return b.String(), "reset"
			}
		}
	}
}

// complete counts the final responses that are there in full.
func complete(b []byte, send []string) int {
	head := len(send) > 0 && strings.HasPrefix(strings.TrimLeft(send[0], "\r\n"), "HEAD ")
	n := 0
	for {
		i := bytes.Index(b, []byte("\r\n\r\n"))
		if i < 0 {
			return n
		}
		h := strings.ToLower(string(b[:i+2]))
		b = b[i+4:]
		status := 0
		if len(h) > 12 {
			status, _ = strconv.Atoi(h[9:12])
		}
		switch {
		case status == 101:
			return n
		case status >= 100 && status < 200:
			continue
		case head, status == 204, status == 304:
		case strings.Contains(h, "transfer-encoding: chunked"):
			end := bytes.Index(b, []byte("0\r\n\r\n"))
			if end < 0 {
				return n
			}
			b = b[end+5:]
		default:
			size := 0
			if _, rest, ok := strings.Cut(h, "\r\ncontent-length: "); ok {
				size, _ = strconv.Atoi(strings.SplitN(rest, "\r\n", 2)[0])
			} else if status != 0 && !strings.Contains(h, "content-length") {
				size = 0
			}
			if len(b) < size {
				return n
			}
			b = b[size:]
		}
		n++
	}
}

type mask struct {
	re *regexp.Regexp
	to string
}

var masks = []mask{
	{regexp.MustCompile(`(?m)^date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r?$`), "date: DATE"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`), "UUID-$1"},
	{regexp.MustCompile(`x-envoy-upstream-service-time: \d+`), "x-envoy-upstream-service-time: N"},
	{regexp.MustCompile(`service_time=\d+`), "service_time=N"},
	{regexp.MustCompile(`x-envoy-expected-rq-timeout-ms: 1[45]\d{3}`), "x-envoy-expected-rq-timeout-ms: N"},
}

var address = regexp.MustCompile(`127\.\d+\.\d+\.\d+:(\d+)`)

// hello13 is a TLS record that carries a ClientHello, which is random.
var hello13 = regexp.MustCompile("(?s)\x16\x03\x01.*")

var ownAddress = regexp.MustCompile(`127\.10\.\d+\.\d+([^\d:])`)

// tidy replaces what differs between two equal runs.
func (s *side) tidy(text string) string {
	text = hello13.ReplaceAllString(text, "<a TLS hello>")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	for _, m := range masks {
		text = m.re.ReplaceAllString(text, m.to)
	}
	names := map[string]string{}
	for n, p := range s.ports {
		names[strconv.Itoa(p)] = n
	}
	for n, p := range s.tcp {
		names[strconv.Itoa(p)] = "tcp:" + n
	}
	text = ownAddress.ReplaceAllString(text, "127.0.0.1$1")
	return address.ReplaceAllStringFunc(text, func(a string) string {
		if !strings.HasPrefix(a, "127.0.0.1:") {
			return "[downstream]"
		}
		port := a[strings.LastIndexByte(a, ':')+1:]
		if n := names[port]; n != "" {
			return "[" + n + "]"
		}
		return "[ephemeral]"
	})
}

func (s *side) describe(o *outcome) map[string]string {
	limit := func(t string) string {
		if len(t) > 3000 {
			return t[:1500] + fmt.Sprintf("...%d bytes...", len(t)) + t[len(t)-200:]
		}
		return t
	}
	end := o.end
	if strings.Contains(o.response, "\r\nconnection: close\r\n") && (end == "kept" || end == "closed") {
		end = "announced"
	}
	return map[string]string{
		"response": limit(s.tidy(o.response)),
		"end":      end,
		"origin":   limit(s.tidy(strings.Join(o.origin, "\n----\n"))),
		"log":      limit(s.tidy(strings.ReplaceAll(strings.Join(o.log, "\n--\n"), "\t", "\n"))),
	}
}

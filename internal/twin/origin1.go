package twin

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
)

// serveHTTP1 serves one request and reports whether another may follow.
func (s *served) serveHTTP1() bool {
	a, id, err := s.readHead()
	if err != nil {
		return false
	}
	script := s.origin.note(id, a)
	if strings.EqualFold(value(a.lines, "expect"), "100-continue") && !script.early {
		if _, err := io.WriteString(s.conn, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return false
		}
	}
	if !script.early && !s.readBody(a) {
		return false
	}
	parts := script.raw
	if parts == nil {
		parts = []string{render(script.reply, s.pod, strings.HasPrefix(a.head, "HEAD "))}
	}
	s.write(parts, script.wait, script.end == "close")
	if script.early && script.end == "" && !s.readBody(a) {
		return false
	}
	if script.tunnel {
		s.echo(a, script.lag)
		return false
	}
	s.finish(script.end, a)
	return script.end == ""
}

func (s *served) readHead() (*attempt, string, error) {
	a := &attempt{pod: s.pod, tls: s.tls}
	line, err := s.in.ReadString('\n')
	if err != nil {
		return nil, "", err
	}
	a.head = strings.TrimRight(line, "\r\n")
	a.lines, err = s.readLines()
	return a, value(a.lines, "x-trial"), err
}

func (s *served) readLines() ([]field, error) {
	var lines []field
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return lines, err
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			return lines, nil
		}
		name, v, _ := strings.Cut(line, ":")
		lines = append(lines, field{strings.ToLower(name), strings.TrimPrefix(v, " ")})
	}
}

// value returns the first value of a header.
func value(lines []field, name string) string {
	for _, l := range lines {
		if strings.EqualFold(l.name, name) {
			return l.value
		}
	}
	return ""
}

// readBody reads the request's body and reports whether it is complete.
func (s *served) readBody(a *attempt) bool {
	var body []byte
	var err error
	var tail []field
	switch length := value(a.lines, "content-length"); {
	case strings.EqualFold(value(a.lines, "transfer-encoding"), "chunked"):
		if body, err = io.ReadAll(httputil.NewChunkedReader(s.in)); err == nil {
			tail, err = s.readLines()
		}
	case length != "":
		n, _ := strconv.Atoi(length)
		body = make([]byte, n)
		n, err = io.ReadFull(s.in, body)
		body = body[:n]
	}
	s.origin.change(func() {
		a.body, a.tail = string(body), tail
		if err != nil {
			a.end = why(err)
		}
	})
	return err == nil
}

// render writes a reply as HTTP/1.1.
func render(r *reply, pod string, head bool) string {
	r = complete(r, pod)
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", r.status, http.StatusText(r.status))
	for _, f := range r.fields {
		fmt.Fprintf(&b, "%s: %s\r\n", f.name, f.value)
	}
	bodiless := r.status < 200 || r.status == http.StatusNoContent || r.status == http.StatusNotModified
	switch {
	case bodiless:
		b.WriteString("\r\n")
		return b.String()
	case r.chunked || len(r.trailers) > 0:
		b.WriteString("transfer-encoding: chunked\r\n\r\n")
	default:
		fmt.Fprintf(&b, "content-length: %d\r\n\r\n", len(r.body))
	}
	if head {
		return b.String()
	}
	if !r.chunked && len(r.trailers) == 0 {
		return b.String() + r.body
	}
	if r.body != "" {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(r.body), r.body)
	}
	b.WriteString("0\r\n")
	for _, f := range r.trailers {
		fmt.Fprintf(&b, "%s: %s\r\n", f.name, f.value)
	}
	return b.String() + "\r\n"
}

// complete returns the reply of a script, or the usual one.
func complete(r *reply, pod string) *reply {
	if r == nil {
		r = &reply{status: http.StatusOK, body: "hello\n", fields: fields("content-type: text/plain", "server: origin")}
	}
	full := *r
	full.fields = append(append([]field{}, r.fields...), field{"x-pod", pod})
	return &full
}

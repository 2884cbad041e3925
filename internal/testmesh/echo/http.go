package echo

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Reply is what an HTTP port tells of a request.
type Reply struct {
	Pod, Version string

	Method  string
	Target  string      // as in the request line
	Path    string      // of Target
	Proto   string      // HTTP/1.1
	Host    string      // value of the first Host line
	Headers [][2]string // name and value of each line, in order, as received

	Remote     string // address of the connection's peer
	Local      string // our address on it
	Connection uint64 // number of the connection, in order of arrival
	Request    int    // number of the request on its connection

	BodyLength int64
	BodySHA256 string
	Trailers   [][2]string
}

// Header returns the values of all lines of that name, whatever their case.
func (r *Reply) Header(name string) []string {
	var values []string
	for _, h := range r.Headers {
		if strings.EqualFold(h[0], name) {
			values = append(values, h[1])
		}
	}
	return values
}

// knobs are what a query asks for beyond the reply.
type knobs struct {
	Status  int           // ?status=503
	Delay   time.Duration // ?delay=100ms, before the head
	Pause   time.Duration // ?pause=100ms, between head and body
	Size    int           // ?size=1024: this many bytes instead of JSON
	Close   bool          // ?close=1: Connection: close
	Chunked bool          // ?chunked=1
	Reset   bool          // ?reset=1: no answer but a reset
	Headers []string      // ?header=Name:value, may be repeated
	Early   bool          // ?early=1: answer before the body is read
}

func parseKnobs(q url.Values) knobs {
	number := func(name string) int { n, _ := strconv.Atoi(q.Get(name)); return n }
	span := func(name string) time.Duration { d, _ := time.ParseDuration(q.Get(name)); return d }
	k := knobs{
		Status: number("status"), Delay: span("delay"), Pause: span("pause"), Size: -1,
		Close: q.Has("close"), Chunked: q.Has("chunked"), Reset: q.Has("reset"), Early: q.Has("early"),
		Headers: q["header"],
	}
	if q.Has("size") {
		k.Size = number("size")
	}
	if k.Status < 100 || k.Status > 999 {
		k.Status = http.StatusOK
	}
	return k
}

// maxHead bounds a head; it is larger than what any proxy in front lets through.
const maxHead = 1 << 20

// idle bounds the wait for the next request.
const idle = 5 * time.Minute

// serveHTTP serves requests until the connection ends.
func (s *server) serveHTTP(c *net.TCPConn, number uint64) {
	in := bufio.NewReaderSize(c, 16<<10)
	for n := 1; ; n++ {
		if c.SetReadDeadline(time.Now().Add(idle)) != nil {
			return
		}
		r, err := readHead(in)
		if err != nil {
			return
		}
		r.Pod, r.Version = s.config.Pod, s.config.Version
		r.Remote, r.Local = c.RemoteAddr().String(), c.LocalAddr().String()
		r.Connection, r.Request = number, n
		if !exchange(c, in, r) {
			return
		}
	}
}

// exchange answers one request and reports whether another may follow.
func exchange(c *net.TCPConn, in *bufio.Reader, r *Reply) bool {
	u, err := url.ParseRequestURI(r.Target)
	if err != nil {
		u = &url.URL{Path: r.Target}
	}
	r.Path = u.Path
	k := parseKnobs(u.Query())
	if hasToken(r.Header("Connection"), "close") || r.Proto == "HTTP/1.0" && !hasToken(r.Header("Connection"), "keep-alive") {
		k.Close = true
	}
	if hasToken(r.Header("Expect"), "100-continue") && !k.Early {
		if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return false
		}
	}
	if !k.Early && readBody(in, r) != nil {
		return false
	}
	time.Sleep(k.Delay)
	if k.Reset {
		_ = c.SetLinger(0) // makes the close a reset
		return false
	}
	if upgraded(c, in, r) || respond(c, r, k) != nil {
		return false
	}
	if k.Early && readBody(in, r) != nil {
		return false
	}
	return !k.Close
}

// readHead reads the request line and the header lines.
func readHead(in *bufio.Reader) (*Reply, error) {
	line, err := readLine(in)
	if err != nil {
		return nil, err
	}
	r := &Reply{}
	var ok, ok2 bool
	r.Method, line, ok = strings.Cut(line, " ")
	r.Target, r.Proto, ok2 = strings.Cut(line, " ")
	if !ok || !ok2 {
		return nil, errors.New("malformed request line")
	}
	if r.Headers, err = readLines(in); err != nil {
		return nil, err
	}
	if h := r.Header("Host"); len(h) > 0 {
		r.Host = h[0]
	}
	return r, nil
}

// readLines reads header lines up to the empty one.
func readLines(in *bufio.Reader) ([][2]string, error) {
	lines := [][2]string{}
	for size := 0; size < maxHead; {
		line, err := readLine(in)
		if err != nil {
			return nil, err
		}
		if line == "" {
			return lines, nil
		}
		size += len(line)
		name, value, _ := strings.Cut(line, ":")
		lines = append(lines, [2]string{name, strings.Trim(value, " \t")})
	}
	return nil, fmt.Errorf("head of more than %d bytes", maxHead)
}

func readLine(in *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, more, err := in.ReadLine()
		if err != nil {
			return "", err
		}
		line = append(line, part...)
		if !more {
			return string(line), nil
		}
		if len(line) > maxHead {
			return "", fmt.Errorf("line of more than %d bytes", maxHead)
		}
	}
}

// readBody reads the body into its length and sum, trailers included.
func readBody(in *bufio.Reader, r *Reply) error {
	sum := sha256.New()
	var err error
	switch length := r.Header("Content-Length"); {
	case hasToken(r.Header("Transfer-Encoding"), "chunked"):
		if r.BodyLength, err = io.Copy(sum, httputil.NewChunkedReader(in)); err == nil {
			r.Trailers, err = readLines(in)
		}
	case len(length) > 0:
		var n int64
		if n, err = strconv.ParseInt(length[0], 10, 64); err == nil {
			r.BodyLength, err = io.CopyN(sum, in, n)
		}
	}
	r.BodySHA256 = hexSum(sum)
	return err
}

// respond writes the response that the knobs ask for.
func respond(c io.Writer, r *Reply, k knobs) error {
	out := bufio.NewWriterSize(c, 16<<10)
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	kind, source, length := "application/json", io.Reader(strings.NewReader(string(body))), len(body)
	if k.Size >= 0 {
		kind, source, length = "application/octet-stream", Pattern(int64(k.Size)), k.Size
	}
	fmt.Fprintf(out, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nServer: echo\r\nX-Pod: %s\r\n",
		k.Status, http.StatusText(k.Status), kind, r.Pod)
	for _, h := range k.Headers {
		fmt.Fprintf(out, "%s\r\n", h)
	}
	if k.Close {
		fmt.Fprint(out, "Connection: close\r\n")
	}
	bodiless := k.Status < 200 || k.Status == http.StatusNoContent || k.Status == http.StatusNotModified
	switch {
	case bodiless:
	case k.Chunked:
		fmt.Fprint(out, "Transfer-Encoding: chunked\r\n")
	default:
		fmt.Fprintf(out, "Content-Length: %d\r\n", length)
	}
	fmt.Fprint(out, "\r\n")
	if k.Pause > 0 {
		if err := out.Flush(); err != nil {
			return err
		}
		time.Sleep(k.Pause)
	}
	if r.Method == http.MethodHead || bodiless {
		return out.Flush()
	}
	if err := writeBody(out, source, k.Chunked); err != nil {
		return err
	}
	return out.Flush()
}

func writeBody(out io.Writer, source io.Reader, chunked bool) error {
	if !chunked {
		_, err := io.Copy(out, source)
		return err
	}
	chunks := httputil.NewChunkedWriter(out)
	if _, err := io.Copy(chunks, source); err != nil {
		return err
	}
	if err := chunks.Close(); err != nil {
		return err
	}
	_, err := io.WriteString(out, "\r\n")
	return err
}

// upgraded switches to an echo of bytes if the request asks for "Upgrade: echo".
func upgraded(c *net.TCPConn, in *bufio.Reader, r *Reply) bool {
	if !hasToken(r.Header("Upgrade"), "echo") {
		return false
	}
	_, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if err == nil {
		_, err = io.Copy(c, in)
	}
	if err == nil {
		_ = c.CloseWrite() // the peer may be gone
	}
	return true
}

func hasToken(values []string, want string) bool {
	for _, v := range values {
		for token := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(token), want) {
				return true
			}
		}
	}
	return false
}

package proxy_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/proxy"
)

// tape is an upstream that keeps every byte and answers each request with hello.
type tape struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (r *tape) play(_ int, c net.Conn, _ *bufio.Reader) {
	b := make([]byte, 64<<10)
	for {
		n, err := c.Read(b)
		r.mu.Lock()
		r.all.Write(b[:n])
		r.mu.Unlock()
		if err != nil {
			return
		}
		if bytes.Contains(b[:n], []byte("\r\n\r\n")) {
			_, _ = io.WriteString(c, hello)
		}
	}
}

func (r *tape) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.String()
}

// ask2 sends one request of these fields over HTTP/2 and returns its status, or the
// code with which it was reset.
func ask2(t *testing.T, g *rig, content string, trailer, fields []string) (status, reset string) {
	t.Helper()
	c := g.dial()
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(c, xhttp2.ClientPreface)
	fr := xhttp2.NewFramer(c, c)
	fr.AllowIllegalWrites = true
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = fr.WriteSettings()
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	block := func(fields []string) []byte {
		b.Reset()
		for i := 0; i < len(fields); i += 2 {
			_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		return bytes.Clone(b.Bytes())
	}
	_ = fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block(fields), EndHeaders: true, EndStream: content == "" && trailer == nil})
	if content != "" {
		_ = fr.WriteData(1, trailer == nil, []byte(content))
	}
	if trailer != nil {
		_ = fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block(trailer), EndHeaders: true, EndStream: true})
	}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return "", "closed"
		}
		switch f := f.(type) {
		case *xhttp2.MetaHeadersFrame:
			return f.PseudoValue("status"), ""
		case *xhttp2.RSTStreamFrame:
			return "", f.ErrCode.String()
		case *xhttp2.GoAwayFrame:
			return "", f.ErrCode.String()
		}
	}
}

// What HTTP/1.1 would read as more than one request, or as another one, does not leave
// a sidecar that got it over HTTP/2.
func TestNothingIsSmuggledFromHTTP2(t *testing.T) {
	t.Parallel()
	usual := []string{":method", "POST", ":scheme", "http", ":authority", "shop", ":path", "/a"}
	with := func(more ...string) []string { return append(append([]string(nil), usual...), more...) }
	change := func(name, value string) []string {
		out := append([]string(nil), usual...)
		for i := 0; i < len(out); i += 2 {
			if out[i] == name {
				out[i+1] = value
			}
		}
		return out
	}
	const second = "GET /admin HTTP/1.1\r\nhost: shop\r\n\r\n"
	for name, c := range map[string]struct {
		fields  []string
		content string
		trailer []string
		// once: it may pass, as one request.
		once bool
	}{
		"CRLF in a value":             {fields: with("x-a", "b\r\n\r\n"+second)},
		"LF in a value":               {fields: with("x-a", "b\ny: z")},
		"CR in a value":               {fields: with("x-a", "b\ry")},
		"NUL in a value":              {fields: with("x-a", "b\x00y")},
		"CRLF in a name":              {fields: with("x-a: b\r\nx-b", "c")},
		"colon in a name":             {fields: with("x-a:", "c")},
		"space in a name":             {fields: with("transfer-encoding ", "chunked")},
		"upper case in a name":        {fields: with("Transfer-Encoding", "chunked")},
		"empty name":                  {fields: with("", "c")},
		"transfer-encoding":           {fields: with("transfer-encoding", "chunked"), content: "0\r\n\r\n" + second},
		"connection":                  {fields: with("connection", "keep-alive")},
		"te beyond trailers":          {fields: with("te", "chunked")},
		"upgrade":                     {fields: with("upgrade", "websocket")},
		"space in :method":            {fields: change(":method", "GET /admin HTTP/1.1\r\nx: ")},
		"CRLF in :path":               {fields: change(":path", "/a HTTP/1.1\r\n\r\n"+second)},
		"space in :path":              {fields: change(":path", "/a HTTP/1.1")},
		"tab in :path":                {fields: change(":path", "/a\tb")},
		"absolute :path":              {fields: change(":path", "http://other/a")},
		"empty :path":                 {fields: change(":path", "")},
		"star":                        {fields: change(":path", "*")},
		"CRLF in :authority":          {fields: change(":authority", "shop\r\n\r\n"+second)},
		"space in :authority":         {fields: change(":authority", "shop x")},
		"user in :authority":          {fields: change(":authority", "admin@shop")},
		"path in :authority":          {fields: change(":authority", "shop/admin")},
		"CRLF in :scheme":             {fields: change(":scheme", "http\r\nx: y")},
		"other :scheme":               {fields: change(":scheme", "ftp")},
		"two hosts":                   {fields: with("host", "a", "host", "b")},
		"two paths":                   {fields: with(":path", "/admin")},
		"pseudo after regular":        {fields: append([]string{"x-a", "b"}, usual...)},
		"unknown pseudo":              {fields: append([]string{":status", "200"}, usual...)},
		"length below the content":    {fields: with("content-length", "1"), content: "a" + second},
		"length beyond the content":   {fields: with("content-length", "500"), content: second},
		"length without content":      {fields: with("content-length", "5")},
		"two lengths":                 {fields: with("content-length", "1", "content-length", "2"), content: "a"},
		"list of lengths":             {fields: with("content-length", "1, 2"), content: "a"},
		"signed length":               {fields: with("content-length", "+1"), content: "a"},
		"spaced length":               {fields: with("content-length", "1 1"), content: "a"},
		"huge length":                 {fields: with("content-length", "99999999999999999999"), content: "a"},
		"pseudo in trailers":          {fields: with(), content: "a", trailer: []string{":path", "/admin"}},
		"coding in trailers":          {fields: with(), content: "a", trailer: []string{"transfer-encoding", "chunked"}},
		"CRLF in trailers":            {fields: with(), content: "a", trailer: []string{"x-a", "b\r\n\r\n" + second}},
		"content like a request":      {fields: with(), content: "0\r\n\r\n" + second, once: true},
		"same length twice":           {fields: with("content-length", "1", "content-length", "1"), content: "a"},
		"other host":                  {fields: with("host", "other"), once: true},
		"hosts and lengths, trailing": {fields: with(), content: "a", trailer: []string{"host", "other", "content-length", "9"}, once: true},
		"fragment":                    {fields: change(":path", "/a#/../admin"), once: true},
		"te twice":                    {fields: with("te", "trailers", "te", "trailers"), once: true},
		"crumbs":                      {fields: with("cookie", "a=1", "cookie", "b=2"), once: true},
		"CONNECT":                     {fields: []string{":method", "CONNECT", ":authority", "shop:80"}, content: second},
		"CONNECT to a websocket":      {fields: []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "shop", ":path", "/"}, content: second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r tape
			g := httpRig(t, proxy.HTTPSpec{Trailers: true}, to(cluster(t, nil, script(t, r.play))))
			status, reset := ask2(t, g, c.content, c.trailer, c.fields)
			early := !c.once && (c.content != "" || c.trailer != nil) // content may be answered before its error comes
			if c.once != (status == "200") && !early {
				t.Errorf("got %q %s", status, reset)
			}
			got := r.text()
			heads := parsed(t, got)
			switch {
			case c.once && heads != 1:
				t.Errorf("upstream read %d requests:\n%s", heads, got)
			case !c.once && (heads > 1 || strings.Contains(got, "/admin") && !strings.Contains(got, "transfer-encoding: chunked") && !strings.Contains(got, "content-length: ")):
				t.Errorf("upstream got:\n%s", got)
			}
			if strings.Count(got, "trailers") > 1 && c.trailer == nil {
				t.Errorf("upstream got te twice:\n%s", got)
			}
			if c.once && strings.Contains(strings.ToLower(got), "host: other") {
				t.Errorf("upstream got another host:\n%s", got)
			}
		})
	}
}

// parsed counts the requests that an HTTP/1.1 upstream reads in what it got.
func parsed(t *testing.T, got string) int {
	t.Helper()
	n := 0
	r := bufio.NewReader(strings.NewReader(got))
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return n
		}
		n++
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return n
		}
	}
}

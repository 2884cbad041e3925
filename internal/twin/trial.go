package twin

import (
	"crypto/tls"
	"strings"
	"time"
)

// trial is one case of the corpus: what a client does, and what the server
// answers. The text {id} in what is sent stands for the trial's number, by which
// the server knows its script; see get.
type trial struct {
	// name says direction, family and case: "outbound/route/exact".
	name string
	// from is the pod of the client, "client" if empty; to is host:port.
	from, to string
	// hello makes the client speak TLS first.
	hello *hello
	// send is written in parts with a pause between, or a longer gap, for HTTP/1 and TCP.
	send []string
	gap  time.Duration
	// streams are requests over HTTP/2, one after the other on one connection.
	streams []stream
	// answers are for the attempts that reach the server, the last for all further.
	answers []answer
	// beside are what other connections to the same address have sent before, a pause
	// apart, and how they are answered. Their trial is {id}h. Trials that name the same
	// thing in alone do not run at the same time.
	beside        []string
	besideAnswers []answer
	alone         string
	// want is how many final responses are awaited, 0 means 1; raw means that what
	// comes back is no HTTP.
	want int
	raw  bool
	// after is what the client does at last: "fin", "reset", or nothing.
	after string
	// quiet is how long nothing may happen before the client gives up.
	quiet time.Duration
	// loose are parts that are not compared, since timing decides them.
	loose []string
}

// hello is a client's side of TLS.
type hello struct {
	account string // "" shows no certificate
	sni     string
	alpn    []string
	version uint16
	foreign bool // the certificate is of another CA
}

// field is a header line.
type field struct{ name, value string }

// stream is a request over HTTP/2.
type stream struct {
	fields []field
	// body is sent in DATA frames; nil ends the stream with the head.
	body []string
	// trailers follow the body.
	trailers []field
	// reset ends the stream after what was sent; open leaves it open.
	reset, open bool
}

// answer is what the server does about one attempt.
type answer struct {
	// raw is written as it is, in parts with a pause between, for HTTP/1 and TCP.
	raw []string
	// reply is for any version of HTTP; nil stands for a short 200.
	reply *reply
	// wait comes before the answer.
	wait time.Duration
	// end is what follows: "close", "reset" (HTTP/2: of the stream), "hold"
	// (nothing more), "goaway", or nothing.
	end string
	// early answers before the request's body is read.
	early bool
	// tunnel echoes bytes after the answer, each time after a lag.
	tunnel bool
	lag    time.Duration
}

// reply is a response in parts.
type reply struct {
	status   int
	fields   []field
	body     string
	trailers []field
	chunked  bool
}

// pause is between the parts of what is written.
const pause = 30 * time.Millisecond

// corpus collects trials.
type corpus struct{ list []trial }

func (c *corpus) add(t trial) *trial {
	c.list = append(c.list, t)
	return &c.list[len(c.list)-1]
}

// req is a request to a host that tells its trial.
func req(method, host, path string, lines ...string) string {
	return method + " " + path + " HTTP/1.1\r\nhost: " + host + "\r\nx-trial: {id}\r\n" + join(lines) + "\r\n"
}

func get(host, path string, lines ...string) string { return req("GET", host, path, lines...) }

// join ends each line; empty ones would end the head.
func join(lines []string) string {
	var text strings.Builder
	for _, l := range lines {
		if l != "" {
			text.WriteString(l + "\r\n")
		}
	}
	return text.String()
}

// says answers with parts that are written as they are.
func says(parts ...string) []answer { return []answer{{raw: parts}} }

// replies answers with a status, and header lines "name: value".
func replies(status int, body string, lines ...string) []answer {
	return []answer{{reply: &reply{status: status, body: body, fields: fields(lines...)}}}
}

// fields parses "name: value" lines.
func fields(lines ...string) []field {
	out := make([]field, 0, len(lines))
	for _, l := range lines {
		at := strings.Index(l[1:], ":") + 1 // a pseudo header begins with a colon
		out = append(out, field{l[:at], strings.TrimPrefix(l[at+1:], " ")})
	}
	return out
}

// h2get is a request over HTTP/2.
func h2get(host, path string, lines ...string) stream { return h2req("GET", host, path, lines...) }

func h2req(method, host, path string, lines ...string) stream {
	head := fields(":method: "+method, ":scheme: http", ":authority: "+host, ":path: "+path, "x-trial: {id}")
	return stream{fields: append(head, fields(lines...)...)}
}

func (s stream) with(body ...string) stream {
	s.body = body
	return s
}

func (s stream) then(lines ...string) stream {
	s.trailers = fields(lines...)
	return s
}

// mutual is a client of the mesh.
func mutual(port string, alpn ...string) *hello {
	return &hello{account: "caller", sni: "outbound_." + port + "_._.server.twin.svc.cluster.local", alpn: alpn, version: tls.VersionTLS13}
}

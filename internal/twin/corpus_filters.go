package twin

import (
	"fmt"
	"strings"
	"time"
)

// filters are requests that are answered, held up, copied or counted before the router
// has a say.
func (c *corpus) filters() {
	c.faults()
	c.cors()
	c.hashed()
	c.limited()
}

const (
	filtersHost = "filters.twin.svc.cluster.local"
	filtersAt   = "filters.twin:80"
)

func (c *corpus) filtered(name, send string, answers ...answer) *trial {
	return c.add(trial{name: "outbound/" + name, to: filtersAt, send: []string{send}, answers: answers})
}

func (c *corpus) faults() {
	grpc := []string{"content-type: application/grpc", "te: trailers", "content-length: 0"}
	for _, p := range []string{"/abort", "/grpc-abort", "/delay", "/late-abort", "/no-abort"} {
		c.filtered("fault/GET "+p, get(filtersHost, p))
		c.filtered("fault/HEAD "+p, req("HEAD", filtersHost, p))
		c.filtered("fault/gRPC "+p, req("POST", filtersHost, p, grpc...))
		c.filtered("fault/by headers "+p, get(filtersHost, p, "x-envoy-fault-abort-request: 501", "x-envoy-fault-delay-request: 5000"))
		c.add(trial{name: "outbound/fault/HTTP2 " + p, to: filtersAt, streams: []stream{h2get(filtersHost, p)}})
	}
	c.filtered("fault/with body", req("POST", filtersHost, "/delay", "content-length: 3")+"abc")
	for _, m := range []string{"GET", "HEAD"} {
		c.filtered("mirror/"+m, req(m, filtersHost, "/mirror?x", "x-a: b"))
	}
	c.filtered("mirror/POST", req("POST", filtersHost, "/mirror", "content-length: 3")+"abc")
	c.filtered("mirror/chunked", req("POST", filtersHost, "/mirror", "transfer-encoding: chunked")+"3\r\nabc\r\n0\r\n\r\n")
	c.filtered("mirror/host with port", get(filtersHost+":80", "/mirror"))
}

func (c *corpus) cors() {
	each([][2]string{
		{"no origin", "x-a: 1"},
		{"exact", "origin: https://a.example"},
		{"exact in other case", "origin: https://A.example"},
		{"exact with port", "origin: https://a.example:443"},
		{"prefix", "origin: http://b.example"},
		{"regex", "origin: https://x.c.example"},
		{"regex not whole", "origin: https://x.c.example.org"},
		{"unknown", "origin: https://z.example"},
		{"null", "origin: null"},
		{"empty", "origin:"},
		{"twice", "origin: https://a.example\r\norigin: https://z.example"},
	}, func(name, lines string) {
		own := replies(200, "body", "access-control-allow-origin: theirs", "vary: accept", "x-b: 1")
		for _, path := range []string{"/cors", "/open-cors"} {
			c.filtered("cors/"+name+" "+path, get(filtersHost, path, strings.Split(lines, "\r\n")...))
			c.filtered("cors/"+name+", answered with its own "+path, get(filtersHost, path, strings.Split(lines, "\r\n")...), own...)
			for kind, more := range map[string]string{"preflight": "\r\naccess-control-request-method: PUT\r\naccess-control-request-headers: x-z", "preflight without method": "", "preflight of a private network": "\r\naccess-control-request-method: GET\r\naccess-control-request-private-network: true"} {
				c.filtered("cors/"+kind+" of "+name+" "+path, req("OPTIONS", filtersHost, path, strings.Split(lines+more, "\r\n")...))
			}
		}
	})
}

// hashed are requests that are balanced by a part of them: both proxies have to
// choose the same endpoint.
func (c *corpus) hashed() {
	for i := range 12 {
		c.filtered(fmt.Sprintf("hash/header %d", i), get(filtersHost, "/by-header", fmt.Sprintf("x-key: key-%d", i*i)))
		c.filtered(fmt.Sprintf("hash/query %d", i), get(filtersHost, fmt.Sprintf("/by-query?a=b&key=%d", i*i)))
	}
	c.filtered("hash/header twice", get(filtersHost, "/by-header", "x-key: b", "x-key: a"))
	c.filtered("hash/address", get(filtersHost, "/by-address"))
	c.filtered("hash/cookie", get(filtersHost, "/by-cookie", "cookie: a=b; session=mine"))
	c.filtered("hash/no cookie", get(filtersHost, "/by-cookie", "cookie: a=b"))
	c.add(trial{name: "outbound/hash/HTTP2 without cookie", to: filtersAt, streams: []stream{h2get(filtersHost, "/by-cookie")}})
}

// limited are what comes when others have used up what a cluster allows.
func (c *corpus) limited() {
	held := []answer{{wait: time.Second}}
	beside := func(path string) string {
		return "GET " + path + " HTTP/1.1\r\nhost: " + filtersHost + "\r\nx-trial: {id}h\r\n\r\n"
	}
	for _, p := range []string{"/one-request", "/one-pending"} {
		for _, m := range []string{"GET", "POST"} { // one after the other: see alone
			t := c.filtered("overflow/"+m+" "+p, req(m, filtersHost, p, "content-length: 0"))
			t.beside, t.besideAnswers, t.alone = []string{beside(p)}, held, p
			if p == "/one-pending" {
				t.beside = append(t.beside, beside(p))
			}
		}
		t := c.filtered("overflow/gRPC "+p, req("POST", filtersHost, p, "content-type: application/grpc", "content-length: 0"))
		t.beside, t.besideAnswers, t.alone = []string{beside(p), beside(p)}, held, p
	}
	t := c.add(trial{name: "outbound/overflow/TCP", to: "narrow.twin:84", send: []string{"trial {id} \n"}, raw: true, quiet: badQuiet})
	t.beside, t.alone, t.loose = []string{"trial {id}h \n"}, "tcp", []string{"end", "log*.received"}
}

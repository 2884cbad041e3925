package twin

import (
	"cmp"
	"slices"
	"time"
)

// Pods behind whose sidecar policies deny and allow, and who comes to it.
const (
	guardedAt   = "10.0.2.3"
	guardedHost = "server.twin"
)

// policyCase is a request that policies decide about.
type policyCase struct {
	name, who, method, host, path string
	lines                         []string
}

// policies are requests that AuthorizationPolicies decide about, over both versions of
// HTTP, as gRPC and as TCP.
func (c *corpus) policies() {
	for _, p := range policyCases() {
		c.policed(p, false)
		if p.who == "caller" {
			c.policed(p, true)
		}
	}
	c.policiesOfGRPC()
	c.policiesOfTCP()
}

// policed adds a case over either version of HTTP, with mutual TLS or plain.
func (c *corpus) policed(p policyCase, plain bool) {
	t := trial{from: "caller", quiet: 2 * time.Second}
	body, suffix := "", ""
	if p.method == "POST" {
		body = "abc"
	}
	at := func(port string, alpn ...string) string {
		t.to = guardedAt + ":" + port
		if suffix = " plain"; !plain {
			suffix, t.hello = "", mutual(port, alpn...)
			t.hello.account = p.who
		}
		return cmp.Or(p.host, guardedHost+":"+port)
	}
	host := at("8080", "istio-http/1.1", "istio", "http/1.1")
	t.name, t.send = "policy/HTTP1"+suffix+"/"+p.name, []string{req(p.method, host, p.path, p.lines...) + body}
	c.add(t)
	call := h2req(p.method, at("8081", "istio-h2", "istio", "h2"), p.path, p.lines...)
	if body != "" {
		call = call.with(body)
	}
	t.name, t.send, t.streams = "policy/HTTP2"+suffix+"/"+p.name, nil, []stream{call}
	c.add(t)
}

func policyCases() []policyCase {
	return []policyCase{
		{"path denied", "caller", "GET", "", "/deny-path", nil},
		{"path below denied", "caller", "GET", "", "/deny-path/x?y=1", nil},
		{"path excepted", "caller", "GET", "", "/deny-path/not", nil},
		{"path excepted, with query", "caller", "GET", "", "/deny-path/not?x", nil},
		{"path in other case", "caller", "GET", "", "/Deny-Path", nil},
		{"path by dots", "caller", "GET", "", "/allow/../deny-path", nil},
		{"path escaped", "caller", "GET", "", "/%64eny-path", nil},
		{"path by double slash", "caller", "GET", "", "//deny-path", nil},
		{"path with escaped slash", "caller", "GET", "", "/allow%2f..%2fdeny-path", nil},
		{"path with fragment", "caller", "GET", "", "/deny-path#x", nil},
		{"method denied", "caller", "DELETE", "", "/allow", nil},
		{"method not allowed", "caller", "PUT", "", "/allow", nil},
		{"header denied", "caller", "GET", "", "/allow", []string{"x-deny: yes"}},
		{"header denied by prefix", "caller", "GET", "", "/allow", []string{"x-deny: prefix"}},
		{"header of other value", "caller", "GET", "", "/allow", []string{"x-deny: no"}},
		{"header repeated", "caller", "GET", "", "/allow", []string{"x-deny: no", "x-deny: yes"}},
		{"host denied", "caller", "GET", "denied.example", "/allow", nil},
		{"host denied with port", "caller", "GET", "denied.example:8080", "/allow", nil},
		{"host in other case", "caller", "GET", "DENIED.example", "/allow", nil},
		{"host denied by suffix", "caller", "GET", "a.denied.example", "/allow", nil},
		{"principal denied", "mallory", "GET", "", "/allow", nil},
		{"principal allowed", "other", "GET", "", "/allow", nil},
		{"principal excepted", "other", "GET", "", "/not-other", nil},
		{"principal not excepted", "caller", "GET", "", "/not-other", nil},
		{"principal needed", "caller", "GET", "", "/anybody-known", nil},
		{"namespace denied", "caller", "GET", "", "/deny-namespace", nil},
		{"address denied", "caller", "GET", "", "/deny-address", nil},
		{"allowed", "caller", "GET", "", "/allow", nil},
		{"allowed by suffix", "caller", "GET", "", "/a/suffix", nil},
		{"nothing allows", "caller", "GET", "", "/else", nil},
		{"body denied", "caller", "POST", "", "/deny-path", []string{"content-length: 3"}},
		{"body allowed", "caller", "POST", "", "/allow", []string{"content-length: 3"}},
	}
}

// policiesOfGRPC are calls that are denied as gRPC denies them.
func (c *corpus) policiesOfGRPC() {
	kind := []string{"content-type: application/grpc", "te: trailers"}
	for _, p := range []struct{ name, who, path string }{
		{"denied", "caller", "/deny-path"}, {"nothing allows", "caller", "/other.Service/M"}, {"principal denied", "mallory", "/pkg.Service/M"}, {"allowed", "caller", "/pkg.Service/M"},
	} {
		h := mutual("8082", "istio-h2", "istio", "h2")
		h.account = p.who
		call := h2req("POST", guardedHost+":8082", p.path, kind...).with("\x00\x00\x00\x00\x03abc")
		c.add(trial{name: "policy/gRPC/" + p.name, from: "caller", to: guardedAt + ":8082", hello: h, streams: []stream{call}})
	}
	c.add(trial{
		name: "policy/gRPC/over HTTP1", from: "caller", to: guardedAt + ":8080", hello: mutual("8080", "istio-http/1.1", "istio", "http/1.1"),
		send: []string{req("POST", guardedHost+":8080", "/deny-path", append(kind, "content-length: 0")...)},
	})
}

// policiesOfTCP are connections that are denied, on a TCP port and on one of no
// declared protocol.
func (c *corpus) policiesOfTCP() {
	for _, who := range []string{"caller", "mallory", "other", ""} {
		for _, port := range []string{"8083", "8084"} {
			t := trial{name: "policy/TCP/port " + port + " " + who, from: "caller", to: guardedAt + ":" + port, send: []string{"trial {id} \n", "abc"}, raw: true, quiet: badQuiet}
			if who != "" {
				t.hello = mutual(port, "istio")
				t.hello.account = who
			}
			if who == "other" || who == "mallory" || who == "" { // what was received before the end is a race
				t.loose = slices.Concat(t.loose, []string{"end", "log*.received", "log*.sent", "response*", "tls.*"})
			}
			c.add(t)
		}
		if who == "" {
			continue
		}
		h := mutual("8083", "istio-http/1.1", "istio", "http/1.1")
		h.account = who
		c.add(trial{name: "policy/auto/HTTP " + who, from: "caller", to: guardedAt + ":8083", hello: h, send: []string{get(guardedHost+":8083", "/x")}, quiet: 2 * time.Second})
	}
}

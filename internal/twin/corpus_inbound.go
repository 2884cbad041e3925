package twin

import (
	"crypto/tls"
	"slices"
	"strings"
	"time"
)

// inbound are connections of every kind to a server's sidecar, PERMISSIVE and
// STRICT.
func (c *corpus) inbound() {
	h1 := []string{"istio-http/1.1", "istio", "http/1.1"}
	hellos := map[string]*hello{
		"plain":                     nil,
		"mutual":                    mutual("8080", h1...),
		"mutual with istio alone":   mutual("8080", "istio"),
		"mutual without ALPN":       mutual("8080"),
		"mutual with http/1.1":      mutual("8080", "http/1.1"),
		"mutual with unknown ALPN":  mutual("8080", "foo"),
		"mutual with peer exchange": mutual("8080", "istio-peer-exchange", "istio"),
		"without certificate":       {alpn: h1, sni: "server.twin"},
		"without anything":          {},
		"certificate of another CA": {account: "caller", foreign: true, alpn: h1, sni: "outbound_.8080_._.server.twin.svc.cluster.local"},
		"mutual with TLS 1.2":       {account: "caller", alpn: h1, version: tls.VersionTLS12, sni: "outbound_.8080_._.server.twin.svc.cluster.local"},
	}
	for _, server := range []struct{ name, addr string }{{"permissive", "10.0.2.1"}, {"strict", "10.0.2.2"}} {
		for name, h := range hellos {
			c.inboundHTTP(server.name, server.addr, name, h)
			c.inboundTCP(server.name, server.addr, name, h)
		}
		c.add(trial{name: "inbound/" + server.name + "/silent", from: "caller", to: server.addr + ":8084", raw: true, quiet: 500 * time.Millisecond, after: "fin", loose: []string{"end"}})
	}
}

// inboundHTTP sends a request to every kind of HTTP port behind a server's sidecar.
func (c *corpus) inboundHTTP(server, addr, name string, h *hello) {
	for _, port := range []struct{ name, number string }{{"HTTP", "8080"}, {"auto", "8083"}, {"refused", "9999"}, {"undefined", "8099"}} {
		if port.name == "undefined" && name != "plain" && name != "mutual" {
			continue
		}
		t := c.add(trial{
			name: "inbound/" + server + "/" + port.name + " " + name, from: "caller", to: addr + ":" + port.number, hello: h,
			send: []string{get("server.twin:"+port.number, "/x")}, quiet: badQuiet, raw: port.name == "undefined",
		})
		if passes(h) {
			t.loose = random
		}
		if port.name == "auto" && refused(server, h) {
			t.loose = append(slices.Clone(t.loose), "log*.upstream_host", "log*.upstream_local")
		}
	}
}

// inboundTCP sends bytes to the TCP ports behind a server's sidecar.
func (c *corpus) inboundTCP(server, addr, name string, h *hello) {
	for _, port := range []struct{ name, number string }{{"TCP", "8084"}, {"refused TCP", "9998"}} {
		t := c.add(trial{
			name: "inbound/" + server + "/" + port.name + " " + name, from: "caller", to: addr + ":" + port.number, hello: h,
			send: []string{"trial {id} \n", "abc"}, quiet: badQuiet, raw: true,
		})
		if passes(h) {
			t.loose = random
		}
		switch {
		case port.name == "refused TCP": // Envoy dials before the handshake has ended, and the refusal may overtake it
			t.loose = []string{"tls.*", "end", "response*", "log*.received", "log*.shaken", "log*.tls", "log*.own", "log*.cipher", "log*.peer", "log*.subject", "log*.upstream*", "log*.failure", "log*.flags"}
		case refused(server, h): // the same, and the connection may be there before the handshake fails
			t.loose = append(t.loose, "log*.upstream_host", "log*.upstream_local")
		}
	}
}

// refused reports whether the handshake fails.
func refused(server string, h *hello) bool {
	return h != nil && (h.account == "" || h.foreign) && (server == "strict" || !passes(h))
}

// passes reports whether a permissive server's sidecar takes the TLS for the
// application's own.
func passes(h *hello) bool {
	return h != nil && !slices.ContainsFunc(h.alpn, func(p string) bool { return strings.HasPrefix(p, "istio") })
}

// random are parts that depend on random bytes of a handshake which passes.
var random = []string{"log*.sent", "log*.received", "upstream*"}

func (c *corpus) tcp() {
	hi := "trial {id} \n"
	add := func(name, at string, a []answer, send ...string) *trial {
		return c.add(trial{name: "outbound/TCP/" + name, to: at, answers: a, send: send, raw: true, quiet: badQuiet})
	}
	for _, s := range []struct{ name, at string }{{"mutual", "web.twin:84"}, {"plain", "bare.twin:84"}} {
		add(s.name+" echo", s.at, nil, hi, "abc", "def")
		add(s.name+" half close", s.at, nil, hi+"abc").after = "fin"
		t := add(s.name+" reset", s.at, nil, hi+"abc")
		t.after, t.gap, t.loose = "reset", 10*pause, []string{"end", "upstream*.end", "response.bytes"}
		add(s.name+" answered and closed", s.at, []answer{{raw: []string{"one", "two"}, end: "close"}}, hi).loose = []string{"upstream*.end"}
		add(s.name+" reset by the server", s.at, []answer{{raw: []string{""}, end: "reset"}}, hi)
		add(s.name+" 100 KB", s.at, nil, hi, string(make([]byte, 100_000)))
		add(s.name+" HTTP", s.at, nil, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")
	}
	for _, to := range []string{"dead", "none", "hole", "liar", "impostor", "other", "stranger", "expired", "mute"} {
		t := add("to "+to, to+".twin:84", nil, hi)
		t.quiet, t.loose = 2*time.Second, []string{"end", "log*.received"}
		if to == "hole" { // the kernel gives up at some time, or the connect time-out passes first
			t.loose = append(t.loose, "log*.failure", "log*.flags")
		}
	}
	// TLS that passes through, chosen by its server name.
	handshakes := []string{"log*.sent", "log*.received"} // signatures differ in length
	for name, h := range map[string]*hello{
		"known":        {sni: webHost, alpn: []string{"http/1.1"}},
		"without ALPN": {sni: webHost},
		"unknown":      {sni: "unknown.example"},
		"without name": {},
	} {
		c.add(trial{name: "outbound/TLS passthrough/" + name, to: "web.twin:443", hello: h, send: []string{get("outside.example", "/x")}, quiet: 2 * time.Second, loose: handshakes})
	}
	c.add(trial{name: "outbound/TLS passthrough/external", to: "outside.example:443", hello: &hello{sni: "outside.example", alpn: []string{"http/1.1"}}, send: []string{get("outside.example", "/x")}, loose: handshakes})
	c.add(trial{name: "outbound/TLS passthrough/plain text", to: "web.twin:443", send: []string{get(webHost, "/x")}, raw: true, quiet: 2 * time.Second})
	c.add(trial{name: "closed/TLS passthrough/unknown", from: "closed", to: "web.twin:443", hello: &hello{sni: "unknown.example"}, send: []string{get("outside.example", "/x")}, quiet: 2 * time.Second, loose: handshakes})
	// Ports without a declared protocol.
	for _, s := range []struct{ name, host string }{{"mutual", "web.twin"}, {"plain", "bare.twin"}} {
		c.add(trial{name: "outbound/auto/HTTP " + s.name, to: s.host + ":83", send: []string{get(s.host+":83", "/x")}})
		c.add(trial{name: "outbound/auto/HTTP post " + s.name, to: s.host + ":83", send: []string{req("POST", s.host+":83", "/x", "content-length: 2") + "ab"}})
		c.add(trial{name: "outbound/auto/HTTP to an unknown host " + s.name, to: s.host + ":83", send: []string{get("unknown.example", "/x")}})
		c.add(trial{name: "outbound/auto/HTTP 1.0 " + s.name, to: s.host + ":83", send: []string{"GET /x HTTP/1.0\r\nhost: " + s.host + ":83\r\nx-trial: {id}\r\n\r\n"}})
		// Where its inspector meets the parts decides what Envoy takes them for.
		c.add(trial{name: "outbound/auto/in parts " + s.name, gap: 10 * pause, to: s.host + ":83", send: []string{"GE", "T /x HT", "TP/1.1\r\nhost: " + s.host + ":83\r\nx-trial: {id}\r\n\r\n"}})
	}
}

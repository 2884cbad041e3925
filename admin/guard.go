package admin

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// refuse says why a request may not be served, or nothing. The port listens on
// loopback only; these checks keep web pages out that a browser on the same machine
// shows: a name that was rebound to 127.0.0.1 has a foreign Host, a form or script
// of another site has a foreign Origin.
func refuse(r *http.Request) string {
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !peer.Addr().Unmap().IsLoopback() {
		return "only loopback may ask here"
	}
	if !isLoopbackHost(r.Host) {
		return "the Host header must name localhost or a loopback address"
	}
	for _, origin := range r.Header.Values("Origin") {
		u, err := url.Parse(origin)
		if err != nil || u.Host != r.Host {
			return "requests of other origins are not served"
		}
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return ""
	default:
		return "requests of other sites are not served"
	}
}

// isLoopbackHost reads a Host header with or without a port.
func isLoopbackHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if strings.EqualFold(strings.TrimSuffix(name, "."), "localhost") {
		return true
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"))
	return err == nil && a.Unmap().IsLoopback()
}

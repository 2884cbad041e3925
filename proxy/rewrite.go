package proxy

import (
	"strings"

	"github.com/outrigger-mesh/outrigger/match"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// PathRewrite replaces a matched prefix, or what a regular expression finds.
type PathRewrite struct {
	// Matched is the prefix or the whole path that the rule matched; Prefix takes
	// its place. With Whole the entire path is replaced (regex routes).
	Matched string
	Prefix  string
	Whole   bool
	// Regex, where set, maps the path without its query; Prefix is unused then.
	Regex func(path string) string
}

// apply returns the path with the rewrite done and the query kept.
func (p *PathRewrite) apply(path string) string {
	query := ""
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path, query = path[:i], path[i:]
	}
	switch {
	case p.Regex != nil:
		path = p.Regex(path)
	case p.Whole:
		path = p.Prefix
	case len(path) >= len(p.Matched):
		// The prefix was matched, perhaps without regard to case: a byte splice.
		path = p.Prefix + path[len(p.Matched):]
	}
	return path + query
}

// apply changes the request and notes what it was, as Envoy's router does:
// authority first, then path. The weighted cluster's host is only a step on the
// way to the route's own.
func (rw *Rewrite) apply(r *httpmsg.Request, host string, notes bool) {
	if host != "" {
		r.Authority = host
	}
	if rw == nil {
		return
	}
	if to := rw.host(r); to != "" {
		rw.rename(r, to, notes)
	}
	if rw.Path != nil {
		if notes {
			r.Header.Set("x-envoy-original-path", r.Path)
		}
		r.Path = rw.Path.apply(r.Path)
	}
}

// host is what the authority becomes; empty leaves it.
func (rw *Rewrite) host(r *httpmsg.Request) string {
	switch {
	case rw.Host != "":
		return rw.Host
	case rw.HostHeader != "":
		return r.Header.Value(rw.HostHeader)
	case rw.HostOfPath != nil:
		return rw.HostOfPath(match.PathOnly(r.Path))
	}
	return ""
}

// rename replaces the authority, and notes what it was.
func (rw *Rewrite) rename(r *httpmsg.Request, to string, notes bool) {
	if notes {
		r.Header.Set("x-envoy-original-host", r.Authority)
	}
	if rw.AppendForwardedHost {
		appendForwardedHost(&r.Header, r.Authority)
	}
	r.Authority = to
}

// follow gives the request the name of the endpoint that it goes to, where the rule
// says so and it has one.
func (rw *Rewrite) follow(r *httpmsg.Request, hostname string, notes bool) {
	if rw != nil && rw.HostOfEndpoint && hostname != "" {
		rw.rename(r, hostname, notes)
	}
}

// appendForwardedHost adds the authority unless it is the last one already.
func appendForwardedHost(h *httpmsg.Header, authority string) {
	old, ok := h.Get("x-forwarded-host")
	if !ok || old == "" {
		h.Set("x-forwarded-host", authority)
		return
	}
	last := old[strings.LastIndexByte(old, ',')+1:]
	if strings.TrimSpace(last) != authority {
		h.Set("x-forwarded-host", old+","+authority)
	}
}

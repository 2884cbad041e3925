package proxy

import (
	"strconv"
	"strings"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// answer is the reply of a rule that does not forward, or nil.
func (rule *Rule) answer(x *Exchange) *Reply {
	switch {
	case rule.Direct != nil:
		return rule.Direct.reply(x.Request)
	case rule.Redirect != nil:
		status := rule.Redirect.Status
		if status == 0 {
			status = 301
		}
		return &Reply{Status: status, Details: "direct_response", Header: []httpmsg.Field{{Name: "location", Value: rule.Redirect.location(x.Request)}}}
	default:
		return nil
	}
}

func (d *Direct) reply(r *httpmsg.Request) *Reply {
	reply := &Reply{Status: d.Status, Body: d.Body, Details: "direct_response"}
	if d.Status == 201 || d.Status >= 300 && d.Status < 400 {
		reply.Header = []httpmsg.Field{{Name: "location", Value: r.Scheme + "://" + r.Authority + r.Path}}
	}
	return reply
}

// location builds the target of a redirect.
func (d *Redirect) location(r *httpmsg.Request) string {
	scheme := r.Scheme
	switch {
	case d.Scheme != "":
		scheme = d.Scheme
	case d.HTTPS:
		scheme = "https"
	}
	host := d.Host
	if host == "" {
		host = d.bareHost(r, scheme)
	}
	if d.Port != 0 {
		host += ":" + strconv.Itoa(int(d.Port))
	}
	return scheme + "://" + host + d.path(r)
}

// bareHost is the request's authority, without a port that the redirect replaces
// or that belonged to the scheme it leaves.
func (d *Redirect) bareHost(r *httpmsg.Request, scheme string) string {
	host := r.Authority
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.IndexByte(host[i:], ']') >= 0 {
		return host
	}
	from := r.Header.Value("x-forwarded-proto")
	port := host[i:]
	leaves := scheme != from && (from == "https" && port == ":443" || from == "http" && port == ":80")
	if d.Port != 0 || leaves {
		return host[:i]
	}
	return host
}

// path is the redirect's path with its query.
func (d *Redirect) path(r *httpmsg.Request) string {
	path, query, hasQuery := strings.Cut(r.Path, "?")
	strip := d.StripQuery
	switch {
	case d.Path != "":
		own := strings.Contains(d.Path, "?")
		path = d.Path
		if own {
			hasQuery, strip = false, false
		}
	case d.Rewrite != nil:
		path = d.Rewrite.apply(path)
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	if hasQuery && !strip {
		path += "?" + query
	}
	return path
}

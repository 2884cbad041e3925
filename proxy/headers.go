package proxy

import (
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// The order in which fields are added behind those of the downstream is Envoy's:
//
//	x-forwarded-for (with UseRemoteAddress), x-forwarded-proto, x-envoy-internal or
//	x-envoy-external-address, x-request-id, x-forwarded-client-cert,
//	x-envoy-decorator-operation, x-envoy-expected-rq-timeout-ms,
//	x-envoy-attempt-count, configured edits, x-envoy-original-host and -path
//
// and on responses x-envoy-upstream-service-time, configured edits, date, server,
// x-request-id (where asked for), x-envoy-decorator-operation. Fields that are
// there are changed in their place.

// found is what one pass over a request's fields notes of the rest.
type found struct {
	proto, id, cert, forwarded, referer, decorator bool
}

// standing is what a request's sender may say of it.
type standing struct {
	inside bool // the sender is one of the configured internal addresses
	edge   bool // the sender is not, and this is the first proxy
}

// stamp brings the request's headers into the form that filters, routes and the
// upstream may rely on.
func (h *HTTP) stamp(x *Exchange) {
	spec := &h.spec.Request
	r := x.Request
	who := standing{inside: spec.internal(x)}
	who.edge = spec.UseRemoteAddress && !who.inside
	x.passage.internal = who.inside
	f := h.sift(r, who)
	x.passage.decorated = f.decorator
	if f.forwarded || spec.XFFTrustedHops > 0 {
		x.Record.Request.Remote = spec.remote(&r.Header)
	}
	if f.referer && !validReferer(r.Header.Value("referer")) {
		r.Header.Del("referer")
	}
	if spec.UseRemoteAddress {
		appendPeer(&r.Header, x.Conn)
		if spec.XFFTrustedHops == 0 {
			f.proto = false
		}
	}
	if f.proto {
		x.trustScheme()
	} else {
		proto := "http"
		if x.Conn.TLS.Established {
			proto = "https"
		}
		r.Header.Set("x-forwarded-proto", proto)
	}
	switch {
	case who.inside:
		r.Header.Add("x-envoy-internal", "true")
	case who.edge:
		r.Header.Set("x-envoy-external-address", x.Remote().String())
	}
	if spec.GenerateRequestID && (!f.id || who.edge && !spec.PreserveExternalRequestID) {
		r.Header.Set("x-request-id", x.newRequestID())
	}
	h.stampCert(x, f.cert)
}

// trustScheme takes the scheme from x-forwarded-proto where the request does not say
// it, as Envoy does: the downstream may be a proxy that ended its client's TLS.
func (x *Exchange) trustScheme() {
	if x.Request.SchemeTold {
		return
	}
	proto, _ := x.Request.Header.Get("x-forwarded-proto")
	switch {
	case strings.EqualFold(proto, "https"):
		x.Request.Scheme = "https"
	case strings.EqualFold(proto, "http"):
		x.Request.Scheme = "http"
	}
}

// sift removes, in one pass, what must not pass this hop or must not be believed,
// and joins what Envoy joins.
func (h *HTTP) sift(r *httpmsg.Request, who standing) (f found) {
	fields := r.Header.Fields
	kept := fields[:0]
	var seen repeats
	for i := range fields {
		name := fields[i].Name
		if seen.add(name) && joinedInRequests[name] && joinTo(kept, name, fields[i].Value) {
			continue
		}
		if h.keep(&fields[i], r, who, &f) {
			kept = append(kept, fields[i])
		}
	}
	clear(fields[len(kept):])
	r.Header.Fields = kept
	return f
}

// keep decides about one field of a request.
func (h *HTTP) keep(f *httpmsg.Field, r *httpmsg.Request, who standing, seen *found) bool {
	switch f.Name {
	case "connection", "upgrade":
		return r.Upgrade != ""
	case "keep-alive", "proxy-connection", "transfer-encoding":
		return false
	case "te":
		return r.Upgrade != "" || f.Value == "trailers"
	case "x-forwarded-proto":
		seen.proto = f.Value != ""
	case "x-request-id":
		seen.id = f.Value != ""
	case "x-forwarded-client-cert":
		seen.cert = true
	case "x-forwarded-for":
		seen.forwarded = true
	case "referer":
		seen.referer = true
	default:
		return !strings.HasPrefix(f.Name, "x-envoy-") || h.keepEnvoy(f.Name, who, seen)
	}
	return true
}

// keepEnvoy decides about a field whose name starts with x-envoy-. Only senders
// that are configured as internal are trusted with the router's control headers:
// nobody, unless there is a configuration (Envoy's default since 1.33).
func (h *HTTP) keepEnvoy(name string, who standing, seen *found) bool {
	switch name[len("x-envoy-"):] {
	case "internal":
		return false
	case "retriable-status-codes", "retriable-header-names", "retry-on", "retry-grpc-on", "max-retries",
		"upstream-alt-stat-name", "upstream-rq-timeout-ms", "upstream-rq-per-try-timeout-ms",
		"upstream-rq-timeout-alt-response", "upstream-stream-duration-ms", "expected-rq-timeout-ms", "force-trace",
		"ip-tags", "original-url", "hedge-on-per-try-timeout":
		return who.inside
	case "decorator-operation":
		seen.decorator = true
		return !who.edge && (!h.spec.Decorate || h.spec.Direction != flow.Inbound)
	case "peer-metadata", "peer-metadata-id":
		return !h.spec.Request.StripPeerMetadata || h.spec.Direction != flow.Inbound
	case "downstream-service-cluster", "downstream-service-node", "original-path", "original-host":
		return !who.edge
	}
	return true
}

func appendPeer(h *httpmsg.Header, c *flow.Conn) {
	peer := c.Remote.Addr()
	if peer.IsLoopback() {
		peer = c.Local.Addr()
	}
	if old, ok := h.Get("x-forwarded-for"); ok { // joined already
		h.Set("x-forwarded-for", joined(old, peer.String()))
		return
	}
	h.Add("x-forwarded-for", peer.String())
}

// stampCert treats x-forwarded-client-cert by the configured mode.
func (h *HTTP) stampCert(x *Exchange, present bool) {
	hd := &x.Request.Header
	mode := h.spec.Request.ClientCert
	switch {
	case mode == CertAlwaysForwardOnly:
		return
	case mode == CertSanitize, !x.Conn.TLS.Peer.Presented():
		if present {
			hd.Del("x-forwarded-client-cert")
		}
	case mode == CertForwardOnly:
	case mode == CertAppendForward && present:
		old, _ := hd.Joined("x-forwarded-client-cert")
		hd.Set("x-forwarded-client-cert", old+","+x.session.cert)
	default:
		hd.Set("x-forwarded-client-cert", x.session.cert)
	}
}

// certElement is what this hop says of its peer; the same for a connection's
// whole life.
func (s *RequestSpec) certElement(t *flow.TLS) string {
	if !t.Peer.Presented() || s.ClientCert != CertAppendForward && s.ClientCert != CertSanitizeSet {
		return ""
	}
	var parts []string
	for _, uri := range t.Own.URIs {
		parts = append(parts, "By="+uri)
	}
	parts = append(parts, "Hash="+t.Peer.Hash)
	if s.CertDetails.Subject {
		parts = append(parts, `Subject="`+t.Peer.Subject+`"`)
	}
	if s.CertDetails.URI {
		if len(t.Peer.URIs) == 0 {
			parts = append(parts, "URI=")
		}
		for _, uri := range t.Peer.URIs {
			parts = append(parts, "URI="+uri)
		}
	}
	if s.CertDetails.DNS {
		for _, name := range t.Peer.DNS {
			parts = append(parts, "DNS="+name)
		}
	}
	return strings.Join(parts, ";")
}

// editResponse applies the configured edits to a response, theirs or ours.
func (x *Exchange) editResponse(resp *httpmsg.Response) {
	if x.Rule == nil || x.passage.unedited {
		return
	}
	if w := x.trip.cluster; w != nil {
		w.Response.apply(x, &resp.Header, joinedInResponses)
	}
	for _, e := range x.Rule.Edits.Response {
		e.apply(x, &resp.Header, joinedInResponses)
	}
	if n := x.Record.Upstream.Attempts; n > 0 && x.Rule.Edits.AttemptCountInResponse && x.ended() == nil {
		resp.Header.Set("x-envoy-attempt-count", decimal(n))
	}
}

// finishResponse passes the response filters, backwards, and completes the head.
func (h *HTTP) finishResponse(x *Exchange, resp *httpmsg.Response, now time.Time) {
	x.filterResponse()
	h.finishHead(resp, now)
	if h.spec.Request.AlwaysSetRequestID {
		if id, ok := x.Request.Header.Get("x-request-id"); ok {
			resp.Header.Set("x-request-id", id)
		}
	}
	if h.spec.Decorate && h.spec.Direction == flow.Inbound && x.Rule != nil && x.Rule.Edits.Decorator != "" &&
		!x.Rule.Edits.DecoratorNoPropagate && !x.passage.decorated {
		resp.Header.Set("x-envoy-decorator-operation", x.Rule.Edits.Decorator)
	}
}

// finishHead removes what must not pass this hop, and adds date and server.
func (h *HTTP) finishHead(resp *httpmsg.Response, now time.Time) {
	date, server := false, false
	fields := resp.Header.Fields
	kept := fields[:0]
	var seen repeats
	for i := range fields {
		name := fields[i].Name
		if seen.add(name) && joinedInResponses[name] && joinTo(kept, name, fields[i].Value) {
			continue
		}
		switch name {
		case "connection", "upgrade":
			if resp.Tunnel == nil {
				continue
			}
		case "keep-alive", "proxy-connection", "transfer-encoding":
			continue
		case "x-envoy-peer-metadata", "x-envoy-peer-metadata-id":
			if h.spec.Request.StripPeerMetadata && h.spec.Direction == flow.Outbound {
				continue
			}
		case "x-envoy-decorator-operation":
			if h.spec.Decorate && h.spec.Direction == flow.Outbound {
				continue
			}
		case "date":
			date = true
		case "server":
			server = true
		}
		kept = append(kept, fields[i])
	}
	clear(fields[len(kept):])
	resp.Header.Fields = kept
	if !date {
		resp.Header.Add("date", h.date.at(now))
	}
	if spec := &h.spec.Response; spec.ServerHeader == ServerOverwrite || spec.ServerHeader == ServerAppendIfAbsent && !server {
		resp.Header.Set("server", spec.ServerName)
	}
}

// dateCache formats the date once per second.
type dateCache struct{ line atomic.Pointer[dateLine] }

type dateLine struct {
	second int64
	text   string
}

func (c *dateCache) at(now time.Time) string {
	second := now.Unix()
	if l := c.line.Load(); l != nil && l.second == second {
		return l.text
	}
	l := &dateLine{second: second, text: now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")}
	c.line.Store(l)
	return l.text
}

// smallNumbers are the decimals that most headers need, made once.
var smallNumbers = func() (t [256]string) {
	for i := range t {
		t[i] = strconv.Itoa(i)
	}
	return t
}()

// decimal is strconv.Itoa without garbage for small numbers.
func decimal(n int) string {
	if n >= 0 && n < len(smallNumbers) {
		return smallNumbers[n]
	}
	return strconv.Itoa(n)
}

func milliseconds(d time.Duration) string { return decimal(int(max(d, 0) / time.Millisecond)) }

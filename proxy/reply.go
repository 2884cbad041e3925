package proxy

import (
	"cmp"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/http1"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// Reply is our own answer to a request.
type Reply struct {
	Status int
	Body   string
	// GRPCStatus is what a gRPC caller gets; 0 maps Status, unless GRPCSet.
	GRPCStatus int
	GRPCSet    bool
	// Flag is set in the record if Flagged.
	Flag    flow.Flag
	Flagged bool
	Details string
	// Header holds further fields.
	Header []httpmsg.Field
	// Edits change the answer after the rule's own.
	Edits *HeaderEdits
	// Close ends the downstream connection after the reply.
	Close bool
	// Plain replies are sent as they are: without the rule's header edits, and in the
	// same form to gRPC callers.
	Plain bool
	// Termination is the upstream's transport failure reason, where there is one.
	FailureReason string
}

// cause is one row of the table that turns errors into replies.
type cause struct {
	kind flow.Kind
	// when describes the situation for docs/flags.md.
	when   string
	status int
	flag   flow.Flag
	// body and details are used as they are; with reset, they are made from the
	// reset reason and the error's own details.
	body    string
	details string
	reset   string
}

// causes is the one table of replies to failed attempts. docs/flags.md is
// generated from it.
var causes = [...]cause{
	{kind: flow.KindNoCluster, when: "the rule's cluster is not known", status: 503, flag: flow.NoClusterFound, details: "cluster_not_found"},
	{kind: flow.KindNoEndpoint, when: "the cluster has no endpoint that may be used", status: 503, flag: flow.NoHealthyUpstream, body: "no healthy upstream", details: "no_healthy_upstream"},
	{kind: flow.KindConnectFailure, when: "the endpoint refused the connection, or could not be reached", status: 503, flag: flow.UpstreamConnectionFailure, reset: "remote connection failure"},
	{kind: flow.KindConnectTimeout, when: "the connection was not there within connect_timeout", status: 503, flag: flow.UpstreamConnectionFailure, reset: "connection timeout"},
	{kind: flow.KindTLSFailure, when: "the TLS handshake with the endpoint failed", status: 503, flag: flow.UpstreamConnectionFailure, reset: "remote connection failure"},
	{kind: flow.KindTermination, when: "the endpoint closed before its response began", status: 503, flag: flow.UpstreamConnectionTermination, reset: "connection termination"},
	{kind: flow.KindReset, when: "the endpoint reset the stream", status: 503, flag: flow.UpstreamRemoteReset, reset: "remote reset"},
	{kind: flow.KindRefusedStream, when: "the endpoint refused the stream", status: 503, flag: flow.UpstreamRemoteReset, reset: "remote refused stream reset"},
	{kind: flow.KindProtocol, when: "the endpoint's bytes were not valid", status: 502, flag: flow.UpstreamProtocolError, reset: "protocol error"},
	{kind: flow.KindOverflow, when: "a circuit breaker is open", status: 503, flag: flow.UpstreamOverflow, reset: "overflow"},
	{kind: flow.KindTimeout, when: "the request or its attempt took too long", status: 504, flag: flow.UpstreamRequestTimeout, body: "upstream request timeout", details: "response_timeout"},
	{kind: flow.KindCancelled, when: "the downstream left before the response began", status: 0, flag: flow.DownstreamConnectionTermination, details: "downstream_remote_disconnect"},
	{kind: flow.KindOther, when: "the stream was reset on our side", status: 503, flag: flow.LocalReset, reset: "local reset"},
}

// Replies that the exchange itself gives.
var (
	replyNoRoute         = &Reply{Status: 404, Flag: flow.NoRouteFound, Flagged: true, Details: "route_not_found"}
	replyNoRoutes        = &Reply{Status: 404, Flag: flow.NoRouteFound, Flagged: true, Details: "route_configuration_not_found"}
	replyMissingPath     = &Reply{Status: 404, Details: "missing_path_rejected"}
	replyAbsolutePath    = &Reply{Status: 404, Details: "absolute_path_rejected"}
	replyBadPath         = &Reply{Status: 400, Details: "path_normalization_failed", Close: true}
	replyNoContentType   = &Reply{Status: 400, Details: "query_missing_content_type", Close: true}
	replyUpgradeFailed   = &Reply{Status: 403, Details: "upgrade_failed", Close: true}
	replyStreamIdleEarly = &Reply{Status: 408, Flag: flow.StreamIdleTimeout, Flagged: true, Body: "stream timeout", Details: "stream_idle_timeout", Close: true}
	replyRequestTimeout  = &Reply{Status: 408, Body: "request timeout", Details: "request_overall_timeout", Close: true}
	replyReplayLimit     = &Reply{Status: 507, Body: "exceeded request buffer limit while retrying upstream", Details: "request_payload_exceeded_retry_buffer_limit"}
	replyTooLong         = &Reply{Status: 408, Body: "downstream duration timeout", GRPCStatus: 4, Details: "max_duration_timeout"}
	replyStreamTooLong   = &Reply{Status: 408, Flag: flow.UpstreamMaxStreamDurationReached, Flagged: true, Body: "upstream max stream duration reached", Details: "upstream_max_stream_duration_reached"}
	replyTryIdle         = &Reply{Status: 504, Flag: flow.UpstreamRequestTimeout, Flagged: true, Body: "upstream request timeout", Details: "upstream_per_try_idle_timeout"}
	replyStreamIdle      = &Reply{Status: 504, Flag: flow.StreamIdleTimeout, Flagged: true, Body: "stream timeout", Details: "stream_idle_timeout"}
)

// refusals lists them with their situations, for docs/flags.md.
var refusals = [...]struct {
	when  string
	reply *Reply
}{
	{"no virtual host or no route matches", replyNoRoute},
	{"the route configuration has not arrived", replyNoRoutes},
	{"the request has no path", replyMissingPath},
	{"the path does not begin with a slash", replyAbsolutePath},
	{"the path cannot be normalised, or holds an escaped slash that is refused", replyBadPath},
	{"the method is QUERY and there is no content-type", replyNoContentType},
	{"an upgrade, or CONNECT, that is not configured", replyUpgradeFailed},
	{"an AuthorizationPolicy (its name) or the lack of one (`none`) denies the request", Denied("")},
	{"a fault that is configured befalls the request", Aborted(503)},
	{"a local rate limit is reached", RateLimited(429)},
	{"the downstream sends nothing more of its request", replyStreamIdleEarly},
	{"the request is not complete within the request timeout", replyRequestTimeout},
	{"the body outgrew 1 MiB when a retry was decided already", replyReplayLimit},
	{"the exchange takes longer than it may as a whole (504 where the request was complete)", replyTooLong},
	{"an attempt takes longer than its cluster's max_stream_duration (504 where the request was complete)", replyStreamTooLong},
	{"the upstream sends nothing for longer than the stream idle timeout", replyStreamIdle},
	{"the upstream sends nothing for longer than the rule's per_try_idle_timeout", replyTryIdle},
}

// Aborted is the reply to a request that a fault befalls.
func Aborted(status int) *Reply {
	return &Reply{Status: status, Body: "fault filter abort", Flag: flow.FaultInjected, Flagged: true, Details: "fault_filter_abort"}
}

// RateLimited is the reply to a request beyond a local rate limit.
func RateLimited(status int) *Reply {
	return &Reply{Status: status, Body: "local_rate_limited", Flag: flow.RateLimited, Flagged: true, Details: "local_rate_limited"}
}

// Denied is the reply to a request that an authorization policy denies, or that no
// policy allows where the name is empty.
func Denied(policy string) *Reply {
	return &Reply{Status: 403, Body: "RBAC: access denied", Details: DeniedDetails(policy)}
}

// DeniedDetails says which policy denied, in the form that access logs know.
func DeniedDetails(policy string) string {
	if policy == "" {
		policy = "none"
	}
	return noSpaces("rbac_access_denied_matched_policy[" + policy + "]")
}

// causeOf finds the row of an error.
func causeOf(kind flow.Kind) *cause {
	for i := range causes {
		if causes[i].kind == kind {
			return &causes[i]
		}
	}
	return &causes[len(causes)-1]
}

// replyFor turns the error of the last attempt into a reply. attempts tells
// whether it was retried before.
func replyFor(err error, attempts int) *Reply {
	fe, ok := flow.AsError(err)
	if !ok {
		fe = &flow.Error{Side: flow.SideInternal, Flag: flow.LocalReset, Kind: flow.KindOther, Err: err}
	}
	if r := replyToDownstream(fe); r != nil {
		return r
	}
	c := causeOf(fe.Kind)
	r := &Reply{Status: c.status, Flag: c.flag, Flagged: true, Body: c.body, Details: c.details}
	if fe.Kind == flow.KindOverflow {
		r.Header = []httpmsg.Field{{Name: "x-envoy-overloaded", Value: "true"}}
	}
	switch {
	case fe == errTryIdle:
		return replyTryIdle
	case fe.Flag == flow.StreamIdleTimeout:
		return replyStreamIdle
	case fe == errReplayLimit:
		return replyReplayLimit
	case fe == errTooLong:
		return replyTooLong
	case fe == errStreamTooLong:
		return replyStreamTooLong
	}
	if fe.Kind == flow.KindTimeout && fe.Details != "" {
		r.Details = fe.Details
	}
	if c.reset == "" {
		return r
	}
	reason := ""
	if fe.Side == flow.SideUpstream || fe.Kind == flow.KindConnectFailure {
		reason = transportReason(fe)
	}
	r.FailureReason = reason
	r.Body = resetBody(c.reset, attempts) // the transport's words are for the log, not for the downstream
	r.Details = resetDetails("upstream_reset_before_response_started", c.reset, reason)
	return r
}

// replyToDownstream is the reply to a request that the downstream itself spoiled,
// or nil.
func replyToDownstream(fe *flow.Error) *Reply {
	switch {
	case fe.Side != flow.SideDownstream:
		return nil
	case fe.Kind == flow.KindCancelled:
		r := &Reply{Flag: fe.Flag, Flagged: true, Details: fe.Details}
		if r.Details == "" {
			r.Details = errLeft.Details
		}
		return r
	case fe.Kind == flow.KindProtocol:
		status := 0 // an HTTP/2 stream that broke a rule is reset already
		if pe, ok := errors.AsType[*http1.ProtocolError](fe.Err); ok {
			status = cmp.Or(pe.Status, 400)
		}
		return &Reply{Status: status, Body: http1.Reason(status), Flag: flow.DownstreamProtocolError, Flagged: true, Details: fe.Details, Close: true}
	case fe == errSlowRequest:
		return replyRequestTimeout
	case fe.Kind == flow.KindTimeout:
		return replyStreamIdleEarly
	default:
		return nil
	}
}

// transportReason is the failure reason that Envoy reports for this kind: only
// connecting and TLS have one.
func transportReason(fe *flow.Error) string {
	switch fe.Kind {
	case flow.KindConnectFailure, flow.KindTLSFailure:
		return fe.Details
	default:
		return ""
	}
}

func resetBody(reset string, attempts int) string {
	var b strings.Builder
	b.WriteString("upstream connect error or disconnect/reset before headers. ")
	if attempts > 1 {
		b.WriteString("retried and the latest ")
	}
	b.WriteString("reset reason: ")
	b.WriteString(reset)
	return b.String()
}

// resetDetails builds "prefix{reason|transport reason}" without white space.
func resetDetails(prefix, reset, reason string) string {
	d := prefix + "{" + reset
	if reason != "" {
		d += "|" + reason
	}
	return noSpaces(d + "}")
}

// noSpaces replaces white space, as Envoy does in all details.
func noSpaces(s string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\n', '\v', '\f', '\r':
			return '_'
		}
		return r
	}, s)
}

// closing is the same reply for a connection that cannot go on.
func (r *Reply) closing() *Reply {
	c := *r
	c.Close = true
	return &c
}

// response builds the message of a reply.
func (r *Reply) response(grpc bool, edit func(*httpmsg.Response)) *httpmsg.Response {
	resp := &httpmsg.Response{Status: r.Status, Body: httpmsg.NoBody}
	for _, f := range r.Header {
		if !grpc || f.Name != "content-type" {
			resp.Header.Add(f.Name, f.Value)
		}
	}
	if edit != nil {
		edit(resp)
	}
	if grpc {
		r.grpc(resp)
		return resp
	}
	if r.Body != "" {
		resp.ContentLength = int64(len(r.Body))
		resp.Body = newTextBody(r.Body)
		resp.Header.Set("content-length", strconv.Itoa(len(r.Body)))
		if !resp.Header.Has("content-type") {
			resp.Header.Add("content-type", "text/plain")
		}
	}
	return resp
}

// grpc makes the reply one that gRPC callers understand: the status travels in
// what are trailers and head in one.
func (r *Reply) grpc(resp *httpmsg.Response) {
	resp.Status = 200
	code := r.GRPCStatus
	if code == 0 && !r.GRPCSet {
		code = grpcStatus(r.Status)
	}
	resp.Header.Set("content-type", "application/grpc")
	resp.Header.Set("grpc-status", strconv.Itoa(code))
	if r.Body != "" {
		resp.Header.Set("grpc-message", percentEncode(r.Body))
	}
}

// grpcStatus maps an HTTP status as gRPC's specification and Envoy do.
func grpcStatus(status int) int {
	switch status {
	case 400:
		return 13
	case 401:
		return 16
	case 403:
		return 7
	case 404:
		return 12
	case 429, 502, 503, 504:
		return 14
	default:
		return 2
	}
}

// percentEncode encodes a grpc-message.
func percentEncode(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= ' ' && c <= '~' && c != '%' {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

// textBody is a body from a string.
type textBody struct{ rest string }

func newTextBody(s string) *textBody { return &textBody{rest: s} }

// Read hands out the rest.
func (b *textBody) Read(p []byte) (int, error) {
	if b.rest == "" {
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Close gives up the rest.
func (b *textBody) Close() error {
	b.rest = ""
	return nil
}

// Buffered is what is left; the end follows at once.
func (b *textBody) Buffered() int {
	if b.rest == "" {
		return -1
	}
	return len(b.rest)
}

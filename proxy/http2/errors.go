package http2

import (
	"errors"

	"github.com/outrigger-mesh/outrigger/flow"
)

// ErrFull is returned by Open when the upstream allows no more streams at present.
var ErrFull = errors.New("connection has no free stream")

// ErrGone is returned by Open when the connection takes no new streams any more.
var ErrGone = errors.New("connection takes no more streams")

var (
	errStarted     = errors.New("response was already started")
	errBodyClosed  = errors.New("body was closed")
	errInterrupted = errors.New("read was interrupted")
	errExcess      = errors.New("body is longer than announced")
	errShort       = errors.New("body is shorter than announced")
	errIdle        = errors.New("connection was idle")
	errPingTimeout = errors.New("peer did not answer a ping")
	errClosed      = errors.New("connection was closed")
	errTwice       = errors.New("stream was used already")
	errUnwritable  = errors.New("request cannot be sent")
	errHalfClosed  = errors.New("stream was closed for writing")
)

// ProtocolError is a request that the codec refused, or what a peer did that ended
// the connection.
type ProtocolError struct {
	// Code is the HTTP/2 error code that the peer was told.
	Code uint32
	// Details is Envoy's response code detail.
	Details string
	// Conn is true where the whole connection ended.
	Conn bool
	// Status is that of the reply, where the request was answered and not reset.
	Status int
}

// OverLimit reports whether no rule was broken, but a limit of ours was exceeded.
func (e *ProtocolError) OverLimit() bool {
	return e.Details == detailTooMany || e.Details == detailTooLarge
}

// Error returns the detail.
func (e *ProtocolError) Error() string { return e.Details }

// connError ends a connection.
func connError(code uint32, details string) error {
	return &ProtocolError{Code: code, Details: details, Conn: true}
}

// The details that Envoy logs.
const (
	detailHeader    = "http2.invalid.header.field"
	detailMessage   = "http2.violation.of.messaging.rule"
	detailTooMany   = "http2.too_many_headers"
	detailTooLarge  = "http2.header_list_size_too_large"
	detailReset     = "http2.remote_reset"
	detailRefused   = "http2.remote_refuse"
	detailEmpty     = "http2.inbound_empty_frames_flood"
	detailOutbound  = "http2.outbound_frames_flood"
	detailControl   = "http2.outbound_control_frames_flood"
	detailPriority  = "http2.inbound_priority_frames_flood"
	detailWindows   = "http2.inbound_window_update_frames_flood"
	detailSettings  = "http2.inbound_settings_frames_flood"
	detailPremature = "too_many_premature_resets"
	detailProtocol  = "http2.protocol_error"
	detailLeft      = "downstream_remote_disconnect"
)

// violation is a malformed message, for which its stream is reset.
func violation(details string) *ProtocolError {
	return &ProtocolError{Code: codeProtocol, Details: details}
}

// downstreamReset is what a request ends with that its downstream gave up.
func downstreamReset(code uint32) error {
	details := detailReset
	if code == codeRefusedStream {
		details = detailRefused
	}
	return &flow.Error{Side: flow.SideDownstream, Flag: flow.DownstreamRemoteReset, Kind: flow.KindCancelled, Details: details}
}

// downstreamGone is what requests end with when their connection does.
func downstreamGone(err error) error {
	e := &flow.Error{
		Side: flow.SideDownstream, Flag: flow.DownstreamConnectionTermination, Kind: flow.KindCancelled,
		Details: detailLeft, Err: err,
	}
	if pe, ok := errors.AsType[*ProtocolError](err); ok {
		e.Flag, e.Kind, e.Details = flow.DownstreamProtocolError, flow.KindProtocol, pe.Details
	}
	return e
}

// downstreamViolation is what a request ends with whose downstream broke a rule.
func downstreamViolation(details string) error {
	return &flow.Error{Side: flow.SideDownstream, Flag: flow.DownstreamProtocolError, Kind: flow.KindProtocol, Details: details}
}

// downstreamIdle is what a request ends with that did not move for too long.
func downstreamIdle() error {
	return &flow.Error{Side: flow.SideDownstream, Flag: flow.StreamIdleTimeout, Kind: flow.KindTimeout, Details: "stream_idle_timeout"}
}

// upstreamReset is what an exchange ends with that the upstream gave up.
func upstreamReset(code uint32) error {
	e := &flow.Error{
		Side: flow.SideUpstream, Flag: flow.UpstreamRemoteReset, Kind: flow.KindReset, Retry: flow.RetryReset, Details: detailReset,
	}
	if code == codeRefusedStream {
		e.Kind, e.Retry, e.Details = flow.KindRefusedStream, flow.RetryUnsent, detailRefused
	}
	return e
}

// upstreamViolation is what an exchange ends with whose upstream broke a rule. A head
// beyond our limits breaks none: Envoy takes its own reset for the upstream's.
func upstreamViolation(details string) error {
	if details == detailTooMany || details == detailTooLarge {
		return upstreamReset(codeInternal)
	}
	return &flow.Error{
		Side: flow.SideUpstream, Flag: flow.UpstreamProtocolError, Kind: flow.KindProtocol, Retry: flow.RetryReset, Details: details,
	}
}

// upstreamGone is what exchanges end with when their connection does.
func upstreamGone(err error, retry flow.Retry) error {
	if pe, ok := errors.AsType[*ProtocolError](err); ok {
		return upstreamViolation(pe.Details)
	}
	e := &flow.Error{
		Side: flow.SideUpstream, Flag: flow.UpstreamConnectionTermination, Kind: flow.KindTermination,
		Retry: retry, Err: err,
	}
	return e
}

// upstreamTimeout is what an exchange ends with at its deadline.
func upstreamTimeout() error {
	return &flow.Error{Side: flow.SideUpstream, Flag: flow.UpstreamRequestTimeout, Kind: flow.KindTimeout, Retry: flow.RetryReset}
}

package flow

import "errors"

// Side says who is to blame for an error.
type Side uint8

// The sides of a flow.
const (
	SideInternal Side = iota
	SideDownstream
	SideUpstream
)

// String returns the side's name.
func (s Side) String() string {
	switch s {
	case SideDownstream:
		return "downstream"
	case SideUpstream:
		return "upstream"
	default:
		return "internal"
	}
}

// Retry says whether the same request may be sent again.
type Retry uint8

// What may be done after an error.
const (
	// RetryNever: the failure is final.
	RetryNever Retry = iota
	// RetryUnsent: no byte of the request reached the upstream's application.
	RetryUnsent
	// RetryReset: the upstream may have seen the request.
	RetryReset
	// RetryUnanswered: the connection ended before a byte of an answer came. The
	// upstream may have seen the request.
	RetryUnanswered
)

// Kind is the cause in the words of Envoy's stream reset reasons; it decides the
// text of the reply and which retry_on tokens match.
type Kind uint8

// The causes that cross packages.
const (
	KindOther Kind = iota
	// KindConnectFailure: the endpoint refused, or was not reachable.
	KindConnectFailure
	// KindConnectTimeout: the connection was not there within connect_timeout.
	KindConnectTimeout
	// KindTLSFailure: the TLS handshake with the endpoint failed.
	KindTLSFailure
	// KindTermination: the endpoint closed before the response was complete.
	KindTermination
	// KindReset: the endpoint reset the stream.
	KindReset
	// KindRefusedStream: the endpoint refused the stream before processing it.
	KindRefusedStream
	// KindProtocol: the endpoint's bytes were not valid.
	KindProtocol
	// KindOverflow: a circuit breaker is open.
	KindOverflow
	// KindNoEndpoint: the cluster has no endpoint that may be used.
	KindNoEndpoint
	// KindNoCluster: no such cluster is configured.
	KindNoCluster
	// KindTimeout: the attempt or the whole request took too long.
	KindTimeout
	// KindCancelled: the downstream left.
	KindCancelled
)

// Error is the error type that crosses packages of the data path: who failed,
// which flag the flow earns, whether a retry is safe, and what happened.
type Error struct {
	Side  Side
	Flag  Flag
	Kind  Kind
	Retry Retry
	// Details is Envoy's response code detail or transport failure reason, where
	// it is more than the kind says.
	Details string
	Err     error
}

// Error returns the cause's text.
func (e *Error) Error() string {
	switch {
	case e.Err != nil && e.Details != "":
		return e.Details + ": " + e.Err.Error()
	case e.Err != nil:
		return e.Err.Error()
	case e.Details != "":
		return e.Details
	default:
		return e.Side.String() + " error " + e.Flag.String()
	}
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// AsError finds the Error in err's chain.
func AsError(err error) (*Error, bool) {
	var fe *Error
	ok := errors.As(err, &fe)
	return fe, ok
}

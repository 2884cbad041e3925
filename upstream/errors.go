package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/mtls"
)

// Causes that a *flow.Error of this package may wrap.
var (
	// ErrOverflow: a circuit breaker is open.
	ErrOverflow = errors.New("circuit breaker is open")
	// ErrQueueFull: too many requests wait for a connection; it is an ErrOverflow.
	ErrQueueFull = fmt.Errorf("%w: too many requests wait", ErrOverflow)
	// ErrClosed: the cluster was closed.
	ErrClosed = errors.New("cluster is closed")
	// ErrUnknown: nothing is configured under the cluster's name.
	ErrUnknown = errors.New("cluster is not known")
	// ErrNoOriginalDst: the cluster follows the original destination and the flow
	// has none.
	ErrNoOriginalDst = errors.New("flow has no original destination")
)

func noCluster(name string, err error) *flow.Error {
	return &flow.Error{
		Side: flow.SideInternal, Flag: flow.NoClusterFound, Kind: flow.KindNoCluster,
		Details: "cluster_not_found", Err: &NameError{Cluster: name, Err: err},
	}
}

// NameError names the cluster that an error is about.
type NameError struct {
	Cluster string
	Err     error
}

// Error returns the text.
func (e *NameError) Error() string { return "cluster " + e.Cluster + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *NameError) Unwrap() error { return e.Err }

func noEndpoint(err error) *flow.Error {
	return &flow.Error{
		Side: flow.SideUpstream, Flag: flow.NoHealthyUpstream, Kind: flow.KindNoEndpoint,
		Details: "no_healthy_upstream", Err: err,
	}
}

func overflow(err error) *flow.Error {
	return &flow.Error{
		Side: flow.SideInternal, Flag: flow.UpstreamOverflow, Kind: flow.KindOverflow,
		Details: "overflow", Err: err,
	}
}

func closed() *flow.Error {
	return &flow.Error{
		Side: flow.SideInternal, Flag: flow.LocalReset, Kind: flow.KindOther,
		Retry: flow.RetryUnsent, Err: ErrClosed,
	}
}

// gaveUp explains why ctx ended: with the *flow.Error that it was cancelled with, or
// as a time-out, or as a downstream that left.
func gaveUp(ctx context.Context) *flow.Error {
	cause := context.Cause(ctx)
	if fe, ok := flow.AsError(cause); ok {
		return fe
	}
	if errors.Is(cause, ErrClosed) {
		return closed()
	}
	if errors.Is(cause, context.DeadlineExceeded) {
		return &flow.Error{
			Side: flow.SideUpstream, Flag: flow.UpstreamRequestTimeout, Kind: flow.KindTimeout,
			Retry: flow.RetryUnsent, Err: cause,
		}
	}
	return &flow.Error{
		Side: flow.SideDownstream, Flag: flow.DownstreamConnectionTermination, Kind: flow.KindCancelled, Err: cause,
	}
}

// lost is a connection that ended before it carried anything.
func lost(err error) *flow.Error {
	return &flow.Error{
		Side: flow.SideUpstream, Flag: flow.UpstreamConnectionTermination, Kind: flow.KindTermination,
		Retry: flow.RetryUnsent, Err: err,
	}
}

func connectTimeout(err error) *flow.Error {
	return &flow.Error{
		Side: flow.SideUpstream, Flag: flow.UpstreamConnectionFailure, Kind: flow.KindConnectTimeout,
		Retry: flow.RetryUnsent, Err: err,
	}
}

func connectFailed(err error) *flow.Error {
	stage := "delayed connect error: "
	var sys *os.SyscallError
	if errors.As(err, &sys) && sys.Syscall != "connect" { // socket, bind, setsockopt
		stage = "immediate connect error: "
	}
	return &flow.Error{
		Side: flow.SideUpstream, Flag: flow.UpstreamConnectionFailure, Kind: flow.KindConnectFailure,
		Retry: flow.RetryUnsent, Details: stage + systemText(err), Err: err,
	}
}

// systemText is the system's words for a failed connect as a C library prints them,
// since that is what users search for.
func systemText(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// handshakeFailed says why TLS failed.
func handshakeFailed(err error) *flow.Error {
	return &flow.Error{
		Side: flow.SideUpstream, Flag: flow.UpstreamConnectionFailure, Kind: flow.KindTLSFailure,
		Retry: flow.RetryUnsent, Details: mtls.FailureReason(err),
		Err: handshakeError{err},
	}
}

// handshakeError keeps the cause of a failed handshake, whose text is in the details
// already.
type handshakeError struct{ err error }

func (handshakeError) Error() string { return "handshake with the endpoint failed" }

func (e handshakeError) Unwrap() error { return e.err }

func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &ne) && ne.Timeout()
}

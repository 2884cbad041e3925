package proxy

import (
	"context"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/proxy/buffer"
	"github.com/outrigger-mesh/outrigger/upstream"
)

const (
	// maxRepeats bounds how often one exchange is repeated beside its retry policy.
	maxRepeats = 3
	// maxUnanswered bounds those of requests that an upstream may have seen.
	maxUnanswered = 2
	// repeatLimit is how much of a request's body is kept where there is no retry
	// policy: what outgrows it is sent once.
	repeatLimit = buffer.Medium
	// repeatPicks is how often another endpoint is looked for.
	repeatPicks = 5
	// goneAfter is how long an endpoint may take to accept a connection before it is
	// taken to have gone.
	goneAfter = time.Second
)

// idempotent reports whether a request may be sent again although it may have been
// served (RFC 9110 section 9.2.2).
func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY":
		return true
	default:
		return false
	}
}

// repeats reports whether a failed attempt is to be made again although no policy
// asks for it: because the upstream has surely not seen the request, or because its
// connection ended under a request that may be served twice. The downstream does not
// learn of it. What it costs is bounded by maxRepeats. A policy that asks for it goes
// first, and its limit holds.
func (x *Exchange) repeats(c *upstream.Cluster, ep *lb.Endpoint, err error) bool {
	fe, ok := flow.AsError(err)
	if !ok || x.trip.repeats >= maxRepeats || !x.body.replayable() {
		return false
	}
	if x.trip.sent || x.Request.Method == connectMethod || x.ended() != nil || x.timeUp() {
		return false
	}
	switch fe.Kind {
	case flow.KindTermination:
		return fe.Retry == flow.RetryUnsent || fe.Retry == flow.RetryUnanswered && x.mayHaveEnded(c, ep)
	case flow.KindRefusedStream:
		return fe.Retry == flow.RetryUnsent
	case flow.KindConnectFailure:
		// What ended the connection was the endpoint's own end.
		return x.trip.repeats > 0
	default:
		return false
	}
}

// transparent reports whether a failed attempt is repeated: no policy takes it up.
func (x *Exchange) transparent(c *upstream.Cluster, ep *lb.Endpoint, err error) bool {
	rt := x.trip.retry
	if rt != nil && rt.Max > 0 && rt.On != 0 && rt.wantsError(err) {
		return false
	}
	return x.repeats(c, ep, err)
}

// mayHaveEnded reports whether a connection's end may be taken for the end of its
// service, and the request be sent again. The first exchange of a connection that is
// cut is an answer of its own kind, unless the endpoint has gone: it takes no
// connections any more.
func (x *Exchange) mayHaveEnded(c *upstream.Cluster, ep *lb.Endpoint) bool {
	if !idempotent(x.Request.Method) || x.Request.Upgrade != "" || x.trip.stream == nil {
		return false
	}
	if x.trip.stream.Reused() || x.trip.repeats > 0 {
		return x.trip.repeats < maxUnanswered
	}
	x.closeStream()
	ctx, stop := context.WithTimeout(x.Context(), goneAfter)
	defer stop()
	return !c.Reaches(ctx, ep) && x.ended() == nil
}

// repeat readies the next attempt, and reports whether there can be one.
func (x *Exchange) repeat(c *upstream.Cluster) bool {
	x.closeStream()
	x.Response = nil
	if !x.body.rewind() {
		return false
	}
	x.trip.repeats++
	x.Record.Upstream.Attempts-- // nobody has seen the one before
	if x.trip.repeats > 1 || !keepsEndpoint(c.Endpoints().Policy().Kind) {
		x.trip.hint.MaxPicks = max(x.trip.hint.MaxPicks, repeatPicks)
	}
	return true
}

// keepsEndpoint reports whether it matters which endpoint serves a request: then the
// same one is asked first.
func keepsEndpoint(k lb.Kind) bool {
	switch k {
	case lb.LeastRequest, lb.RoundRobin, lb.Random, lb.ClusterProvided:
		return false
	default:
		return true
	}
}

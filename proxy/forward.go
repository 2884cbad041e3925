package proxy

import (
	"errors"
	"net/netip"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/route"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// forward sends the request upstream, as often as the rule's retry policy says,
// until there is a response to pass on.
func (h *HTTP) forward(x *Exchange) error {
	rule := x.Rule
	w := x.trip.cluster
	if w == nil || w.Cluster == nil {
		return noCluster()
	}
	x.Record.Upstream.Cluster = w.Cluster.Name()
	x.watch()
	if w.Cluster.Spec() == nil {
		if err := w.Cluster.Ensure(x.Context()); err != nil {
			x.Record.Upstream.Cluster = "" // a cluster that is not known has no name
			return err
		}
	}
	x.trip.limits = x.decide()
	x.armDuration(x.maxDuration())
	if rule.IdleTimeout != nil { // the codec knows the chain's only
		x.body.guard(*rule.IdleTimeout)
	}
	x.prepare(w)
	if len(rule.Mirrors) > 0 {
		x.mirror()
	}
	x.trip.hint = lb.Hint{OrigDst: x.Conn.OriginalDst, MaxPicks: 1, Tried: x.trip.tried[:0]}
	x.trip.hint.Prefer, x.trip.hint.Strict = x.trip.prefer.endpoint, x.trip.prefer.strict
	if len(rule.Hash) > 0 && w.Cluster.Endpoints().Hashes() {
		x.trip.hint.Hash, x.trip.hint.Hashed = x.hash(rule.Hash)
	}
	retry := x.trip.retry
	if retry == nil || retry.On == 0 || !retry.mayRepeat(x.Request) {
		x.body.record(x.Request.ContentLength, repeatLimit)
		err := x.attemptAgain(w.Cluster)
		x.body.forget()
		return err
	}
	x.body.record(x.Request.ContentLength, replayLimit)
	return x.attempts(w.Cluster, retry)
}

// attemptAgain is attempt, repeated for as long as that is safe and does not need a
// policy.
func (x *Exchange) attemptAgain(c *upstream.Cluster) error {
	for {
		err := x.attempt(c, x.trip.perTry)
		if err == nil {
			if x.trip.repeats > 0 {
				c.Stats().Stale.Repeated.Add(1)
			}
			return nil
		}
		if !x.trip.again || !x.repeat(c) {
			return err
		}
	}
}

// attempts repeats attempt under a retry policy.
func (x *Exchange) attempts(c *upstream.Cluster, retry *Retry) error {
	for k := 0; ; k++ {
		err := x.attempt(c, x.trip.perTry)
		if x.trip.again && x.repeat(c) {
			err = x.attemptAgain(c)
		}
		if k > 0 {
			c.ReleaseRetry(x.Rule.Priority)
			if err == nil && x.Response.Status < 500 {
				c.Stats().Requests.RetrySuccess.Add(1)
			}
		}
		if !x.wants(retry, err) {
			x.body.forget()
			return err
		}
		if k >= retry.Max {
			x.Record.Flags.Set(flow.UpstreamRetryLimitExceeded)
			c.Stats().Requests.RetryLimit.Add(1)
			return err
		}
		if !c.AcquireRetry(x.Rule.Priority) {
			x.Record.Flags.Set(flow.UpstreamOverflow)
			return err
		}
		if why := x.again(retry, k); why != nil {
			c.ReleaseRetry(x.Rule.Priority)
			return why
		}
		x.tellRetry(k+2, err)
	}
}

// tellRetry has the upstream know that it is asked again, and why.
func (x *Exchange) tellRetry(attempt int, why error) {
	if end := x.trip.deadline; !end.IsZero() && !x.h.spec.SuppressEnvoyHeaders {
		left := max(min(x.trip.expected(), time.Until(end)), time.Millisecond)
		x.Request.Header.Set("x-envoy-expected-rq-timeout-ms", milliseconds(left))
	}
	e := &x.Rule.Edits
	if e.IncludeAttemptCount {
		x.Request.Header.Set("x-envoy-attempt-count", decimal(attempt))
	}
	if e.IncludeTimeoutRetry {
		late := "false"
		if fe, ok := flow.AsError(why); ok && fe.Kind == flow.KindTimeout {
			late = "true"
		}
		x.Request.Header.Set("x-envoy-is-timeout-retry", late)
	}
}

// wants asks the policy about the outcome of an attempt that may be repeated.
func (x *Exchange) wants(retry *Retry, err error) bool {
	switch {
	case x.trip.sent, x.ended() != nil, x.timeUp():
		return false
	case err != nil:
		if !retry.wantsError(err) {
			return false
		}
	case !retry.wantsResponse(x.Response):
		return false
	}
	return x.body.replayable()
}

// again lets go of the failed attempt and waits; the error is why there cannot be
// another one.
func (x *Exchange) again(retry *Retry, k int) error {
	wait := retry.wait(k, x.Response, time.Now()) // the response's strings end with its stream
	x.closeStream()
	x.Response = nil
	if !x.body.rewind() {
		return errReplayLimit
	}
	if d := x.trip.deadline; !d.IsZero() {
		wait = min(wait, time.Until(d))
	}
	switch {
	case !sleep(x.Context(), wait):
		return x.left()
	case x.timeUp():
		return timedOut("response_timeout")
	default:
		return nil
	}
}

// errReplayLimit ends an exchange whose body outgrew what is kept of it while a
// retry was already decided.
var errReplayLimit = &flow.Error{Side: flow.SideInternal, Flag: flow.LocalReset, Kind: flow.KindOther, Details: "request_payload_exceeded_retry_buffer_limit"}

// left is why the exchange's context ended.
func (x *Exchange) left() error {
	if why := x.ended(); why != nil {
		return why
	}
	return errLeft
}

func (x *Exchange) timeUp() bool {
	return !x.trip.deadline.IsZero() && !time.Now().Before(x.trip.deadline)
}

func timedOut(details string) *flow.Error {
	return &flow.Error{Side: flow.SideUpstream, Flag: flow.UpstreamRequestTimeout, Kind: flow.KindTimeout, Retry: flow.RetryReset, Details: details}
}

// prepare makes the request the upstream's: time-out and attempt headers, the
// configured edits, the rewrites.
func (x *Exchange) prepare(w *WeightedCluster) {
	rule, r := x.Rule, x.Request
	if x.trip.timeout > 0 {
		x.armTimeout(x.trip.timeout)
	}
	notes := !x.h.spec.SuppressEnvoyHeaders
	if expected := x.trip.expected(); expected > 0 {
		if notes {
			r.Header.Set("x-envoy-expected-rq-timeout-ms", milliseconds(expected))
		}
		if rule.GRPC != nil && rule.GRPC.Replaces && route.IsGRPC(r) {
			r.Header.Set("grpc-timeout", grpcTimeoutText(expected))
		}
	}
	if rule.Edits.IncludeAttemptCount {
		r.Header.Set("x-envoy-attempt-count", "1")
	}
	x.Record.Upstream.Attempts = 1 // for those who format it
	w.Request.apply(x, &r.Header, joinedInRequests)
	for _, e := range rule.Edits.Request {
		e.apply(x, &r.Header, joinedInRequests)
	}
	x.Record.Upstream.Attempts = 0
	rule.Rewrite.apply(r, w.HostRewrite, notes)
	r.Interim = x.leave.onInterim
}

// armTimeout starts the rule's timeout, which runs from the end of the request.
func (x *Exchange) armTimeout(d time.Duration) {
	if x.Request.Method == connectMethod { // whose request goes on
		return
	}
	if done := x.complete(); !done.IsZero() {
		x.trip.deadline = done.Add(d)
		return
	}
	if x.Request.Upgrade != "" {
		x.trip.deadline = x.Record.Start.Add(d)
	}
}

// armDuration starts the clock of the whole exchange.
func (x *Exchange) armDuration(d time.Duration) {
	if d <= 0 || x.trip.whole != nil {
		return
	}
	x.trip.whole = &alarm{}
	x.trip.whole.start(time.Until(x.Record.Start.Add(d)), func() { x.end(errTooLong) })
}

// watch has the downstream watched while the upstream is awaited.
func (x *Exchange) watch() {
	if w, ok := x.w.(watcher); ok && !x.leave.watching {
		w.Watch(x.leave.onGone)
		x.leave.watching = true
	}
}

// attempt sends the request to one endpoint, and leaves the response's head in
// x.Response.
func (x *Exchange) attempt(c *upstream.Cluster, perTry time.Duration) error {
	x.trip.again = false
	up := &x.Record.Upstream
	if retry := x.trip.retry; retry != nil && retry.PreviousHosts && up.Attempts > 0 {
		x.trip.hint.MaxPicks = retry.HostAttempts + 1
	}
	up.Attempts++ // also where there is no endpoint, as in Envoy
	ep, err := c.Pick(&x.trip.hint)
	if err != nil {
		return err
	}
	x.body.note()
	up.Endpoint = ep.Addr()
	x.trip.hint.Tried = append(x.trip.hint.Tried, ep)
	if rw := x.Rule.Rewrite; rw != nil && rw.HostOfEndpoint {
		rw.follow(x.Request, ep.Spec().Hostname, !x.h.spec.SuppressEnvoyHeaders)
	}
	if x.Rule.Tunnels.Terminate && x.Request.Method == connectMethod {
		return x.terminate(c, ep)
	}
	err = x.attemptAt(c, ep, perTry)
	opened := x.trip.stream != nil
	x.trip.again = err != nil && x.transparent(c, ep, err)
	x.judge(c, ep, opened, err)
	return err
}

// attemptAt is attempt at the endpoint that was picked.
func (x *Exchange) attemptAt(c *upstream.Cluster, ep *lb.Endpoint, perTry time.Duration) error {
	stream, err := x.openStream(c, ep)
	if err != nil {
		if errors.Is(err, upstream.ErrQueueFull) { // the endpoint was not asked
			x.Record.Upstream.Endpoint = netip.AddrPort{}
		}
		return err
	}
	if err := x.lend(stream); err != nil {
		return err
	}
	up := &x.Record.Upstream
	up.Local = stream.Local()
	if t := stream.TLS(); t.Established {
		up.TLS, up.Peer = true, &t.Peer
	}
	return x.roundTrip(c, stream, perTry)
}

// openStream has a connection lent, waiting only where none is there.
func (x *Exchange) openStream(c *upstream.Cluster, ep *lb.Endpoint) (*upstream.Stream, error) {
	o := x.h.openFor(x.Request)
	if x.Rule.Priority != upstream.DefaultPriority {
		o = o.With(x.Rule.Priority)
	}
	stream, err := c.TryOpen(ep, o)
	if stream != nil || err != nil {
		return stream, err
	}
	if why := x.ended(); why != nil { // no connection is made for who has left already
		return nil, why
	}
	bounded, which := *o, boundRequest
	if bounded.Deadline = x.trip.deadline; bounded.Deadline.IsZero() { // the request is not complete, or has for ever
		if d := x.streamIdle(); d > 0 {
			bounded.Deadline, which = time.Now().Add(d), boundIdle
		}
	}
	if stream, err = c.Open(x.Context(), ep, &bounded); err != nil {
		if why := x.ended(); why != nil {
			return nil, why
		}
		return nil, x.classify(c, err, which)
	}
	return stream, nil
}

// lend makes the stream the one that a leaving downstream aborts.
func (x *Exchange) lend(stream *upstream.Stream) error {
	x.trip.stream = stream
	x.leave.mu.Lock()
	defer x.leave.mu.Unlock()
	x.leave.stream = stream
	return x.leave.cause
}

// bound is which of the clocks ends an attempt first.
type bound uint8

const (
	boundNone bound = iota
	boundRequest
	boundTry
	boundTryIdle
	boundIdle
)

// bounds returns when the attempt must have its response's head, and which clock
// says so. While the request's body is still on its way only the idle clock runs.
func (x *Exchange) bounds(sent time.Time, perTry time.Duration) (time.Time, bound) {
	end, why := x.trip.deadline, boundNone
	if !end.IsZero() {
		why = boundRequest
	}
	earlier := func(d time.Duration, w bound) {
		if t := sent.Add(d); d > 0 && (end.IsZero() || t.Before(end)) {
			end, why = t, w
		}
	}
	if x.body.completed().IsZero() {
		return end, why
	}
	earlier(perTry, boundTry)
	earlier(x.tryIdle(), boundTryIdle)
	earlier(x.streamIdle(), boundIdle)
	return end, why
}

// roundTrip is one attempt on its connection, under the earliest of the timeouts.
func (x *Exchange) roundTrip(c *upstream.Cluster, stream *upstream.Stream, perTry time.Duration) error {
	sent := time.Now()
	deadline, why := x.bounds(sent, perTry)
	var late *alarm
	if x.body.completed().IsZero() && (x.trip.timeout > 0 || perTry > 0) {
		late = &alarm{}
		x.body.onDone = x.onRequestDone(late, stream, perTry)
	}
	x.armStream(c, stream)
	resp, err := stream.RoundTrip(x.Request, deadline)
	if late != nil {
		late.stop()
	}
	if err != nil {
		return x.classify(c, err, why)
	}
	x.Response = resp
	x.Record.Upstream.ServiceTime = time.Since(sent)
	return nil
}

// errStreamTooLong ends an attempt that takes longer than its cluster allows.
var errStreamTooLong = &flow.Error{
	Side: flow.SideUpstream, Flag: flow.UpstreamMaxStreamDurationReached, Kind: flow.KindTimeout, Retry: flow.RetryReset,
	Details: "upstream_max_stream_duration_reached",
}

// armStream bounds an attempt by what its cluster allows.
func (x *Exchange) armStream(c *upstream.Cluster, stream *upstream.Stream) {
	most := x.trip.perStream
	if spec := c.Spec(); most <= 0 && spec != nil {
		most = spec.HTTP.MaxStream
	}
	if most <= 0 {
		return
	}
	x.trip.brief = &alarm{}
	x.trip.brief.start(most, func() { stream.Abort(errStreamTooLong) })
}

// onRequestDone starts the timeouts of a request whose body was still on its way
// when the attempt began. It runs on the goroutine that reads the body.
func (x *Exchange) onRequestDone(late *alarm, stream *upstream.Stream, perTry time.Duration) func() {
	limit := x.trip.timeout
	details := "response_timeout"
	if perTry > 0 && (limit == 0 || perTry < limit) {
		limit, details = perTry, "upstream_per_try_timeout"
	}
	return func() { late.start(limit, func() { stream.Abort(timedOut(details)) }) }
}

// classify tells the timeouts apart and counts them.
func (x *Exchange) classify(c *upstream.Cluster, err error, why bound) error {
	fe, ok := flow.AsError(err)
	if !ok || fe.Kind != flow.KindTimeout || fe.Side != flow.SideUpstream || fe == errStreamTooLong {
		return err
	}
	switch {
	case why == boundTry, fe.Details == "upstream_per_try_timeout":
		c.Stats().Requests.PerTryTimeout.Add(1)
		return timedOut("upstream_per_try_timeout")
	case fe == errTryIdle:
		return errTryIdle
	case why == boundTryIdle:
		return errTryIdle
	case why == boundIdle:
		return errStreamIdle
	default:
		c.Stats().Requests.Timeout.Add(1)
		return timedOut("response_timeout")
	}
}

// boundBody keeps the rule's timeout over the response's body, where that is not
// here already.
func (x *Exchange) boundBody() {
	if x.trip.timeout <= 0 || x.Response.Tunnel != nil || x.Response.Body == httpmsg.NoBody {
		return
	}
	if n := int64(x.Response.Body.Buffered()); n < 0 || n > 0 && n == x.Response.ContentLength {
		return
	}
	end := x.trip.deadline
	if end.IsZero() {
		done := x.complete()
		if done.IsZero() {
			return
		}
		end = done.Add(x.trip.timeout)
	}
	stream := x.trip.stream
	x.trip.late = &alarm{}
	x.trip.late.start(time.Until(end), func() { stream.Abort(timedOut("response_timeout")) })
}

package proxy

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/route"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// Exchange is one request on its trip. It belongs to the goroutine that serves
// the request and is used again afterwards: nobody keeps it.
type Exchange struct {
	Conn     *flow.Conn
	Request  *httpmsg.Request
	Response *httpmsg.Response // theirs or ours, once there is one
	Rule     *Rule             // nil where none matched
	Record   flow.Record
	// Random is the stream's one random number: all choices by chance agree.
	Random uint64

	h       *HTTP
	session *session
	w       httpmsg.ResponseWriter
	body    requestBody
	trip    trip
	leave   leave

	passage passage
	id      [requestIDLen]byte
}

// trip is the forwarding part of an exchange.
type trip struct {
	cluster *WeightedCluster
	stream  *upstream.Stream
	tcp     *upstream.Conn // of a CONNECT that ends here, instead of stream
	hint    lb.Hint
	tried   [4]*lb.Endpoint
	cookies []string // set-cookie fields for the response
	prefer  preference
	// sent is set when a 1xx response went downstream: no more retries.
	sent bool
	// repeats is how many attempts were made again beside the retry policy.
	repeats uint8
	// again is set when the last attempt has failed and is to be repeated so.
	again bool
	// deadline is the end of the timeout; zero is none.
	deadline time.Time
	late     *alarm
	brief    *alarm // of the attempt, by its cluster; nil without
	whole    *alarm // of the exchange's longest duration; nil without
	idle     *idleClock

	limits
	mild bool // a timeout is answered with 204 (x-envoy-upstream-rq-timeout-alt-response)
}

// expected is how long the upstream may take for one attempt; 0 is for ever.
func (l *limits) expected() time.Duration {
	if l.perTry > 0 {
		return l.perTry
	}
	return l.timeout
}

// errTooLong ends an exchange that has taken as long as it may.
var errTooLong = &flow.Error{Side: flow.SideInternal, Flag: flow.LocalReset, Kind: flow.KindTimeout, Details: "max_duration_timeout"}

// leave is how another goroutine ends the exchange: when the downstream leaves, or
// the exchange has taken too long.
type leave struct {
	// immutable
	onGone    func()
	onInterim func(int, *httpmsg.Header) error

	watching bool // owned by the exchange's goroutine

	mu     sync.Mutex
	stream *upstream.Stream        // guarded by mu; what to abort
	tcp    *upstream.Conn          // guarded by mu; the same
	cause  error                   // guarded by mu
	ctx    context.Context         //nolint:containedctx // guarded by mu; made when somebody waits
	cancel context.CancelCauseFunc // guarded by mu; nil without ctx
}

// watcher is a ResponseWriter that can tell when the downstream leaves while
// nothing is being sent to it.
type watcher interface {
	Watch(gone func())
	Unwatch()
}

// leaver is a watcher that knows how the downstream left: a stream may have been
// reset on a connection that lives on.
type leaver interface{ Left() error }

// errLeft is what ends an attempt whose downstream is gone.
var errLeft = &flow.Error{
	Side: flow.SideDownstream, Flag: flow.DownstreamConnectionTermination, Kind: flow.KindCancelled,
	Details: "downstream_remote_disconnect",
}

func newExchange() *Exchange {
	x := &Exchange{}
	x.leave.onGone = x.gone
	x.leave.onInterim = x.interim
	return x
}

// exchange is the whole trip of one request.
func (h *HTTP) exchange(s *session, w httpmsg.ResponseWriter, r *httpmsg.Request) {
	x := h.begin(s, w, r)
	defer x.finish()
	if reply := h.admit(x); reply != nil {
		x.reply(reply)
		return
	}
	h.stamp(x)
	x.noteRequest()
	routed := h.match(x)
	if x.Rule == nil && x.Request.Method == connectMethod {
		x.reply(routed.closing())
		return
	}
	if reply := h.upgrade(x); reply != nil {
		x.reply(reply)
		return
	}
	if reply := x.filter(); reply != nil {
		// As in Envoy the edits of a rule that answers itself are for that answer.
		x.passage.unedited = x.Rule != nil && len(x.Rule.Clusters) == 0
		x.reply(reply)
		return
	}
	if x.Rule == nil { // after the filters: 401 and 403 come before 404
		x.reply(routed)
		return
	}
	h.decorate(x)
	if reply := x.Rule.answer(x); reply != nil {
		x.reply(reply)
		return
	}
	if err := h.forward(x); err != nil {
		x.fail(err)
		return
	}
	h.respond(x)
}

// begin notes the facts, the clock and the random number.
func (h *HTTP) begin(s *session, w httpmsg.ResponseWriter, r *httpmsg.Request) *Exchange {
	x := exchanges.Get().(*Exchange) //nolint:forcetypeassert // the pool holds nothing else
	x.cure()
	x.h, x.session, x.w, x.Request = h, s, w, r
	x.Conn = s.conn.Flow
	x.Random = rand.Uint64() //nolint:gosec // load balancing
	x.Record.Conn, x.Record.HTTP, x.Record.Start = s.conn.Flow, true, time.Now()
	x.Record.Request.Protocol, x.Record.Request.Head = r.Protocol, &r.Header
	x.body.begin(x)
	h.Stats.Active.Add(1)
	return x
}

// admit checks and normalises the path.
func (h *HTTP) admit(x *Exchange) *Reply {
	r := x.Request
	if r.Authority == "" && r.Protocol == "HTTP/1.0" {
		r.Authority = h.spec.DefaultHost
	}
	if r.Method == connectMethod {
		return nil
	}
	switch {
	case r.Method == "QUERY" && !r.Header.Has("content-type"):
		return replyNoContentType
	case r.Path == "":
		return replyMissingPath
	case r.Path[0] != '/':
		return replyAbsolutePath
	}
	path, verdict := h.spec.Path.normalize(r.Path)
	switch {
	case verdict == pathRefused:
		return replyBadPath
	case verdict == pathRedirect && route.IsGRPC(r):
		r.Path = path
		return replyBadPath
	case verdict == pathRedirect:
		r.Path = path // Envoy logs the normal form, and as a failure
		return &Reply{Status: 307, Details: "path_normalization_failed", Header: []httpmsg.Field{{Name: "location", Value: path}}}
	}
	r.Path = path
	return nil
}

// match finds the rule and the filters. What it returns is the answer where there
// is none.
func (h *HTTP) match(x *Exchange) *Reply {
	x.Rule, x.trip.cluster = nil, nil
	reply := h.route(x)
	x.passage.filters = h.spec.Filters
	x.passage.settle()
	return reply
}

func (h *HTTP) route(x *Exchange) *Reply {
	x.passage.overrides = nil
	routes := h.routes.Load()
	if routes == nil {
		return replyNoRoutes
	}
	rule, ok := (*routes).Match(x.Request, x.Random)
	if !ok || rule == nil {
		if p, ok := (*routes).(Pending); ok && p.Pending() {
			return replyNoRoutes
		}
		return replyNoRoute
	}
	x.Rule = rule
	x.passage.overrides = rule.Overrides
	x.Record.Route, x.Record.Ext = rule.Name, rule.Ext
	x.Record.Upstream.Cluster = ""
	if w := pick(rule.Clusters, x.Random); w != nil {
		x.trip.cluster = w
		if w.Overrides != nil {
			x.passage.overrides = w.Overrides
		}
		if w.Cluster != nil {
			x.Record.Upstream.Cluster = w.Cluster.Name() // a filter may refuse the request
		}
	}
	return nil
}

// Rematch looks for the rule once more, after a filter has changed what routing
// looks at. Only the first call counts; which filters take part stays decided.
func (x *Exchange) Rematch() {
	if x.passage.rematched {
		return
	}
	x.passage.rematched = true
	off := x.passage.off
	x.h.match(x)
	x.passage.off = off
}

// decorate tells the next sidecar the name of the operation.
func (h *HTTP) decorate(x *Exchange) {
	e := &x.Rule.Edits
	if h.spec.Decorate && h.spec.Direction == flow.Outbound && e.Decorator != "" && !e.DecoratorNoPropagate {
		x.Request.Header.Set("x-envoy-decorator-operation", e.Decorator)
	}
}

// upgrade refuses upgrades that neither the rule nor the chain allows.
func (h *HTTP) upgrade(x *Exchange) *Reply {
	token := x.Request.Upgrade
	if x.Request.Method == connectMethod {
		token = connectToken
	}
	if token == "" {
		return nil
	}
	if x.Rule != nil {
		if may, ok := x.Rule.Tunnels.Upgrades[token]; ok {
			return unless(may, replyUpgradeFailed)
		}
	}
	return unless(slices.Contains(h.spec.Upgrades, token), replyUpgradeFailed)
}

func unless(may bool, r *Reply) *Reply {
	if may {
		return nil
	}
	return r
}

// noteRequest copies the request line into the record: early, since configured
// headers are formatted from it, and again when rewrites are done.
func (x *Exchange) noteRequest() {
	to, from := &x.Record.Request, x.Request
	to.Method, to.Path, to.Authority = from.Method, from.Path, from.Authority
}

// noteResponse is noteRequest for the response's head.
func (x *Exchange) noteResponse(resp *httpmsg.Response, now time.Time) {
	to := &x.Record.Response
	to.Status, to.Head, to.Trailer = resp.Status, &resp.Header, &resp.Trailer
	to.FirstByte = now.Sub(x.Record.Start)
}

// respond sends their response downstream.
func (h *HTTP) respond(x *Exchange) {
	resp := x.Response
	rec := &x.Record
	now := time.Now()
	if !h.spec.SuppressEnvoyHeaders && !x.tunnels() { // these have no end
		if done := x.complete(); !done.IsZero() {
			resp.Header.Set("x-envoy-upstream-service-time", milliseconds(now.Sub(done)))
		}
	}
	x.giveCookies(&resp.Header)
	rec.Details = "via_upstream"
	x.noteResponse(resp, now)
	x.editResponse(resp)
	h.finishResponse(x, resp, now)
	x.boundBody()
	x.guardBody()
	if resp.Tunnel != nil {
		x.tunnel(resp)
		return
	}
	n, err := x.w.WriteResponse(resp)
	rec.Response.Bytes = n
	if err != nil {
		x.broken(err)
	}
}

// broken records an exchange that failed after its response had begun.
func (x *Exchange) broken(err error) {
	fe, ok := flow.AsError(err)
	if !ok {
		fe = &flow.Error{Flag: flow.LocalReset, Kind: flow.KindOther, Err: err}
	}
	x.Record.Flags.Set(fe.Flag)
	x.blameLate(fe)
	switch {
	case fe.Side == flow.SideDownstream && fe.Details != "":
		x.Record.Details = fe.Details
	case fe.Side == flow.SideDownstream && fe.Kind == flow.KindCancelled:
		x.Record.Details = errLeft.Details
	case fe.Kind == flow.KindTimeout && fe.Details != "":
		x.Record.Details = fe.Details
	case fe.Kind == flow.KindTimeout:
		x.Record.Details = "response_timeout"
	default:
		x.Record.Details = resetDetails("upstream_reset_after_response_started", causeOf(fe.Kind).reset, "")
	}
}

// fail answers a request whose last attempt failed.
func (x *Exchange) fail(err error) {
	if len(x.body.copies) > 0 {
		x.closeStream() // which joins who read the body
		x.body.completeCopies()
	}
	reply := replyFor(err, x.Record.Upstream.Attempts)
	if fe, ok := flow.AsError(err); ok && fe.Kind == flow.KindNoCluster && x.Rule.ClusterNotFound != 0 {
		reply.Status = x.Rule.ClusterNotFound
	}
	if (reply == replyTooLong || reply == replyStreamTooLong) && !x.body.completed().IsZero() {
		late := *reply // all of the request was there: it is the upstream that is late
		late.Status = 504
		reply = &late
	}
	if x.h.spec.SuppressEnvoyHeaders && reply.Header != nil { // the replies of a table have none, and are shared
		reply.Header = nil // x-envoy-overloaded
	}
	if x.trip.mild && reply.Status == 504 {
		reply.Status, reply.Body = 204, ""
	}
	if reply.FailureReason != "" {
		x.Record.Upstream.FailureReason = reply.FailureReason
	}
	x.reply(reply)
}

// reply sends our own answer. It passes the response filters that saw the
// request.
func (x *Exchange) reply(r *Reply) {
	rec := &x.Record
	if r.Flagged {
		rec.Flags.Set(r.Flag)
	}
	rec.Details = noSpaces(r.Details)
	if r.Status == 0 || x.w.Started() { // nobody is there to hear it
		return
	}
	edit, grpc := x.editResponse, route.IsGRPC(x.Request)
	switch {
	case r.Plain:
		edit, grpc = nil, false
	case r.Edits != nil:
		edit = func(resp *httpmsg.Response) {
			x.editResponse(resp)
			r.Edits.apply(x, &resp.Header, joinedInResponses)
		}
	}
	resp := r.response(grpc, edit)
	now := time.Now()
	x.Response = resp
	x.noteResponse(resp, now)
	rec.Response.Local = true
	x.h.finishResponse(x, resp, now)
	if r.Close && (r.Status != 400 || !x.h.spec.HTTP1.KeepInvalid) {
		resp.Header.Set("connection", "close")
	}
	n, err := x.w.WriteResponse(resp)
	rec.Response.Bytes = n
	if err != nil {
		x.broken(err)
	}
}

// gone is called from another goroutine when the downstream leaves.
func (x *Exchange) gone() {
	x.end(x.howLeft())
}

// end has the exchange end with an error, from another goroutine.
func (x *Exchange) end(why error) {
	x.leave.mu.Lock()
	defer x.leave.mu.Unlock()
	if x.leave.cause != nil {
		return
	}
	x.leave.cause = why
	if x.leave.stream != nil {
		x.leave.stream.Abort(why)
	}
	if x.leave.tcp != nil {
		interruptTCP(x.leave.tcp)
	}
	if x.leave.cancel != nil {
		x.leave.cancel(why)
	}
}

// Context ends when the exchange has to: its downstream left, or its time is up. It
// is made when it is first asked for, which is by those who wait.
func (x *Exchange) Context() context.Context {
	x.leave.mu.Lock()
	defer x.leave.mu.Unlock()
	if x.leave.ctx == nil {
		x.leave.ctx, x.leave.cancel = context.WithCancelCause(x.session.ctx)
		if x.leave.cause != nil {
			x.leave.cancel(x.leave.cause)
		}
	}
	return x.leave.ctx
}

// ended is why the exchange has to end, or nil.
func (x *Exchange) ended() error {
	x.leave.mu.Lock()
	defer x.leave.mu.Unlock()
	switch {
	case x.leave.cause != nil:
		return x.leave.cause
	case x.session.ctx.Err() != nil:
		return errLeft
	default:
		return nil
	}
}

// interim passes a 1xx response on, where it is configured: the first one, and a
// 100 that is waited for.
func (x *Exchange) interim(status int, h *httpmsg.Header) error {
	if !x.h.spec.Proxy100Continue || x.trip.sent && status != 100 {
		return nil
	}
	x.trip.sent = true
	return x.w.WriteInterim(status, h)
}

// finish ends the exchange: the one place where its record is closed and shown.
func (x *Exchange) finish() {
	x.letGo()
	if x.trip.stream != nil && x.Response != nil {
		_ = x.Response.Body.Close() // joins who still sends the request's body
	}
	x.noteRequest()
	rec := &x.Record
	rec.Request.Bytes += x.body.received()
	if done := x.body.completed(); !done.IsZero() {
		rec.Request.Complete = done.Sub(rec.Start)
	}
	rec.Duration = time.Since(rec.Start)
	observe(x.h.spec.Observers, rec) // while the response's strings are still ours
	x.closeStream()
	x.h.Stats.Active.Add(-1)
	for _, f := range x.passage.ends {
		f()
	}
	x.body.end()
	x.clear()
	x.poison()
	exchanges.Put(x)
}

// letGo ends what could still abort the attempt: the watch over the downstream and
// the alarm.
func (x *Exchange) letGo() {
	if x.leave.watching {
		x.leave.watching = false
		if w, ok := x.w.(watcher); ok {
			w.Unwatch()
		}
	}
	for _, a := range [...]*alarm{x.trip.late, x.trip.whole} {
		if a != nil {
			a.stop()
		}
	}
	x.trip.idle.stop()
	x.body.stop()
}

// closeStream gives the attempt's connection back.
func (x *Exchange) closeStream() {
	x.closeTCP()
	stream := x.trip.stream
	if stream == nil {
		return
	}
	if x.trip.brief != nil {
		x.trip.brief.stop()
		x.trip.brief = nil
	}
	x.leave.mu.Lock()
	x.leave.stream = nil
	x.leave.mu.Unlock()
	x.trip.stream = nil
	stream.Close()
}

// clear readies the exchange for its next use.
func (x *Exchange) clear() {
	x.Conn, x.Request, x.Response, x.Rule = nil, nil, nil, nil
	x.Record = flow.Record{}
	x.h, x.session, x.w = nil, nil, nil
	x.trip = trip{}
	if x.leave.cancel != nil {
		x.leave.cancel(nil)
	}
	x.leave.cause, x.leave.ctx, x.leave.cancel = nil, nil, nil
	x.passage = passage{}
}

package proxy

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/crash"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// silenceBeforeDial is how long a downstream may say nothing before its upstream is
// asked: longer than a client that speaks first takes between connecting and
// speaking, shorter than anybody minds to wait for a database.
const silenceBeforeDial = 100 * time.Millisecond

// errEndedSilent is why an upstream that was dialled ahead is of no use any more.
var errEndedSilent = errors.New("upstream ended without a word")

// ahead is an upstream connection made while the downstream is still silent: in
// MySQL, SMTP and others the server speaks first, and an inspector that waits for
// the client's first byte would wait for ever. Whichever side speaks first decides.
// If it is the server, the raw TCP chain serves the connection; if it is the client,
// inspection goes on as if nobody had dialled, and the connection is used if that
// same chain is chosen in the end, else closed.
//
// It is only made where a chain would take a connection of which the inspectors
// found nothing, where that chain ends no TLS (so never where mutual TLS is
// mandatory) and once the chain's filters have admitted the connection.
type ahead struct {
	// immutable
	conn   *Conn
	chain  *Chain
	tcp    *TCP
	stats  *ListenerStats
	start  func()
	cancel context.CancelFunc
	done   chan struct{} // closed when run ends

	bug crash.Box // told by whoever joins run

	// owned by run until done is closed
	rec   flow.Record
	words socket // up, with what it said

	// guarded by mu
	mu    sync.Mutex
	first flow.Side // who spoke first; SideInternal is nobody yet
	up    *upstream.Conn
}

// ahead readies a dial for a silent connection, or returns nil where that must not
// be. The connection is on the chain from now on: it drains if that goes away.
func (l *Listener) ahead(ctx context.Context, c *Conn, found *Facts) *ahead {
	chain := l.settle(c, found)
	if chain == nil || chain.TLS != nil {
		return nil
	}
	tcp, ok := chain.Handler.(*TCP)
	if !ok || tcp.spec.Tunnel != nil {
		return nil
	}
	c.Flow.Chain = chain.Name
	for _, f := range chain.Filters {
		if f.Accept(c.Flow) != nil {
			return nil // asked again, and recorded, when the chain is chosen
		}
	}
	a := &ahead{conn: c, chain: chain, tcp: tcp, stats: &l.Stats, done: make(chan struct{})}
	ctx, a.cancel = context.WithCancel(ctx)
	a.start = func() {
		l.Stats.Ahead.Add(1)
		go a.run(ctx) // joined by take and drop
	}
	return a
}

// begin dials. The deadline of the downstream's wait is set already: it is what the
// upstream's first words end.
func (a *ahead) begin() {
	if a != nil {
		a.start()
	}
}

// run dials and waits for the upstream's first words, until somebody has spoken.
func (a *ahead) run(ctx context.Context) {
	defer close(a.done)
	defer func() {
		if a.bug.Caught() {
			a.claim(flow.SideUpstream) // the downstream is not waited for any more
		}
	}()
	defer a.bug.Catch()
	a.tcp.begin(a.conn, &a.rec)
	up, err := a.tcp.connect(ctx, a.conn, &a.rec)
	if err != nil {
		if ctx.Err() == nil {
			a.stats.AheadFail.Add(1)
		}
		return
	}
	a.mu.Lock()
	a.up = up
	settled := a.first != flow.SideInternal
	a.mu.Unlock()
	if !settled {
		a.listen(up)
	}
}

// listen waits for the upstream to say something.
func (a *ahead) listen(up *upstream.Conn) {
	held, n, err := firstBytes(up.Conn)
	switch {
	case held != nil:
		a.words = socket{Conn: up.Conn, held: held, prefix: (*held)[:n]}
		a.claim(flow.SideUpstream)
	case !isTimeout(err): // a downstream that waits may still speak
		a.mu.Lock()
		a.up = nil
		a.mu.Unlock()
		up.Done()
	}
}

// claim reports whether side is the first to speak, and ends the other's waiting.
func (a *ahead) claim(side flow.Side) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.first != flow.SideInternal {
		return a.first == side
	}
	a.first = side
	past := time.Unix(1, 0)
	switch {
	case side == flow.SideUpstream:
		a.stats.ServerFirst.Add(1)
		_ = a.conn.sock.SetReadDeadline(past)
	case a.up != nil:
		_ = a.up.SetReadDeadline(past)
	}
	return true
}

// heard tells that the downstream's wait is over. It reports true where the
// upstream was faster; the downstream's deadlines are the caller's again.
func (a *ahead) heard() (serverFirst bool) {
	if a == nil || a.claim(flow.SideDownstream) {
		return false
	}
	<-a.done
	a.bug.Rethrow()
	return true
}

// serverFirst reports whether the upstream spoke before the downstream.
func (a *ahead) serverFirst() bool {
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.first == flow.SideUpstream
}

// take waits for the dial to end and hands out its connection, and what to read
// from it; or an error.
func (a *ahead) take() (*upstream.Conn, side, error) {
	<-a.done
	a.bug.Rethrow()
	if a.up == nil {
		return nil, side{}, errEndedSilent
	}
	_ = a.up.SetReadDeadline(time.Time{})
	out := sideOf(a.up)
	if a.words.held != nil {
		out.conn, out.peeked = &a.words, func() bool { return a.words.held != nil }
	}
	return a.up, out, nil
}

// drop ends the dial and its connection. It is called in any case, and more than
// once does no harm.
func (a *ahead) drop() {
	if a == nil {
		return
	}
	a.cancel()
	a.claim(flow.SideDownstream)
	<-a.done
	a.words.release()
	if a.up != nil {
		a.up.Done()
	}
}

package upstream

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/http1"
)

// conn is an HTTP/1.1 connection of a pool. Whoever took it from the pool owns it.
type conn struct {
	link

	// immutable
	pool  *pool
	codec *http1.ClientConn
	watch watch

	// owned by the one who has taken it
	stream    Stream
	requests  uint32
	idleSince time.Time
	patience  time.Duration // what the upstream has announced

	peerClosed atomic.Bool
	over       atomic.Bool
}

func (c *Cluster) openConn(ctx context.Context, p *pool, spec *Spec) (*conn, error) {
	m, err := c.connect(ctx, spec, p.way, p.alpn)
	if err != nil {
		return nil, err
	}
	return c.adopt(p, m)
}

// adopt makes a connection of a pool out of one that was just made. The caller has
// counted it.
func (c *Cluster) adopt(p *pool, m *made) (*conn, error) {
	cn := &conn{pool: p, link: newLink(p.way, m)}
	cn.stream = Stream{link: &cn.link, lender: cn}
	cn.codec = http1.NewClientConn(m.conn, p.way.http1)
	cn.stream.carrier = cn.codec
	cn.watch = c.o.Reaper.add(cn)
	if !c.live.swap(m.attempt, cn) {
		c.o.Reaper.remove(cn.watch)
		c.drop(m)
		return nil, closed()
	}
	return cn, nil
}

// lend counts one more exchange.
func (cn *conn) lend() *Stream {
	cn.requests++
	return &cn.stream
}

func (cn *conn) reused() bool { return cn.requests > 1 }

// giveBack ends an exchange: the connection goes back to the pool if the exchange was
// complete, else it is closed.
func (cn *conn) giveBack(*Stream) {
	spec := cn.cluster().spec.Load()
	if spec == nil || !cn.codec.Reusable() || cn.wornOut(spec) {
		cn.close()
		return
	}
	cn.patience = cn.codec.Patience()
	cn.codec.Release()
	cn.pool.give(cn)
}

// wornOut reports whether the connection has served as much as it may.
func (cn *conn) wornOut(spec *Spec) bool {
	if m := spec.HTTP.MaxRequestsPerConn; m > 0 && cn.requests >= m {
		cn.cluster().stats.CxMaxRequests.Add(1)
		return true
	}
	return spec.HTTP.MaxConnDuration > 0 && cn.tooOld(spec, time.Now())
}

// expired reports whether an idle connection is too old to be used; keep is how long
// the upstream keeps it, where that is known.
func (cn *conn) expired(spec *Spec, now time.Time, keep time.Duration) bool {
	if keep > 0 && cn.idleFor(now) >= keep {
		cn.cluster().stats.Stale.Retired.Add(1)
		return true
	}
	if t := spec.idleTimeout(); t > 0 && cn.idleFor(now) >= t {
		cn.cluster().stats.CxIdleTimeout.Add(1)
		return true
	}
	return cn.tooOld(spec, now)
}

// tooOld is aged, counted.
func (cn *conn) tooOld(spec *Spec, now time.Time) bool {
	if !cn.aged(spec, now) {
		return false
	}
	cn.cluster().stats.CxMaxDuration.Add(1)
	return true
}

func (cn *conn) idleFor(now time.Time) time.Duration { return now.Sub(cn.idleSince) }

// usable asks the system whether the upstream is still there and has said nothing
// since its last response.
func (cn *conn) usable() bool {
	if cn.peerClosed.Load() || !cn.codec.Alive() {
		cn.cluster().stats.Stale.Found.Add(1)
		return false
	}
	return true
}

// close ends the connection. It is called by the owner, never under a lock.
func (cn *conn) close() {
	if !cn.end() {
		return
	}
	if cn.peerClosed.Load() {
		_ = cn.raw.Close() // no farewell to one who has left
	}
	_ = cn.codec.Close() // the connection is of no more use, however it ends
}

// kill ends the connection under the exchange that uses it.
func (cn *conn) kill() {
	if cn.end() {
		cn.codec.Abort(closed())
		_ = cn.raw.Close() // whoever uses it reports the error
	}
}

// end gives up all that the connection holds but itself, once.
func (cn *conn) end() bool {
	if !cn.over.CompareAndSwap(false, true) {
		return false
	}
	c := cn.cluster()
	c.o.Reaper.remove(cn.watch)
	c.cxEnded()
	cn.pool.forgo()
	c.live.remove(cn)
	return true
}

// newlyClosed is called by the reaper.
func (cn *conn) newlyClosed() { cn.pool.peerClosed(cn) }

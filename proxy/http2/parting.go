package http2

import (
	"errors"
	"time"
)

// errDrained ends a connection whose drain is complete.
var errDrained = errors.New("connection was drained")

// drainWait is how long the answer to the ping between the two GOAWAY frames may take.
const drainWait = int64(time.Second)

// parting is how far the drain of a downstream connection has come (RFC 9113 section
// 6.8): first it is told to open no more streams, then, when that must have arrived,
// which one was the last.
type parting struct {
	greeted bool // SETTINGS, which comes first, is on its way
	early   bool // the drain was asked for before
	begun   bool
	until   int64 // when the second GOAWAY goes out at the latest
}

// Drain announces the connection's end: it closes when its streams are done. It may
// be called from any goroutine.
func (c *ServerConn) Drain() {
	c.mu.Lock()
	c.drainLocked()
	c.mu.Unlock()
	c.flush()
}

func (c *ServerConn) drainLocked() {
	if c.parting.begun || c.ending {
		return
	}
	if c.parting.early = !c.parting.greeted; c.parting.early {
		return
	}
	c.parting.begun = true
	c.parting.until = c.since(time.Now()) + drainWait
	c.pongs.drain = true
	c.append(2, func(b []byte) []byte {
		return appendPing(appendGoAway(b, maxWindow, codeNo), 0, pingDrain)
	})
	c.clock.arm(c.parting.until)
}

// greetedLocked is called when a drain may be announced.
func (c *ServerConn) greetedLocked() {
	c.parting.greeted = true
	if c.parting.early {
		c.drainLocked()
	}
}

// partLocked takes the next step, and returns when to look again.
func (c *ServerConn) partLocked(now int64) int64 {
	p := &c.parting
	if !p.begun {
		return 0
	}
	if !c.goneAway {
		if c.pongs.drain && now < p.until {
			return p.until
		}
		c.goneAway = true
		last := c.lastID
		c.append(1, func(b []byte) []byte { return appendGoAway(b, last, codeNo) })
	}
	c.leaveLocked()
	return 0
}

// leaveLocked ends a drained connection that has no streams any more.
func (c *ServerConn) leaveLocked() {
	if c.goneAway && c.open == 0 && c.busy == 0 {
		c.stopLocked(errDrained)
	}
}

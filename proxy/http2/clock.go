package http2

import (
	"sync"
	"time"
)

// clock is the one timer of a connection. It fires at the earliest of the times that
// something waits for; one that comes early finds out when it fires, so that what never
// waits long costs no timer.
type clock struct {
	c *conn

	// guarded by the connection's lock
	timer *time.Timer
	next  int64 // when it fires; 0 is never
	over  bool

	// checks are what the side looks at when it fires; it returns when it wants to look
	// again, 0 is not before it says so.
	check func(now int64) int64

	running sync.WaitGroup
}

// arm sees to it that the clock fires no later than at, if that is not 0. The caller
// holds the lock.
func (k *clock) arm(at int64) {
	if at == 0 || k.over || k.next != 0 && k.next <= at {
		return
	}
	k.next = at
	d := time.Duration(at) - time.Since(k.c.epoch)
	if k.timer == nil {
		k.timer = time.AfterFunc(d, k.fire)
		return
	}
	k.timer.Reset(d)
}

// fire wakes the streams whose time has come.
func (k *clock) fire() {
	c := k.c
	c.mu.Lock()
	if k.over {
		c.mu.Unlock()
		return
	}
	k.running.Add(1)
	defer k.running.Done()
	now := c.since(time.Now())
	k.next = 0
	for _, s := range c.streams {
		k.look(s.recvLimit, now, &s.recv)
		k.look(s.sendLimit, now, &s.send)
	}
	if k.check != nil {
		k.arm(k.check(now))
	}
	dirty := c.out.waiting > 0
	c.mu.Unlock()
	if dirty {
		c.flush()
	}
}

func (k *clock) look(limit, now int64, b *bell) {
	switch {
	case limit == 0:
	case limit <= now:
		b.ring()
	default:
		k.arm(limit)
	}
}

// stop ends the clock, and waits for it if it fires.
func (k *clock) stop() {
	k.c.mu.Lock()
	k.over = true
	if k.timer != nil {
		k.timer.Stop()
	}
	k.c.mu.Unlock()
	k.running.Wait()
}

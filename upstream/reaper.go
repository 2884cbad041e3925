package upstream

import (
	"errors"
	"net"
	"sync"
	"syscall"
)

// Reaper watches the pooled connections of many clusters for their end, without a
// goroutine for each: one asks the kernel about all of them. It begins with the first
// connection and ends with Close.
type Reaper struct {
	mu      sync.Mutex
	poll    *poller          // guarded by mu; nil before the first connection
	watched map[uint64]*conn // guarded by mu
	last    uint64           // guarded by mu
	closed  bool             // guarded by mu
	done    chan struct{}    // closed by run
}

// watch names a watched connection; 0 is none.
type watch uint64

// NewReaper makes a reaper to share among clusters.
func NewReaper() *Reaper { return &Reaper{watched: make(map[uint64]*conn), done: make(chan struct{})} }

// add watches a connection that has a descriptor. A connection that cannot be watched
// is still checked when it is taken from its pool.
func (r *Reaper) add(cn *conn) watch {
	sc, ok := cn.raw.(syscall.Conn)
	if r == nil || !ok {
		return 0
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || !r.startLocked() {
		return 0
	}
	r.last++
	id := r.last
	r.watched[id] = cn
	ctl := rc.Control(func(fd uintptr) { err = r.poll.add(fd, id) })
	if ctl != nil || err != nil {
		delete(r.watched, id)
		return 0
	}
	return watch(id)
}

// remove forgets a connection; the kernel does so when it is closed.
func (r *Reaper) remove(w watch) {
	if w == 0 {
		return
	}
	r.mu.Lock()
	delete(r.watched, uint64(w))
	r.mu.Unlock()
}

func (r *Reaper) startLocked() bool {
	if r.poll != nil {
		return true
	}
	p, err := newPoller()
	if err != nil {
		return false
	}
	r.poll = p
	go r.run(p)
	return true
}

func (r *Reaper) run(p *poller) {
	defer close(r.done)
	for {
		ids, err := p.wait()
		if err != nil {
			return // closed
		}
		for _, id := range ids {
			r.mu.Lock()
			cn := r.watched[id]
			r.mu.Unlock()
			if cn != nil {
				cn.newlyClosed()
			}
		}
	}
}

// Close ends the watch and waits for its goroutine.
func (r *Reaper) Close() error {
	r.mu.Lock()
	p := r.poll
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	if p == nil || closed {
		return nil
	}
	err := p.close()
	<-r.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

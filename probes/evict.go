package probes

import (
	"container/list"
	"net"
	"sync"
)

// evicting bounds the open connections of a listener by closing the oldest one
// where a new one comes: whoever holds many cannot keep a probe out.
type evicting struct {
	net.Listener
	most int

	// guarded by mu
	mu   sync.Mutex
	open *list.List // of *evictable, the oldest first
}

func evict(l net.Listener, most int) *evicting {
	return &evicting{Listener: l, most: most, open: list.New()}
}

// Accept waits for a connection.
func (e *evicting) Accept() (net.Conn, error) {
	conn, err := e.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &evictable{Conn: conn, of: e}
	e.mu.Lock()
	c.place = e.open.PushBack(c)
	var oldest *evictable
	if e.open.Len() > e.most {
		oldest, _ = e.open.Front().Value.(*evictable)
	}
	e.mu.Unlock()
	if oldest != nil {
		_ = oldest.Close() // its server notices by a failed read
	}
	return c, nil
}

// evictable leaves the list when it is closed.
type evictable struct {
	net.Conn
	of    *evicting
	place *list.Element // guarded by of.mu; nil once closed
}

// Close closes the connection.
func (c *evictable) Close() error {
	c.of.mu.Lock()
	if c.place != nil {
		c.of.open.Remove(c.place)
		c.place = nil
	}
	c.of.mu.Unlock()
	return c.Conn.Close()
}

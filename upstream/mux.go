package upstream

import (
	"errors"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/http2"
)

// mux is an HTTP/2 connection of a hub, for many exchanges at a time.
type mux struct {
	link

	// immutable
	hub *hub

	codec *http2.ClientConn // set before joined

	// guarded by hub.mu
	joined    bool // codec is set, and the connection counted
	active    int  // streams that are lent
	lent      uint // streams that were lent so far
	full      bool // the upstream allows no more streams at present
	settled   bool // the upstream has answered, so its limit is known
	leaving   bool // no more streams; closes with the last one
	idleSince time.Time

	over sync.Once
}

// streams are used again.
var streams = sync.Pool{New: func() any { return new(Stream) }}

// stream opens the stream that was counted by hub.choose. Without one the caller
// has to choose again.
func (m *mux) stream() *Stream {
	cs, err := m.codec.Open()
	if err != nil {
		m.refused(err)
		return nil
	}
	s := streams.Get().(*Stream) //nolint:forcetypeassert // the pool holds nothing else
	s.carrier, s.link, s.lender = cs, &m.link, m
	return s
}

// room reports whether m can take a stream more. Until the upstream has told its
// limit, the one that is known from another connection counts: streams beyond it
// would be refused. The caller holds hub.mu.
func (m *mux) room() bool {
	return !m.full && !m.leaving && (m.settled || m.hub.limit == 0 || m.active < m.hub.limit)
}

// refused takes back the count of a stream that could not be opened.
func (m *mux) refused(err error) {
	h := m.hub
	h.mu.Lock()
	m.lent--
	if errors.Is(err, http2.ErrFull) {
		m.full = m.codec.Available() == 0
		h.limit, m.settled = max(1, m.codec.Active()), true
	} else {
		h.leave(m)
	}
	h.mu.Unlock()
	m.ended()
}

// giveBack ends an exchange.
func (m *mux) giveBack(s *Stream) {
	cs, _ := s.carrier.(*http2.ClientStream)
	s.carrier, s.link, s.lender = nil, nil, nil
	streams.Put(s)
	cs.Close()
	m.ended()
	m.hub.serve(m)
}

// ended counts a stream off.
func (m *mux) ended() {
	h := m.hub
	h.mu.Lock()
	m.active--
	m.settled = true
	last := m.active == 0 && m.leaving
	if m.active == 0 && !m.leaving {
		m.idleSince = time.Now()
		h.arm(m.idleSince)
	}
	h.mu.Unlock()
	if last {
		m.close()
	}
}

// reused is a guess where others have opened streams since.
func (m *mux) reused() bool {
	m.hub.mu.Lock()
	defer m.hub.mu.Unlock()
	return m.lent > 1
}

// space hears from the codec that a stream more can be opened.
func (m *mux) space() {
	m.hub.mu.Lock()
	m.full = false
	m.hub.mu.Unlock()
	m.hub.serve(m)
}

// gone hears from the codec that no more streams can be opened. It may be called by
// the codec's own goroutine, which close joins.
func (m *mux) gone(err error) {
	h := m.hub
	h.mu.Lock()
	h.leave(m)
	if m.lent == 0 && m.joined { // as good as not made: do not try for ever
		h.fail(lost(err))
	}
	idle := m.active == 0 && m.joined
	h.mu.Unlock()
	if idle {
		go m.close() // live waits for it
	}
}

// close ends the connection, once. It returns when that is done.
func (m *mux) close() {
	m.over.Do(func() {
		_ = m.codec.Close() // of no more use, however it ends
		c := m.cluster()
		c.cxEnded()
		m.hub.forgo()
		c.live.remove(m)
	})
}

// kill ends the connection under the exchanges that use it.
func (m *mux) kill() {
	m.hub.mu.Lock()
	m.hub.leave(m)
	m.hub.mu.Unlock()
	m.close()
}

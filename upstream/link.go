package upstream

import (
	"net"
	"net/netip"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
)

// link is what connections have in common, whichever version of HTTP they carry.
type link struct {
	// immutable
	way   *way
	raw   net.Conn // below TLS
	tls   flow.TLS
	local netip.AddrPort
	born  time.Time
}

func newLink(w *way, m *made) link {
	return link{way: w, raw: m.raw, tls: m.facts, local: localOf(m.raw), born: time.Now()}
}

func (l *link) cluster() *Cluster { return l.way.cluster }

// aged reports whether the connection has lived for as long as it may.
func (l *link) aged(spec *Spec, now time.Time) bool {
	m := spec.HTTP.MaxConnDuration
	return m > 0 && now.Sub(l.born) >= m
}

func localOf(nc net.Conn) netip.AddrPort {
	if a, ok := nc.LocalAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

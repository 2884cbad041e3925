package http1

import (
	"crypto/tls"
	"net"
)

// aliveCheck asks an idle connection whether it may be used: a socket by a peek, a
// TLS session by a read that does not wait.
type aliveCheck struct {
	socket  peek
	session *tls.Conn // nil for a socket
	below   *beneath
}

func (a *aliveCheck) init(conn net.Conn) {
	session, ok := conn.(*tls.Conn)
	if !ok {
		a.socket.init(conn)
		return
	}
	a.session = session
	a.below, _ = session.NetConn().(*beneath)
}

func (a *aliveCheck) check() bool {
	if a.session == nil {
		return a.socket.check()
	}
	return a.below != nil && a.below.silent(a.session)
}

package sock

import "net"

// Under finds the quick connection that conn, a TLS session or what wraps one, runs
// on; nil if there is none.
func Under(conn net.Conn) *Conn {
	for ; conn != nil; conn = below(conn) {
		if c, ok := conn.(*Conn); ok {
			return c
		}
	}
	return nil
}

// TCP finds the socket that conn runs on, quick or not; nil if there is none.
func TCP(conn net.Conn) *net.TCPConn {
	for ; conn != nil; conn = below(conn) {
		switch c := conn.(type) {
		case *net.TCPConn:
			return c
		case *Conn:
			return c.TCPConn
		}
	}
	return nil
}

// below is what conn runs on, or nil.
func below(conn net.Conn) net.Conn {
	if c, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return c.NetConn()
	}
	return nil
}

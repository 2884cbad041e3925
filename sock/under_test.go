package sock_test

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/outrigger-mesh/outrigger/sock"
)

func TestFindsWhatAConnectionRunsOn(t *testing.T) {
	t.Parallel()
	near, far := pair(t)
	quick, plain := near.(*sock.Conn), far.(*net.TCPConn)
	pipe, other := net.Pipe()
	t.Cleanup(func() { _, _ = pipe.Close(), other.Close() })
	for name, tc := range map[string]struct {
		conn  net.Conn
		under *sock.Conn
		tcp   *net.TCPConn
	}{
		"a quick socket":         {quick, quick, quick.TCPConn},
		"a plain socket":         {plain, nil, plain},
		"a session on a quick":   {tls.Client(quick, &tls.Config{}), quick, quick.TCPConn}, //nolint:gosec // never used
		"a session on a plain":   {tls.Client(plain, &tls.Config{}), nil, plain},           //nolint:gosec // never used
		"no socket":              {pipe, nil, nil},
		"a session on no socket": {tls.Client(pipe, &tls.Config{}), nil, nil}, //nolint:gosec // never used
		"nothing":                {nil, nil, nil},
	} {
		if got := sock.Under(tc.conn); got != tc.under {
			t.Errorf("%s: Under is %v, want %v", name, got, tc.under)
		}
		if got := sock.TCP(tc.conn); got != tc.tcp {
			t.Errorf("%s: TCP is %v, want %v", name, got, tc.tcp)
		}
	}
}

package dnat_test

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/outrigger-mesh/outrigger/dnat"
)

// accepted is the accepting side of a connection made to address, which listens on listen.
func accepted(t testing.TB, listen, dial string) *net.TCPConn {
	t.Helper()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		t.Skipf("no listener on %s: %v", listen, err)
	}
	t.Cleanup(func() { _ = l.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	out, err := net.Dial("tcp", net.JoinHostPort(dial, port))
	if err != nil {
		t.Skipf("no way to %s: %v", dial, err)
	}
	t.Cleanup(func() { _ = out.Close() })
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	return in.(*net.TCPConn)
}

func TestOriginalDstOfDirectConnectionIsLocalAddress(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ listen, dial string }{
		"IPv4":                              {"127.0.0.1:0", "127.0.0.1"},
		"IPv6":                              {"[::1]:0", "::1"},
		"IPv4 by a socket of both families": {":0", "127.0.0.1"},
		"IPv6 by a socket of both families": {":0", "::1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := accepted(t, tt.listen, tt.dial)
			got, err := dnat.OriginalDst(c)
			if err != nil {
				t.Fatal(err)
			}
			local := netip.MustParseAddrPort(c.LocalAddr().String())
			if want := netip.AddrPortFrom(local.Addr().Unmap(), local.Port()); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestOriginalDstOfClosedConnectionFails(t *testing.T) {
	t.Parallel()
	c := accepted(t, "127.0.0.1:0", "127.0.0.1")
	_ = c.Close()
	if got, err := dnat.OriginalDst(c); err == nil {
		t.Errorf("got %v, want an error", got)
	}
}

func TestBindControlLeavesThePortOpenUntilConnect(t *testing.T) {
	t.Parallel()
	for _, ip := range []string{"127.0.0.1", "::1"} {
		t.Run(ip, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
			if err != nil {
				t.Skipf("no listener: %v", err)
			}
			defer l.Close()
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: netip.MustParseAddr(ip).AsSlice()}, Control: dnat.BindControl}
			c, err := d.DialContext(context.Background(), "tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.LocalAddr().(*net.TCPAddr).Port == 0 {
				t.Error("no port after connect")
			}
		})
	}
}

func TestPassthroughSource(t *testing.T) {
	t.Parallel()
	for dst, want := range map[string]string{
		"10.0.0.1": "127.0.0.6", "::ffff:10.0.0.1": "127.0.0.6", "fd00::1": "::6", "::1": "::6",
	} {
		if got := dnat.PassthroughSource(netip.MustParseAddr(dst)); got.String() != want {
			t.Errorf("for %s: got %v, want %s", dst, got, want)
		}
	}
}

func BenchmarkOriginalDst(b *testing.B) {
	c := accepted(b, "127.0.0.1:0", "127.0.0.1")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := dnat.OriginalDst(c); err != nil {
			b.Fatal(err)
		}
	}
}

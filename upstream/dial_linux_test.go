package upstream_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/upstream"
)

func TestDialSetsSocketOptions(t *testing.T) {
	t.Parallel()
	to := silent(t)
	loopback := netip.MustParseAddr("127.0.0.6")
	tests := map[string]struct {
		from netip.Addr
		ka   upstream.KeepAlive
		want map[[2]int]int // by level and option
	}{
		"plain": {want: map[[2]int]int{
			{unix.IPPROTO_TCP, unix.TCP_NODELAY}:            1,
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE}:            0,
			{unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT}: 0,
		}},
		"from an address": {from: loopback, want: map[[2]int]int{
			{unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT}: 1,
		}},
		"keep-alive": {
			ka: upstream.KeepAlive{Enabled: true, Time: 30 * time.Second, Probes: 4},
			want: map[[2]int]int{
				{unix.SOL_SOCKET, unix.SO_KEEPALIVE}:  1,
				{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}: 30,
				{unix.IPPROTO_TCP, unix.TCP_KEEPCNT}:  4,
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := upstream.Dial(t.Context(), tt.from, to, tt.ka)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			rc, err := conn.(*net.TCPConn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			for option, want := range tt.want {
				var got int
				if ctl := rc.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), option[0], option[1]) }); ctl != nil || err != nil {
					t.Fatal(ctl, err)
				}
				if got != want {
					t.Errorf("option %v: got %d, want %d", option, got, want)
				}
			}
		})
	}
}

func TestSourceIsChosenByFamily(t *testing.T) {
	t.Parallel()
	both := []string{"127.0.0.6", "::6"}
	for name, tt := range map[string]struct {
		source   []string
		to, want string
	}{
		"IPv4":                  {both, "10.0.0.1:80", "127.0.0.6"},
		"IPv6":                  {both, "[fd00::1]:80", "::6"},
		"IPv4 written as IPv6":  {both, "[::ffff:10.0.0.1]:80", "127.0.0.6"},
		"no address of its own": {both[:1], "[fd00::1]:80", "invalid IP"},
		"none":                  {nil, "10.0.0.1:80", "invalid IP"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got netip.Addr
			c := upstream.New("source", upstream.Options{
				Dial: func(_ context.Context, from netip.Addr, _ netip.AddrPort, _ upstream.KeepAlive) (net.Conn, error) {
					got = from
					return nil, unix.ECONNREFUSED
				},
			})
			spec := &upstream.Spec{Kind: upstream.OriginalDst}
			for _, a := range tt.source {
				spec.Source = append(spec.Source, netip.MustParseAddr(a))
			}
			c.Publish(spec, nil)
			e, err := c.Pick(&lb.Hint{OrigDst: netip.MustParseAddrPort(tt.to)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Dial(t.Context(), e, nil); err == nil {
				t.Fatal("the dial succeeded")
			}
			if got.String() != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			atRest(t, c)
		})
	}
}

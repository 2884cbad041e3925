package http1_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/http1"
)

// TestARequestThatMeetsAClosedConnectionIsUnsent: what the upstream's kernel refused
// no application has seen, whatever the method.
func TestARequestThatMeetsAClosedConnectionIsUnsent(t *testing.T) {
	t.Parallel()
	lost := flow.Error{Side: flow.SideUpstream, Flag: flow.UpstreamConnectionTermination, Kind: flow.KindTermination}
	for _, tt := range []struct {
		name string
		end  func(*testing.T, *net.TCPConn)
		want flow.Retry
	}{
		{"closed before", func(_ *testing.T, up *net.TCPConn) { _ = up.Close() }, flow.RetryUnsent},
		{"half-closed, and still taking", func(_ *testing.T, up *net.TCPConn) { _ = up.CloseWrite() }, flow.RetryUnanswered},
		{"taken and closed", func(t *testing.T, up *net.TCPConn) {
			done := make(chan struct{})
			t.Cleanup(func() { <-done })
			go func() {
				defer close(done)
				_, _ = up.Read(make([]byte, 1<<10))
				_ = up.Close()
			}()
		}, flow.RetryUnanswered},
		{"taken in part and reset", func(t *testing.T, up *net.TCPConn) {
			done := make(chan struct{})
			t.Cleanup(func() { <-done })
			go func() {
				defer close(done)
				_, _ = up.Read(make([]byte, 5))
				_ = up.Close() // with bytes unread: a reset
			}()
		}, flow.RetryUnanswered},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, up := upstream(t)
			tt.end(t, up)
			_, err := c.RoundTrip(post(3, "abc"), time.Now().Add(5*time.Second))
			want := lost
			want.Retry = tt.want
			check(t, err, want)
		})
	}
}

func TestARequestThatMeetsAClosedSessionIsUnsent(t *testing.T) {
	t.Parallel()
	for _, alert := range []bool{true, false} {
		server, client := secured(t)
		c := http1.NewClientConn(client, http1.ClientOptions{})
		if alert {
			_ = server.Close()
		} else {
			_ = server.NetConn().Close()
		}
		_, err := c.RoundTrip(post(3, "abc"), time.Now().Add(5*time.Second))
		check(t, err, flow.Error{Side: flow.SideUpstream, Flag: flow.UpstreamConnectionTermination, Kind: flow.KindTermination, Retry: flow.RetryUnsent})
	}
	server, client := secured(t)
	c := http1.NewClientConn(client, http1.ClientOptions{})
	done := make(chan struct{})
	t.Cleanup(func() { <-done })
	go func() {
		defer close(done)
		_, _ = io.ReadFull(server, make([]byte, 20))
		_ = server.Close()
	}()
	_, err := c.RoundTrip(post(3, "abc"), time.Now().Add(5*time.Second))
	check(t, err, flow.Error{Side: flow.SideUpstream, Flag: flow.UpstreamConnectionTermination, Kind: flow.KindTermination, Retry: flow.RetryUnanswered})
}

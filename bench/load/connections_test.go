package load_test

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/outrigger-mesh/outrigger/bench/echo"
	"github.com/outrigger-mesh/outrigger/bench/load"
)

func TestNewConnectionsAreOfTheKindAskedFor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name                 string
		secure, resume, stop bool
	}{
		{name: "plain"},
		{name: "full handshakes", secure: true},
		{name: "resumed", secure: true, resume: true},
		{name: "a server that does not resume", secure: true, resume: true, stop: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var config echo.Config
			var target load.Target
			if tt.secure {
				config.TLS, target.TLS = selfSigned(t)
				config.TLS.SessionTicketsDisabled = tt.stop
			}
			s, err := echo.Start(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			target.Addr = s.Addr(echo.HTTP1)
			got, err := load.NewConnections(t.Context(), target, load.Handshakes{Count: 20, Concurrent: 2, Resume: tt.resume})
			if err != nil {
				t.Fatal(err)
			}
			if tt.stop {
				if got.Errors != 20 || !errors.Is(got.Err(), load.ErrFailed) {
					t.Errorf("got %d errors: %v", got.Errors, got.Err())
				}
				return
			}
			if got.Err() != nil || got.Requests != 20 || got.Latency.Count() != 20 {
				t.Errorf("got %d requests: %v", got.Requests, got.Err())
			}
		})
	}
}

func TestIdleConnectionsStayAndAreMissed(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, secure bool) {
		t.Helper()
		s, config := backend(t, secure)
		set, err := load.Idle(t.Context(), load.Target{Addr: s.Addr(echo.HTTP1), TLS: config}, 50)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(set.Close)
		if err := set.Touch(t.Context()); err != nil || set.Len() != 50 {
			t.Errorf("got %v, %d connections", err, set.Len())
		}
		s.Close()
		if err := set.Touch(t.Context()); err == nil {
			t.Error("their end was not noticed")
		}
	})
}

func TestBulkArrives(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, secure bool) {
		t.Helper()
		s, config := backend(t, secure)
		for _, download := range []bool{false, true} {
			addr := s.Addr(map[bool]echo.Kind{false: echo.Sink, true: echo.Source}[download])
			shape := load.BulkShape{Bytes: 10<<20 + 1, Conns: 2, Download: download, TLS: config}
			got, err := load.Bulk(t.Context(), addr, shape)
			if err != nil || got.Bytes != shape.Bytes || got.Gbit() <= 0 {
				t.Errorf("download %v: got %v: %v", download, got, err)
			}
		}
	})
}

func TestBulkThatIsLostIsNoticed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		download bool
		server   func(net.Conn)
	}{
		{"a sink that counts less", false, func(c net.Conn) {
			_, _ = io.Copy(io.Discard, c)
			_, _ = c.Write([]byte{0, 0, 0, 0, 0, 0, 0, 1})
		}},
		{"a sink that hangs up", false, func(c net.Conn) { _, _ = io.CopyN(io.Discard, c, 100) }},
		{"a source that ends early", true, func(c net.Conn) { _, _ = c.Write(make([]byte, 100)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := load.Bulk(t.Context(), server(t, tt.server).Addr, load.BulkShape{Bytes: 1000, Download: tt.download})
			if !errors.Is(err, load.ErrFailed) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := load.Bulk(t.Context(), server(t, nil).Addr, load.BulkShape{}); !errors.Is(err, load.ErrShape) {
		t.Errorf("got %v for no bytes", err)
	}
}

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	s, _ := backend(t, false)
	got, err := load.RoundTrips(t.Context(), s.Addr(echo.TCP), load.Shape{Conns: 2, Requests: 100})
	if err := errors.Join(err, got.Err()); err != nil || got.Requests != 100 {
		t.Errorf("got %d: %v", got.Requests, err)
	}
}

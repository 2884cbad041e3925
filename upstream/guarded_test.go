package upstream_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// logs keeps what is told.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestABugOfWhatManyWaitForFailsThemOnly(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		o   upstream.Options
		ask func(*upstream.Cluster) error
	}{
		"a connection that streams share": {
			upstream.Options{Dial: func(context.Context, netip.Addr, netip.AddrPort, upstream.KeepAlive) (net.Conn, error) {
				panic("a bug")
			}},
			func(c *upstream.Cluster) error {
				spec := &upstream.Spec{}
				speakHTTP2(spec)
				c.Publish(spec, lb.NewSet(nil, []lb.EndpointSpec{{Addr: somewhere}}, lb.Policy{}))
				_, err := c.Open(t.Context(), c.Endpoints().Endpoints()[0], nil)
				return err
			},
		},
		"the configuration": {
			upstream.Options{Fill: func(context.Context, *upstream.Cluster) error { panic("a bug") }},
			func(c *upstream.Cluster) error { return c.Ensure(t.Context()) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var told logs
			tt.o.Logger = slog.New(slog.NewTextHandler(&told, nil))
			c := upstream.New("buggy", tt.o)
			t.Cleanup(func() { atRest(t, c) })
			for n := range uint64(2) {
				if fe, ok := flow.AsError(tt.ask(c)); !ok {
					t.Errorf("got %v", fe)
				}
				if got := c.Stats().Bugs.Load(); got != n+1 {
					t.Errorf("counted %d bugs, want %d", got, n+1)
				}
			}
			if got := told.String(); strings.Count(got, "level=ERROR") != 2 || !strings.Contains(got, "a bug") || !strings.Contains(got, "guarded_test.go") {
				t.Errorf("told %s", got)
			}
		})
	}
}

package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/mtls/mtlstest"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// The rule's timeout covers the wait for a connection, too.
func TestTimeoutWhileNoConnectionIsFreeInEveryVersion(t *testing.T) {
	t.Parallel()
	forEachProtocol(t, func(t *testing.T, l *lane) {
		open := make(chan struct{})
		arrived := make(chan struct{}, 1)
		c := l.upstream(t, func(_ http.ResponseWriter, r *http.Request) {
			arrived <- struct{}{}
			select {
			case <-r.Context().Done():
			case <-open:
			}
		}, func(s *upstream.Spec) {
			s.Limits.Connections = 1
			s.HTTP.HTTP2.MaxConcurrentStreams = 1
		})
		g := l.rig(t, proxy.HTTPSpec{}, to(c))
		client := l.downstream(t, g)
		first := make(chan struct{})
		go func() {
			defer close(first)
			r, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, l.url(g, "/"), nil)
			if resp, err := client.Do(r); err == nil {
				_ = resp.Body.Close()
			}
		}()
		<-arrived
		rule := to(c)
		rule.Timeout = 100 * time.Millisecond
		late := l.rig(t, proxy.HTTPSpec{}, rule)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, l.url(late, "/"), nil)
		resp, err := l.downstream(t, late).Do(r)
		close(open)
		<-first
		if err != nil {
			t.Fatalf("got %v, want 504", err)
		}
		_ = resp.Body.Close()
		rec := late.records.next(t)
		if resp.StatusCode != 504 || rec.flags != "UT" || rec.details != "response_timeout" {
			t.Errorf("got %d %s %s", resp.StatusCode, rec.flags, rec.details)
		}
	})
}

// An upstream that ends its connections every so often, and says so, costs nobody a
// request.
func TestUpstreamThatLeavesInOrderLosesNothing(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewCA(t, "mesh.test")
	for _, over := range []bool{false, true} {
		for _, down := range []int{1, 2} {
			t.Run(fmt.Sprintf("HTTP %d to 2, TLS %v", down, over), func(t *testing.T) {
				t.Parallel()
				l := &lane{down: down, up: 2, tls: over, ca: ca}
				var n atomic.Int64
				c := l.upstream(t, func(w http.ResponseWriter, _ *http.Request) {
					if n.Add(1)%200 == 0 {
						w.Header().Set("connection", "close") // has net/http send GOAWAY
					}
					_, _ = io.WriteString(w, "ok")
				}, nil)
				rule := to(c)
				rule.Retry = &proxy.Retry{On: proxy.RetryOnRefusedStream, Max: 2} // of istiod's default policy
				g := l.rig(t, proxy.HTTPSpec{}, rule)
				client := l.downstream(t, g)
				var failed atomic.Int64
				var wg sync.WaitGroup
				for range 16 {
					wg.Go(func() {
						for range 60 {
							resp, err := client.Do(newRequest(t, http.MethodGet, l.url(g, "/"), nil))
							if err != nil {
								t.Error(err)
								return
							}
							_, _ = io.Copy(io.Discard, resp.Body)
							_ = resp.Body.Close()
							if resp.StatusCode != 200 {
								failed.Add(1)
							}
						}
					})
				}
				wg.Wait()
				if failed.Load() > 0 {
					counts := map[string]int{}
					for range len(g.records.ch) {
						if r := g.records.next(t); r.flags != "" {
							counts[r.flags+" "+r.details]++
						}
					}
					t.Errorf("%d of 960 requests failed: %v", failed.Load(), counts)
				}
			})
		}
	}
}

// Nobody waits for a cluster's configuration on behalf of a downstream that has left.
func TestLeavingWhileTheClusterIsAwaitedInEveryVersion(t *testing.T) {
	t.Parallel()
	for _, down := range []int{1, 2} {
		t.Run(fmt.Sprintf("HTTP %d", down), func(t *testing.T) {
			t.Parallel()
			l := &lane{down: down, up: 1}
			asked := make(chan struct{}, 1)
			c := upstream.New("outbound|80||late", upstream.Options{FillTimeout: time.Minute, Fill: func(ctx context.Context, _ *upstream.Cluster) error {
				asked <- struct{}{}
				<-ctx.Done()
				return ctx.Err()
			}})
			t.Cleanup(func() {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				c.Close(ctx)
			})
			g := l.rig(t, proxy.HTTPSpec{}, to(c))
			ctx, leave := context.WithCancel(t.Context())
			go func() {
				<-asked
				leave()
			}()
			r, _ := http.NewRequestWithContext(ctx, http.MethodGet, l.url(g, "/"), nil)
			if resp, err := l.downstream(t, g).Do(r); err == nil {
				_ = resp.Body.Close()
				t.Errorf("got %d", resp.StatusCode)
			}
			if rec := g.records.next(t); rec.flags != "DC" && rec.flags != "DR" {
				t.Errorf("recorded %s %s", rec.flags, rec.details)
			}
		})
	}
}

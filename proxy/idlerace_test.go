package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy"
)

// TestNobodySeesThatTheUpstreamClosesIdleConnections has an upstream close connections
// at about the moment in which the next request comes. A POST may fail: where the
// upstream's kernel had taken it already, nobody can tell whether it was served.
func TestNobodySeesThatTheUpstreamClosesIdleConnections(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	executed := map[string]int{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if id := r.Header.Get("x-id"); id != "" {
			mu.Lock()
			executed[id]++
			mu.Unlock()
		}
		_, _ = io.WriteString(w, "hello")
	}))
	const idle = 5 * time.Millisecond
	s.Config.IdleTimeout = idle
	s.Start()
	t.Cleanup(s.Close)
	c := cluster(t, nil, s.Listener.Addr().String())
	g := httpRig(t, proxy.HTTPSpec{}, to(c))
	var wg sync.WaitGroup
	var failed atomic.Int64
	for n := range 8 {
		conn := g.dial()
		wg.Go(func() {
			r := bufio.NewReader(conn)
			tick := time.NewTicker(idle + time.Duration(n-4)*200*time.Microsecond)
			defer tick.Stop()
			for i := range 100 {
				<-tick.C
				request := "GET / HTTP/1.1\r\nhost: x\r\n\r\n"
				if i%2 == 1 {
					request = fmt.Sprintf("POST / HTTP/1.1\r\nhost: x\r\nx-id: %d-%d\r\ncontent-length: 5\r\n\r\nhello", n, i)
				}
				_, _ = io.WriteString(conn, request)
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Errorf("%q: %v", request[:4], err)
					return
				}
				body, _ := io.ReadAll(resp.Body)
				switch {
				case resp.StatusCode == 503 && i%2 == 1:
					failed.Add(1)
				case resp.StatusCode != 200:
					t.Errorf("%q: %d %s", request[:4], resp.StatusCode, body)
				}
			}
		})
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if n := len(executed) + int(failed.Load()); n != 8*50 || failed.Load() > 40 {
		t.Errorf("%d POSTs were executed and %d failed, of 400", len(executed), failed.Load())
	}
	for id, times := range executed {
		if times != 1 {
			t.Errorf("POST %s was executed %d times", id, times)
		}
	}
	st := &c.Stats().Stale
	t.Logf("%d found closed, %d repeated, %d POSTs failed", st.Found.Load(), st.Repeated.Load(), failed.Load())
}

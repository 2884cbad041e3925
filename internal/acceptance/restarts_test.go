package acceptance_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// ledger is what the applications of all endpoints have executed.
type ledger struct {
	mu    sync.Mutex
	posts map[string]int // guarded by mu; by request
	conns map[string]int // guarded by mu; connections that were accepted, by pod
}

// serve is an application in a pod, in place of its own. What it returns ends it: like
// a good server it finishes what it has.
func (g *ledger) serve(t *testing.T, pod *testmesh.Pod) (stop func()) {
	t.Helper()
	var listeners []net.Listener
	for _, port := range []string{"8080", "8082"} { // of HTTP, and of HTTP/2
		l, err := pod.Listen(t.Context(), "tcp", "0.0.0.0:"+port)
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Protocols: &protocols, ReadHeaderTimeout: time.Minute}
	s.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			g.mu.Lock()
			g.conns[pod.Name()]++
			g.mu.Unlock()
		}
	}
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		if r.Method == http.MethodPost {
			g.mu.Lock()
			g.posts[r.Header.Get("x-id")]++
			g.mu.Unlock()
		}
		if wait, err := time.ParseDuration(r.URL.Query().Get("delay")); err == nil {
			pause(wait)
		}
		if r.URL.Path == "/fail-"+pod.Name() {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, pod.Name())
	})
	var serving sync.WaitGroup
	for _, l := range listeners {
		serving.Go(func() { _ = s.Serve(l) }) // until it is shut down
	}
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		_ = s.Close()
		serving.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// stream is a steady load of one method over one version of HTTP.
type stream struct {
	method, url string
	client      *http.Client
	rate        int
}

// verdict counts what became of the requests of all streams.
type verdict struct {
	mu   sync.Mutex
	good map[string]int // guarded by mu; by stream
	by   map[string]int // guarded by mu; by pod
	bad  map[string]int // guarded by mu; by what went wrong
	ids  []string       // guarded by mu; of the POSTs that were answered well
}

func (v *verdict) note(s *stream, id, pod, wrong string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if wrong != "" {
		v.bad[s.method+" "+s.url+": "+wrong]++
		return
	}
	v.good[s.method+" "+s.url]++
	v.by[pod]++
	if s.method == http.MethodPost {
		v.ids = append(v.ids, id)
	}
}

func (v *verdict) served(pod string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.by[pod]
}

// ask sends one request.
func (v *verdict) ask(s *stream, id string) {
	req, err := http.NewRequest(s.method, s.url, nil) //nolint:noctx // bounded by the client's timeout
	if err == nil && s.method == http.MethodPost {
		req, err = http.NewRequest(s.method, s.url, bytes.NewReader(make([]byte, 500))) //nolint:noctx // as above
	}
	if err != nil {
		v.note(s, id, "", err.Error())
		return
	}
	req.Header.Set("x-id", id)
	resp, err := s.client.Do(req)
	if err != nil {
		v.note(s, id, "", err.Error()[max(0, len(err.Error())-80):])
		return
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		v.note(s, id, "", err.Error())
	case resp.StatusCode != http.StatusOK:
		v.note(s, id, "", fmt.Sprintf("%d %s", resp.StatusCode, body))
	default:
		v.note(s, id, string(body), "")
	}
}

// run sends the streams until the returned function is called, which waits for all
// answers.
func run(t *testing.T, streams ...*stream) (v *verdict, end func()) {
	t.Helper()
	v = &verdict{good: map[string]int{}, by: map[string]int{}, bad: map[string]int{}}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var last atomic.Int64
	for _, s := range streams {
		slots := make(chan struct{}, senders) // a slow machine sends less, and does not fall behind
		wg.Go(func() {
			tick := time.NewTicker(time.Second / time.Duration(s.rate))
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				select {
				case slots <- struct{}{}:
				default:
					continue
				}
				wg.Go(func() {
					v.ask(s, fmt.Sprintf("%s-%d", s.method, last.Add(1)))
					<-slots
				})
			}
		})
	}
	end = sync.OnceFunc(func() {
		close(stop)
		wg.Wait()
	})
	t.Cleanup(end)
	return v, end
}

// overHTTP2 is a client in a pod that keeps connections of HTTP/2.
func overHTTP2(pod *testmesh.Pod) *http.Client {
	tr := &http.Transport{DialContext: pod.Dial, DisableCompression: true, Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

func TestMeshRequestsSurviveTheirEndpoints(t *testing.T) {
	mesh := town(t)
	pods := mesh.Pods("client", "web-1", "web-2", "web-3")
	client, webs := pods[0], pods[1:]
	g := &ledger{posts: map[string]int{}, conns: map[string]int{}}
	stops := make([]func(), len(webs))
	for i, p := range webs {
		if err := p.StopApp(); err != nil {
			t.Fatal(err)
		}
		stops[i] = g.serve(t, p)
	}
	h1, h2 := client.HTTPClient(), overHTTP2(client)
	eventually(t, "both ports serve", func() bool {
		for c, url := range map[*http.Client]string{h1: "http://web/", h2: "http://web:82/"} {
			resp, err := c.Get(url) //nolint:noctx // bounded by the client's timeout
			if err != nil {
				return false
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return false
			}
		}
		return true
	})
	whole := t
	t.Run("restarted in turn, twice", func(t *testing.T) {
		v, end := run(t,
			&stream{http.MethodGet, "http://web/", h1, 500}, &stream{http.MethodGet, "http://web:82/", h2, 500},
			&stream{http.MethodPost, "http://web/", h1, 100}, &stream{http.MethodPost, "http://web:82/", h2, 100})
		for round := range 2 {
			for i, p := range webs {
				was := v.served(p.Name())
				eventually(t, p.Name()+" has its share", func() bool { return v.served(p.Name()) > was+20 })
				if err := p.StopSidecar(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				stops[i]()
				stops[i] = g.serve(whole, p)
				if err := p.StartSidecar(); err != nil {
					t.Fatal(err)
				}
				if err := p.Ready(t.Context()); err != nil {
					t.Fatal(err)
				}
				t.Logf("round %d: %s restarted", round+1, p.Name())
			}
		}
		end()
		g.check(t, v)
	})
	t.Run("one is killed", func(t *testing.T) {
		v, end := run(t, &stream{http.MethodGet, "http://web/?delay=5ms", h1, 1000}, &stream{http.MethodGet, "http://web:82/?delay=5ms", h2, 1000})
		if !within(soon, func() bool { return v.served("web-2") > 50 }) {
			end()
			t.Fatalf("web-2 has not its share: %v, %v, %v", v.good, v.by, v.bad)
		}
		if err := webs[1].KillSidecar(); err != nil {
			t.Fatal(err)
		}
		was := v.served("web-1") + v.served("web-3")
		eventually(t, "the others go on", func() bool { return v.served("web-1")+v.served("web-3") > was+1000 })
		end()
		g.check(t, v)
	})
}

// check fails the test where a request failed, or a POST was executed more than once.
func (g *ledger) check(t *testing.T, v *verdict) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	t.Logf("good: %v, by pod: %v", v.good, v.by)
	for _, what := range slices.Sorted(maps.Keys(v.bad)) {
		t.Errorf("%d × %s", v.bad[what], what)
	}
	for id, n := range g.posts {
		if n > 1 {
			t.Errorf("%s was executed %d times", id, n)
		}
	}
	for _, id := range v.ids {
		if g.posts[id] != 1 {
			t.Errorf("%s was answered and executed %d times", id, g.posts[id])
		}
	}
}

func TestMeshProtectsEndpoints(t *testing.T) {
	mesh := town(t)
	pods := mesh.Pods("client", "script", "solo", "web-1", "web-2", "web-3")
	clients, webs := pods[:3], pods[3:]
	client := clients[0]
	g := &ledger{posts: map[string]int{}, conns: map[string]int{}}
	for _, p := range webs {
		if err := p.StopApp(); err != nil {
			t.Fatal(err)
		}
		g.serve(t, p)
	}
	eventually(t, "web serves", func() bool { return client.Get("http://web/").Status == http.StatusOK })
	stat := func(p *testmesh.Pod, name string) string {
		stats, err := p.Stats()
		if err != nil {
			return err.Error()
		}
		return stats["cluster.outbound|80||web.town.svc.cluster.local."+name]
	}
	t.Run("an endpoint that fails is ejected, and returns", func(t *testing.T) {
		apply(t, mesh, "protect", `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: web, namespace: town }
spec:
  host: web.town.svc.cluster.local
  trafficPolicy:
    outlierDetection: { consecutive5xxErrors: 5, interval: 1s, baseEjectionTime: 3s, maxEjectionPercent: 50 }
`)
		eventually(t, "outlier detection is in force", func() bool {
			client.Get("http://web/fail-web-2")
			return stat(client, "outlier_detection.ejections_active") == "1"
		})
		if got := stat(client, "membership_healthy"); got != "2" {
			t.Errorf("%s endpoints are healthy, want 2", got)
		}
		if got := stat(client, "outlier_detection.ejections_enforced_consecutive_5xx"); got != "1" {
			t.Errorf("%s were ejected, want 1", got)
		}
		if body := client.Get("http://127.0.0.1:15000/clusters").Body; !strings.Contains(string(body), "/failed_outlier_check") {
			t.Error("the clusters page does not tell of it")
		}
		eventually(t, "it returns", func() bool { return stat(client, "outlier_detection.ejections_active") == "0" })
		eventually(t, "it is used again", func() bool { return string(client.Get("http://web/").Body) == "web-2" })
	})
	t.Run("maxConnections 1 gives each client one connection", func(t *testing.T) {
		apply(t, mesh, "protect", `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: web, namespace: town }
spec:
  host: web.town.svc.cluster.local
  trafficPolicy:
    connectionPool: { tcp: { maxConnections: 1 } }
  subsets:
  - { name: one, labels: { version: v1 } }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web, namespace: town }
spec:
  hosts: [web.town.svc.cluster.local]
  http:
  - route: [{ destination: { host: web.town.svc.cluster.local, subset: one } }]
`)
		const one = "outbound|80|one|web.town.svc.cluster.local"
		for _, c := range clients {
			eventually(t, c.Name()+" goes to the subset", func() bool {
				stats, err := c.Stats()
				return err == nil && string(c.Get("http://web/").Body) == "web-1" && stats["cluster."+one+".upstream_rq_total"] != ""
			})
		}
		var wg sync.WaitGroup
		var bad atomic.Int64
		for _, c := range clients {
			for range 20 {
				wg.Go(func() {
					for range 5 {
						if c.Get("http://web/?delay=10ms").Status != http.StatusOK {
							bad.Add(1)
						}
					}
				})
			}
		}
		wg.Wait()
		if bad.Load() > 0 {
			t.Errorf("%d requests failed instead of waiting", bad.Load())
		}
		total := 0
		for _, c := range clients {
			stats, err := c.Stats()
			if err != nil {
				t.Fatal(err)
			}
			total++
			if got := stats["cluster."+one+".upstream_cx_total"]; got != "1" {
				t.Errorf("%s made %s connections, want 1", c.Name(), got)
			}
			if stats["cluster."+one+".upstream_cx_overflow"] == "0" {
				t.Errorf("%s met no limit", c.Name())
			}
		}
		if total != 3 {
			t.Errorf("%d clients, want 3", total)
		}
	})
}

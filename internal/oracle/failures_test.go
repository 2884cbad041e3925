//go:build oracle

package oracle_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/xds/compile"
)

type object = map[string]any

// play is one script of failures: a cluster, how its endpoints behave, and what is
// asked of it.
type play struct {
	name      string
	endpoints []endpoint
	cluster   object // fields of the cluster
	route     object // fields of the route's action
	options   object // fields of HttpProtocolOptions
	tcp       bool
	chance    bool // which request meets which endpoint is chance: counters alone agree
	run       func(*stand)
}

// endpoint answers requests on a connection.
type endpoint func(*stand, net.Conn, *bufio.Reader)

// responds answers each request with a status.
func responds(status int, lines ...string) endpoint {
	return func(_ *stand, c net.Conn, r *bufio.Reader) {
		for {
			if _, err := readRequest(r); err != nil {
				return
			}
			_, _ = fmt.Fprintf(c, "HTTP/1.1 %d X\r\ncontent-length: 0\r\n%s\r\n", status, strings.Join(append(lines, ""), "\r\n"))
		}
	}
}

// obeys answers with the status that the request asks for, when the stand lets it.
func obeys(s *stand, c net.Conn, r *bufio.Reader) {
	for {
		req, err := readRequest(r)
		if err != nil {
			return
		}
		s.arrived <- struct{}{}
		if req.Header.Get("x-hold") != "" && (req.Header.Get("x-hold") == "all" || req.Header.Get("x-envoy-attempt-count") != "1") {
			<-s.gate
		}
		status := req.Header.Get("x-status")
		if status == "" || req.Header.Get("x-envoy-attempt-count") != "1" {
			status = "200"
		}
		_, _ = io.WriteString(c, "HTTP/1.1 "+status+" X\r\ncontent-length: 0\r\n\r\n")
	}
}

func readRequest(r *bufio.Reader) (*http.Request, error) {
	req, err := http.ReadRequest(r)
	if err == nil {
		_, err = io.Copy(io.Discard, req.Body)
	}
	return req, err
}

// stand is a play on one of the proxies.
type stand struct {
	t       *testing.T
	play    *play
	front   string // the listener's address
	arrived chan struct{}
	gate    chan struct{}
	release func()
	stats   func() map[string]uint64

	mu  sync.Mutex
	got []string // guarded by mu; what the downstream saw
}

// ask sends a request on a connection of its own, and notes what came.
func (s *stand) ask(lines ...string) {
	c, err := net.Dial("tcp", s.front)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	method := "GET"
	if s.play.tcp {
		_, _ = io.WriteString(c, "hello")
		b := make([]byte, 5)
		_, err := io.ReadFull(c, b)
		if err != nil {
			err = io.EOF // or a reset: which one is chance
		}
		s.note(fmt.Sprintf("%q %v", b, err))
		if err == nil && slices.Contains(lines, "hold") {
			<-s.gate
		}
		return
	}
	_, _ = fmt.Fprintf(c, "%s /%s HTTP/1.1\r\nhost: x\r\n%s\r\n", method, s.play.name, strings.Join(append(lines, ""), "\r\n"))
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		s.note("no answer")
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	s.note(fmt.Sprintf("%d %s overloaded=%s", resp.StatusCode, body, resp.Header.Get("x-envoy-overloaded")))
}

// times asks one after the other.
func (s *stand) times(n int, lines ...string) {
	for range n {
		s.ask(lines...)
		s.settle()
	}
}

// settle lets a proxy act on what has happened: Envoy ejects on another thread, the one
// that also tells its statistics, and a connection may be given back after its answer.
func (s *stand) settle() {
	time.Sleep(3 * time.Millisecond)
	s.stats()
	time.Sleep(3 * time.Millisecond)
}

// aside asks on the side, and returns when a request has arrived at an endpoint.
func (s *stand) aside(wg *sync.WaitGroup, lines ...string) {
	wg.Go(func() { s.ask(lines...) })
	<-s.arrived
}

// until waits for a counter; what does not come is a difference.
func (s *stand) until(name string, value uint64) {
	for deadline := time.Now().Add(10 * time.Second); s.stats()[name] != value; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.note(fmt.Sprintf("waited for %s to become %d", name, value))
			return
		}
	}
}

// note keeps what the downstream saw.
func (s *stand) note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, text)
}

func serveEndpoint(s *stand, e endpoint) (port int) {
	if e == nil {
		return refusing(s.t)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				e(s, c, bufio.NewReader(c))
			}()
		}
	}()
	return portOf(l)
}

// theatre is one proxy with a stand for each play.
type theatre struct {
	stands []*stand
	log    string
}

// refusing is a port that is taken, and at which nobody listens.
func refusing(t *testing.T) int {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return sa.(*syscall.SockaddrInet4).Port
}

// ports are taken until they are let go together.
type ports struct{ held []net.Listener }

func (p *ports) take(t *testing.T) int {
	t.Helper()
	for range 100 { // below those that connections are given
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(18000+rand.IntN(12000)))
		if err == nil {
			p.held = append(p.held, l)
			return portOf(l)
		}
	}
	t.Fatal("no port is free")
	return 0
}

func (p *ports) letGo() {
	for _, l := range p.held {
		_ = l.Close()
	}
}

func socketAddress(port int) object {
	return object{"socket_address": object{"address": "127.0.0.1", "port_value": port}}
}

const typed = "type.googleapis.com/"

// open builds the configuration, starts the proxy with it, and waits for it.
func open(t *testing.T, plays []play, start func(boot []byte, admin int) func(cluster string) map[string]uint64) *theatre {
	t.Helper()
	th := &theatre{log: filepath.Join(t.TempDir(), "access.log")}
	var free ports
	admin := free.take(t)
	var clusters, listeners []object
	for i := range plays {
		p := &plays[i]
		s := &stand{t: t, play: p, arrived: make(chan struct{}, 1000), gate: make(chan struct{})}
		s.release = sync.OnceFunc(func() { close(s.gate) })
		t.Cleanup(s.release)
		th.stands = append(th.stands, s)
		port := free.take(t)
		s.front = "127.0.0.1:" + strconv.Itoa(port)
		clusters = append(clusters, clusterOf(s, p))
		listeners = append(listeners, th.listenerOf(p, port))
	}
	boot, err := json.Marshal(object{
		"admin":            object{"address": socketAddress(admin)},
		"static_resources": object{"clusters": clusters, "listeners": listeners},
	})
	if err != nil {
		t.Fatal(err)
	}
	free.letGo()
	stats := start(boot, admin)
	for _, s := range th.stands {
		s.stats = func() map[string]uint64 { return stats(s.play.name) }
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			c, err := net.Dial("tcp", s.front)
			if err == nil {
				_ = c.Close()
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
		if s.play.tcp {
			s.until("upstream_cx_total", 1) // of the one above
			s.until("upstream_cx_active", 0)
		}
	}
	return th
}

// lbConfig has Envoy act on ejections at once, and not a second after the last.
func lbConfig(panic float64) object {
	return object{"healthy_panic_threshold": object{"value": panic}, "update_merge_window": "0s"}
}

func clusterOf(s *stand, p *play) object {
	var at []object
	for _, e := range p.endpoints {
		at = append(at, object{"endpoint": object{"address": socketAddress(serveEndpoint(s, e))}})
	}
	c := object{
		"name": p.name, "type": "STATIC", "lb_policy": "ROUND_ROBIN", "connect_timeout": "5s",
		"common_lb_config": lbConfig(0),
		"load_assignment":  object{"cluster_name": p.name, "endpoints": []object{{"lb_endpoints": at}}},
	}
	maps.Copy(c, p.cluster)
	o := object{"@type": typed + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": object{"http_protocol_options": object{}}}
	maps.Copy(o, p.options)
	c["typed_extension_protocol_options"] = object{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": o}
	return c
}

func (th *theatre) listenerOf(p *play, port int) object {
	access := []object{{"name": "file", "typed_config": object{
		"@type": typed + "envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": th.log,
		"log_format": object{"text_format_source": object{"inline_string": p.name + "\t%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\n"}},
	}}}
	filter := object{"name": "tcp", "typed_config": object{
		"@type": typed + "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": p.name, "cluster": p.name, "access_log": access,
	}}
	if !p.tcp {
		action := object{"cluster": p.name, "timeout": "0s"}
		maps.Copy(action, p.route)
		filter = object{"name": "http", "typed_config": object{
			"@type":       typed + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
			"stat_prefix": p.name, "access_log": access,
			"route_config": object{"name": p.name, "virtual_hosts": []object{{
				"name": "all", "domains": []string{"*"}, "include_request_attempt_count": true, "routes": []object{{"match": object{"prefix": "/"}, "route": action}},
			}}},
			"http_filters": []object{{"name": "envoy.filters.http.router", "typed_config": object{"@type": typed + "envoy.extensions.filters.http.router.v3.Router"}}},
		}}
	}
	return object{"name": p.name, "address": socketAddress(port), "filter_chains": []object{{"filters": []object{filter}}}}
}

// logs are the lines of each play, sorted.
func (th *theatre) logs(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile(th.log)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), "\t")
		out[name] = append(out[name], rest)
	}
	for _, lines := range out {
		slices.Sort(lines)
	}
	return out
}

// compared are the counters that have to agree.
func compared(name string) bool {
	for _, prefix := range []string{
		"outlier_detection.ejections", "circuit_breakers.", "upstream_cx_overflow", "upstream_cx_max_", "upstream_cx_total", "upstream_cx_connect_",
		"upstream_cx_idle_timeout", "upstream_rq_pending_", "upstream_rq_retry", "upstream_rq_total", "upstream_rq_active", "upstream_rq_timeout",
		"membership_", "lb_healthy_panic",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// envoyStats reads a cluster's statistics from the admin port.
func envoyStats(t *testing.T, admin int, cluster string) map[string]uint64 {
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/stats?filter=%s", admin, `^cluster\.`+cluster+`\.`))
	if err != nil {
		t.Error(err)
		return nil
	}
	defer resp.Body.Close()
	out := map[string]uint64{}
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		name, value, _ := strings.Cut(strings.TrimPrefix(sc.Text(), "cluster."+cluster+"."), ": ")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			out[name] = n
		}
	}
	return out
}

func ownStats(c *compile.Compiler, cluster string) map[string]uint64 {
	out := map[string]uint64{}
	for _, cl := range c.Clusters() {
		if cl.Name() == cluster {
			cl.EachStat(func(name string, v uint64, _ bool) { out[name] = v })
		}
	}
	return out
}

// TestFailuresAgainstEnvoy plays the same failures on both, and compares what the
// downstream and the access log saw, and the clusters' counters. What differs is played
// again with nothing beside it: a slow machine is no difference.
func TestFailuresAgainstEnvoy(t *testing.T) {
	binary := os.Getenv("OUTRIGGER_ENVOY")
	if binary == "" {
		t.Skip("OUTRIGGER_ENVOY names no Envoy binary to compare with")
	}
	all := slices.DeleteFunc(plays(), func(p play) bool {
		only := os.Getenv("ORACLE_ONLY")
		return only != "" && !strings.Contains("failures/"+p.name, only)
	})
	if len(all) == 0 {
		t.Skip("none of these were asked for")
	}
	differing := perform(t, binary, all)
	for range 3 {
		for i := range all {
			if p := &all[i]; differing[p.name] != "" {
				maps.Copy(differing, perform(t, binary, []play{*p}))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(differing)) {
		if differing[name] != "" {
			t.Errorf("%s differs\n%s", name, differing[name])
		}
	}
}

// perform plays on both, and tells what differs, by play.
func perform(t *testing.T, binary string, all []play) map[string]string {
	t.Helper()
	envoy := open(t, all, func(boot []byte, admin int) func(string) map[string]uint64 {
		runEnvoy(t, binary, boot)
		return func(cluster string) map[string]uint64 { return envoyStats(t, admin, cluster) }
	})
	ours := open(t, all, func(boot []byte, _ int) func(string) map[string]uint64 {
		c := runOutrigger(t, newPKI(t), boot)
		return func(cluster string) map[string]uint64 { return ownStats(c, cluster) }
	})
	const atOnce = 6
	turns := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i := range all {
		for _, th := range []*theatre{envoy, ours} {
			wg.Go(func() {
				turns <- struct{}{}
				th.stands[i].play.run(th.stands[i])
				<-turns
			})
		}
	}
	wg.Wait()
	time.Sleep(flushed)
	theirLogs, ourLogs := envoy.logs(t), ours.logs(t)
	out := map[string]string{}
	for i := range all {
		out[all[i].name] = compareStands(envoy.stands[i], ours.stands[i], theirLogs[all[i].name], ourLogs[all[i].name])
	}
	return out
}

func compareStands(theirs, ours *stand, theirLog, ourLog []string) string {
	var out strings.Builder
	slices.Sort(theirs.got)
	slices.Sort(ours.got)
	if a, b := strings.Join(theirs.got, "\n"), strings.Join(ours.got, "\n"); a != b && !theirs.play.chance {
		fmt.Fprintf(&out, "  the downstream saw\n%s", lineDiff(a, b))
	}
	if a, b := strings.Join(theirLog, "\n"), strings.Join(ourLog, "\n"); a != b && !theirs.play.chance {
		fmt.Fprintf(&out, "  the access log says\n%s", lineDiff(a, b))
	}
	a, b := theirs.stats(), ours.stats()
	for _, stat := range slices.Sorted(maps.Keys(b)) {
		switch want, ok := a[stat]; {
		case !compared(stat), theirs.play.chance && !strings.HasPrefix(stat, "outlier") && !strings.HasPrefix(stat, "member"):
		case !ok:
			fmt.Fprintf(&out, "  Envoy has no %s\n", stat)
		case b[stat] != want:
			fmt.Fprintf(&out, "  %s is %d, Envoy's is %d\n", stat, b[stat], want)
		}
	}
	return out.String()
}

//go:build oracle

package oracle_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/lb"
)

// hashed is a cluster that picks by hash.
type hashed struct {
	name      string
	endpoints int
	// edit changes the cluster and its endpoints.
	edit func(cluster object, endpoints []object)
	// localities splits the endpoints evenly, with weights 1, 2 and so on.
	localities int
}

func policy(name string) func(object, []object) {
	return func(c object, _ []object) { c["lb_policy"] = name }
}

// weighed gives the endpoints weights 1 to 7 beside a policy.
func weighed(name string) func(object, []object) {
	return func(c object, endpoints []object) {
		c["lb_policy"] = name
		for i, e := range endpoints {
			e["load_balancing_weight"] = i%7 + 1
		}
	}
}

func hashedClusters() []hashed {
	var out []hashed
	for _, p := range []string{"RING_HASH", "MAGLEV"} {
		for _, n := range []int{3, 10, 100} {
			out = append(out, hashed{name: fmt.Sprintf("%s-%d", p, n), endpoints: n, edit: policy(p)},
				hashed{name: fmt.Sprintf("%s-%d-weighted", p, n), endpoints: n, edit: weighed(p)})
		}
		out = append(out, hashed{name: p + "-localities", endpoints: 12, localities: 3, edit: func(c object, e []object) {
			weighed(p)(c, e)
			c["common_lb_config"] = object{"locality_weighted_lb_config": object{}}
		}}, hashed{name: p + "-keys", endpoints: 10, edit: func(c object, e []object) {
			policy(p)(c, e)
			for i, x := range e {
				x["metadata"] = object{"filter_metadata": object{"envoy.lb": object{"hash_key": fmt.Sprintf("key-%d", 9-i)}}}
			}
		}}, hashed{name: p + "-unhealthy", endpoints: 10, edit: func(c object, e []object) {
			policy(p)(c, e)
			e[3]["health_status"], e[7]["health_status"] = "UNHEALTHY", "DRAINING"
		}}, hashed{name: p + "-panic", endpoints: 10, edit: func(c object, e []object) {
			policy(p)(c, e)
			for _, x := range e[:8] {
				x["health_status"] = "UNHEALTHY"
			}
		}})
	}
	return append(out, hashed{name: "ring-small", endpoints: 10, edit: func(c object, e []object) {
		weighed("RING_HASH")(c, e)
		c["ring_hash_lb_config"] = object{"minimum_ring_size": 17, "maximum_ring_size": 23}
	}}, hashed{name: "ring-murmur", endpoints: 10, edit: func(c object, e []object) {
		weighed("RING_HASH")(c, e)
		c["ring_hash_lb_config"] = object{"hash_function": "MURMUR_HASH_2"}
	}}, hashed{name: "maglev-small", endpoints: 10, edit: func(c object, e []object) {
		weighed("MAGLEV")(c, e)
		c["maglev_lb_config"] = object{"table_size": 101}
	}})
}

func (h *hashed) object(port int) object {
	var all []object
	for i := range h.endpoints {
		all = append(all, object{"endpoint": object{
			"hostname": fmt.Sprintf("host-%d.example", i),
			"address":  object{"socket_address": object{"address": fmt.Sprintf("127.10.%d.%d", i/50, i%50+1), "port_value": port}},
		}})
	}
	cluster := object{"name": h.name, "type": "STATIC", "connect_timeout": "5s"}
	h.edit(cluster, all)
	groups := max(h.localities, 1)
	var endpoints []object
	for g := range groups {
		var mine []object
		for i := g; i < len(all); i += groups {
			mine = append(mine, all[i])
		}
		group := object{"lb_endpoints": mine}
		if h.localities > 0 {
			group["locality"], group["load_balancing_weight"] = object{"region": "r", "zone": strconv.Itoa(9 - g)}, g+1
		}
		endpoints = append(endpoints, group)
	}
	cluster["load_assignment"] = object{"cluster_name": h.name, "endpoints": endpoints}
	return cluster
}

// hashRoutes are the hash policies that requests are sent under, by name.
var hashRoutes = map[string][]object{
	"header":   {{"header": object{"header_name": "x-key"}}},
	"path":     {{"header": object{"header_name": ":path"}}},
	"rewrite":  {{"header": object{"header_name": "x-key", "regex_rewrite": object{"pattern": object{"regex": "k(.)-(.)"}, "substitution": `\2-\1$1`}}}},
	"query":    {{"query_parameter": object{"name": "q"}}},
	"cookie":   {{"cookie": object{"name": "c"}}},
	"source":   {{"connection_properties": object{"source_ip": true}}},
	"two":      {{"header": object{"header_name": "x-key"}}, {"query_parameter": object{"name": "q"}}},
	"same":     {{"header": object{"header_name": "x-key"}}, {"header": object{"header_name": "x-key"}}},
	"terminal": {{"cookie": object{"name": "c"}, "terminal": true}, {"header": object{"header_name": "x-key"}}},
	"given":    {{"cookie": object{"name": "c", "ttl": "90s", "path": "/p"}}},
	"session": {{"cookie": object{"name": "c", "ttl": "0s", "attributes": []object{
		{"name": "SameSite", "value": "Lax"}, {"name": "Secure"},
	}}}},
}

const sessionFilter = "envoy.filters.http.stateful_session"

// sessionRoutes are the ways to stay with an endpoint, by name.
var sessionRoutes = map[string]object{
	"stay-cookie": byCookie(object{"name": "s", "path": "/stay-cookie"}, false),
	"stay-brief":  byCookie(object{"name": "s", "path": "/stay-brief/", "attributes": []object{{"name": "SameSite", "value": "Lax"}}}, false),
	"stay-strict": byCookie(object{"name": "s"}, true),
	"stay-header": {"stateful_session": object{"session_state": object{
		"name": "envoy.http.stateful_session.header",
		"typed_config": object{
			"@type": "type.googleapis.com/envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState", "name": "X-Session",
		},
	}}},
	"stay-off": {"disabled": true},
}

func byCookie(cookie object, strict bool) object {
	return object{"stateful_session": object{"strict": strict, "session_state": object{
		"name": "envoy.http.stateful_session.cookie",
		"typed_config": object{
			"@type": "type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState", "cookie": cookie,
		},
	}}}
}

func hashBootstrap(t *testing.T, listen, upstream int) []byte {
	t.Helper()
	var clusters, routes []object
	for _, h := range hashedClusters() {
		clusters = append(clusters, h.object(upstream))
		routes = append(routes, object{
			"match": object{"prefix": "/" + h.name + "/"},
			"route": object{"cluster": h.name, "hash_policy": hashRoutes["header"]},
		})
	}
	for name, policies := range hashRoutes {
		routes = append(routes, object{
			"match": object{"prefix": "/" + name},
			"route": object{"cluster": "MAGLEV-100", "hash_policy": policies},
		})
	}
	for name, state := range sessionRoutes {
		state["@type"] = "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute"
		routes = append(routes, object{
			"match": object{"prefix": "/" + name}, "route": object{"cluster": "MAGLEV-unhealthy", "hash_policy": hashRoutes["header"]},
			"typed_per_filter_config": object{sessionFilter: state},
		})
	}
	manager := object{
		"@type":       "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix": "hash", "use_remote_address": true, "xff_num_trusted_hops": 1,
		"route_config": object{"name": "hash", "virtual_hosts": []object{{"name": "all", "domains": []string{"*"}, "routes": routes}}},
		"http_filters": []object{{
			"name":         sessionFilter,
			"typed_config": object{"@type": "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession"},
		}, {"name": "envoy.filters.http.router", "typed_config": object{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}},
	}
	b, err := json.Marshal(object{"static_resources": object{
		"clusters": clusters,
		"listeners": []object{{
			"name": "hash", "address": object{"socket_address": object{"address": "127.0.0.1", "port_value": listen}},
			"filter_chains": []object{{"filters": []object{{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}}}},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tellAddress serves the address that a request was sent to.
func tellAddress(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Context().Value(http.LocalAddrContextKey).(net.Addr).String())
	})}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		_ = server.Close()
		wg.Wait()
	})
	return portOf(l)
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return portOf(l)
}

// asker sends requests over one connection.
type asker struct {
	conn net.Conn
	in   *bufio.Reader
}

func newAsker(t *testing.T, port int) *asker {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
			return &asker{c, bufio.NewReader(c)}
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// ask returns the endpoint that answered, and the cookies that came along.
func (a *asker) ask(path string, lines ...string) (endpoint string, cookies []string, err error) {
	resp, body, err := a.exchange(path, lines...)
	if err != nil || resp.StatusCode != http.StatusOK {
		return "", nil, fmt.Errorf("%v: %s %w", resp, body, err)
	}
	return body, resp.Header["Set-Cookie"], nil
}

func (a *asker) exchange(path string, lines ...string) (*http.Response, string, error) {
	head := "GET " + path + " HTTP/1.1\r\nhost: a.example\r\n"
	for _, l := range lines {
		head += l + "\r\n"
	}
	if _, err := io.WriteString(a.conn, head+"\r\n"); err != nil {
		return nil, "", err
	}
	resp, err := http.ReadResponse(a.in, nil)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// startHashing runs both proxies and returns their ports, Envoy's first, and that of the
// endpoints.
func startHashing(t *testing.T) (envoy, ours, up int) {
	t.Helper()
	binary := os.Getenv("OUTRIGGER_ENVOY")
	if binary == "" {
		t.Skip("OUTRIGGER_ENVOY names no Envoy binary to compare with")
	}
	up = tellAddress(t)
	envoy, ours = freePort(t), freePort(t)
	runEnvoy(t, binary, hashBootstrap(t, envoy, up))
	runOutrigger(t, newPKI(t), hashBootstrap(t, ours, up))
	return envoy, ours, up
}

// TestKeysGoWhereEnvoySendsThem sends 10,000 keys through both proxies to each
// cluster.
func TestKeysGoWhereEnvoySendsThem(t *testing.T) {
	envoy, ours, _ := startHashing(t)
	const keys, lanes = 10000, 4
	for _, h := range hashedClusters() {
		t.Run(h.name, func(t *testing.T) {
			var wg sync.WaitGroup
			differ := make([][]string, lanes)
			for lane := range lanes {
				a, b := newAsker(t, envoy), newAsker(t, ours)
				wg.Go(func() {
					for k := lane; k < keys; k += lanes {
						key := "x-key: key-" + strconv.Itoa(k)
						theirs, _, err := a.ask("/"+h.name+"/", key)
						if err != nil {
							t.Errorf("envoy, %s: %v", key, err)
							return
						}
						own, _, err := b.ask("/"+h.name+"/", key)
						if err != nil {
							t.Errorf("outrigger, %s: %v", key, err)
							return
						}
						if theirs != own {
							differ[lane] = append(differ[lane], fmt.Sprintf("%s: Envoy %s, Outrigger %s", key, theirs, own))
						}
					}
				})
			}
			wg.Wait()
			if d := slices.Concat(differ...); len(d) > 0 {
				t.Errorf("%d of %d keys differ, as %s", len(d), keys, strings.Join(d[:min(3, len(d))], "; "))
			}
		})
	}
}

// TestRequestsAreHashedAsByEnvoy compares what requests are hashed by.
func TestRequestsAreHashedAsByEnvoy(t *testing.T) {
	envoy, ours, _ := startHashing(t)
	a, b := newAsker(t, envoy), newAsker(t, ours)
	for path, heads := range map[string][][]string{
		"/header":        {{"x-key: b", "x-key: a"}, {"X-Key: a", "x-key: b"}, {"x-key: a,b"}, {"x-key:"}, {"x-key: a", "x-other: b", "x-key: "}},
		"/path":          {{}},
		"/path?a=b":      {{}},
		"/rewrite":       {{"x-key: k1-2"}, {"x-key: 2-1$1"}, {"x-key: kk1-2k3-4"}, {"x-key: k2-a", "x-key: k1-z"}},
		"/query?q=1":     {{}},
		"/query?p=1&q=2": {{}},
		"/query?q=%31":   {{}},
		"/query?q=&q=1":  {{}},
		"/query?q":       {{}},
		"/query?q=1&q=2": {{}},
		"/cookie": {
			{"cookie: c=1"},
			{`cookie: c="1"`},
			{"cookie: a=b; c=1"},
			{"cookie: a=b;  c=2 ;c=1"},
			{"cookie: a=b", "cookie: c=1"},
			{`cookie: c="`},
			{"cookie: c==1"},
			{"cookie: d; c=3"},
			{"cookie: C=1; c=2"},
		},
		"/source": {
			{"x-forwarded-for: 10.1.2.3"},
			{"x-forwarded-for: 10.1.2.3, 10.9.9.9"},
			{"x-forwarded-for: 2001:db8:0::0001"},
			{},
			{"x-forwarded-for: junk"},
		},
		"/two?q=1":  {{"x-key: 1"}, {"x-key: 2"}, {}},
		"/two":      {{"x-key: 1"}},
		"/same":     {{"x-key: 1"}, {"x-key: 2"}},
		"/terminal": {{"x-key: 1", "cookie: c=1"}, {"x-key: 1"}, {"x-key: 2", "cookie: d=1"}},
		"/given":    {{"cookie: c=1"}},
	} {
		for _, head := range heads {
			theirs, c1, err := a.ask(path, head...)
			if err != nil {
				t.Fatalf("envoy, %s %q: %v", path, head, err)
			}
			own, c2, err := b.ask(path, head...)
			if err != nil {
				t.Fatalf("outrigger, %s %q: %v", path, head, err)
			}
			if theirs != own || !slices.Equal(c1, c2) {
				t.Errorf("%s %q: Envoy %s %q, Outrigger %s %q", path, head, theirs, c1, own, c2)
			}
		}
	}
	for _, path := range []string{"/given", "/session"} {
		for name, x := range map[string]*asker{"envoy": a, "outrigger": b} {
			_, cookies, err := x.ask(path)
			if err != nil {
				t.Fatal(err)
			}
			value := fmt.Sprintf("%016x", lb.Hash(x.conn.LocalAddr().String()+x.conn.RemoteAddr().String(), 0))
			want := map[string]string{
				"/given":   `c="` + value + `"; Max-Age=90; Path=/p; HttpOnly`,
				"/session": `c="` + value + `"; SameSite=Lax; Secure; HttpOnly`,
			}[path]
			if len(cookies) != 1 || cookies[0] != want {
				t.Errorf("%s gives cookies %q, want %q", name, cookies, want)
			}
		}
	}
}

// TestSessionsStayAsInEnvoy compares where requests go that name an endpoint.
func TestSessionsStayAsInEnvoy(t *testing.T) {
	envoy, ours, up := startHashing(t)
	a, b := newAsker(t, envoy), newAsker(t, ours)
	at := func(n int) string { return fmt.Sprintf("127.10.0.%d:%d", n, up) }
	text := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	message := func(s string) string { return text("\n" + string(rune(len(s))) + s) }
	cookie := func(value string) []string { return []string{"x-key: 1", "cookie: s=" + value} }
	for path, heads := range map[string][][]string{
		"/stay-cookie": {
			{"x-key: 1"},
			cookie(message(at(1))), cookie(`"` + message(at(2)) + `"`), cookie(message(at(3))), cookie(text(at(5))),
			cookie(message(at(4))), cookie(message(at(8))), // unhealthy and draining
			cookie(message("10.9.9.9:1")), cookie(message("junk")), cookie("junk"), cookie(message("")), cookie("%%%"),
			cookie(text("\n" + string(rune(len(at(6)))) + at(6) + "\x10\x00")),
		},
		"/stay-cookies": {cookie(message(at(1)))},
		"/stay-cookie/": {cookie(message(at(1))), {"x-key: 1"}},
		"/stay-brief/x": {cookie(message(at(1))), {"x-key: 1"}},
		"/stay-brief":   {cookie(message(at(1)))},
		"/stay-strict":  {cookie(message(at(1))), cookie(message(at(4))), cookie(message("10.9.9.9:1")), {"x-key: 1"}},
		"/stay-header": {
			{"x-key: 1", "x-session: " + text(at(1))}, {"x-key: 1", "X-Session: " + text(at(4))}, {"x-key: 1", "x-session: junk"}, {"x-key: 1"},
		},
		"/stay-off": {cookie(message(at(1)))},
	} {
		for _, head := range heads {
			theirs, where, err := a.exchange(path, head...)
			if err != nil {
				t.Fatalf("envoy, %s %q: %v", path, head, err)
			}
			own, here, err := b.exchange(path, head...)
			if err != nil {
				t.Fatalf("outrigger, %s %q: %v", path, head, err)
			}
			show := func(r *http.Response, body string) string {
				return fmt.Sprint(r.StatusCode, body, r.Header["Set-Cookie"], r.Header["X-Session"])
			}
			if want, got := show(theirs, where), show(own, here); got != want {
				t.Errorf("%s %q: Envoy %s, Outrigger %s", path, head, want, got)
			}
		}
	}
}

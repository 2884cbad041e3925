package admin_test

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/outrigger-mesh/outrigger/admin"
	"github.com/outrigger-mesh/outrigger/internal/leak"
)

// TestMain fails the package when a test leaves a goroutine behind.
func TestMain(m *testing.M) { leak.Main(m) }

// ask sends a request as a local tool would.
func ask(h http.Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr, r.Host = "127.0.0.1:4711", "localhost:15000"
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestGuardServesOnlyLocalTools(t *testing.T) {
	t.Parallel()
	m := admin.New(admin.Config{})
	for _, tt := range []struct {
		name    string
		headers []string
		want    int
	}{
		{"local name", nil, 200},
		{"IPv4", []string{"Host", "127.0.0.1:15000"}, 200},
		{"IPv4 without port", []string{"Host", "127.0.0.2"}, 200},
		{"IPv6", []string{"Host", "[::1]:15000"}, 200},
		{"IPv6 without port", []string{"Host", "[::1]"}, 200},
		{"rebound name", []string{"Host", "evil.example:15000"}, 403},
		{"pod address", []string{"Host", "10.0.0.5:15000"}, 403},
		{"no host", []string{"Host", ""}, 403},
		{"misleading name", []string{"Host", "localhost.evil.example"}, 403},
		{"own origin", []string{"Origin", "http://localhost:15000"}, 200},
		{"foreign origin", []string{"Origin", "https://evil.example"}, 403},
		{"other local origin", []string{"Origin", "http://localhost:3000"}, 403},
		{"null origin", []string{"Origin", "null"}, 403},
		{"cross-site", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"typed address", []string{"Sec-Fetch-Site", "none"}, 200},
	} {
		if got := ask(m, "GET", "/ready", tt.headers...); got.Code != tt.want {
			t.Errorf("%s: got %d %q, want %d", tt.name, got.Code, got.Body, tt.want)
		}
	}
	remote := httptest.NewRequest("GET", "/ready", nil)
	remote.RemoteAddr, remote.Host = "10.0.0.7:4711", "localhost"
	w := httptest.NewRecorder()
	m.ServeHTTP(w, remote)
	if w.Code != 403 {
		t.Errorf("remote peer: got %d, want 403", w.Code)
	}
}

func TestChangesNeedPost(t *testing.T) {
	t.Parallel()
	called := []string{}
	m := admin.New(admin.Config{Hooks: admin.Hooks{
		Quit:           func() { called = append(called, "quit") },
		DrainListeners: func(g, i bool) { called = append(called, fmt.Sprintf("drain %v %v", g, i)) },
		FailHealth:     func(f bool) { called = append(called, fmt.Sprintf("fail %v", f)) },
	}})
	paths := []string{"/quitquitquit", "/drain_listeners?graceful", "/healthcheck/fail", "/healthcheck/ok"}
	for _, path := range paths {
		if w := ask(m, "GET", path); w.Code != 405 || w.Header().Get("Allow") != "POST" {
			t.Errorf("GET %s: got %d, Allow %q", path, w.Code, w.Header().Get("Allow"))
		}
	}
	if len(called) != 0 {
		t.Fatalf("GET changed something: %q", called)
	}
	for _, path := range paths {
		if w := ask(m, "POST", path); w.Code != 200 || w.Body.String() != "OK\n" {
			t.Errorf("POST %s: got %d %q", path, w.Code, w.Body)
		}
	}
	if want := []string{"quit", "drain true false", "fail true", "fail false"}; !slices.Equal(called, want) {
		t.Errorf("got calls %q, want %q", called, want)
	}
	if w := ask(m, "POST", "/config_dump"); w.Code != 405 {
		t.Errorf("POST /config_dump: got %d, want 405", w.Code)
	}
	if w := ask(admin.New(admin.Config{}), "POST", "/quitquitquit"); w.Code != 501 {
		t.Errorf("no hook: got %d, want 501", w.Code)
	}
}

func TestLoggingChangesLevels(t *testing.T) {
	t.Parallel()
	levels := map[string]string{"xds": "info", "proxy": "info"}
	m := admin.New(admin.Config{Hooks: admin.Hooks{
		Levels: func() []admin.Level {
			return []admin.Level{{Component: "proxy", Level: levels["proxy"]}, {Component: "xds", Level: levels["xds"]}}
		},
		SetLevel: func(component, level string) error {
			if component != "" && levels[component] == "" {
				return fmt.Errorf("no component %q", component)
			}
			for c := range levels {
				if component == "" || component == c {
					levels[c] = level
				}
			}
			return nil
		},
	}})
	for _, tt := range []struct {
		method, target string
		status         int
		want           string
	}{
		{"GET", "/logging", 200, "active loggers:\n  proxy: info\n  xds: info\n"},
		{"POST", "/logging", 200, "active loggers:\n  proxy: info\n  xds: info\n"},
		{"GET", "/logging?level=debug", 405, ""},
		{"POST", "/logging?level=debug", 200, "active loggers:\n  proxy: debug\n  xds: debug\n"},
		{"POST", "/logging?xds=error", 200, "active loggers:\n  proxy: debug\n  xds: error\n"},
		{"POST", "/logging?paths=xds:warning,proxy:off", 200, "active loggers:\n  proxy: off\n  xds: warning\n"},
		{"POST", "/logging?level=loud", 400, ""},
		{"POST", "/logging?dns=debug", 400, ""},
		{"POST", "/logging?level=info&xds=debug", 400, ""},
	} {
		w := ask(m, tt.method, tt.target)
		if w.Code != tt.status || tt.want != "" && w.Body.String() != tt.want {
			t.Errorf("%s %s: got %d %q, want %d %q", tt.method, tt.target, w.Code, w.Body, tt.status, tt.want)
		}
	}
}

func TestReadyAndServerInfoTellTheState(t *testing.T) {
	t.Parallel()
	state := admin.PreInitializing
	m := admin.New(admin.Config{Server: admin.Server{
		Version: "abc/1.30.0/Clean/RELEASE/Go", Start: time.Now().Add(-90 * time.Second),
		State:   func() admin.State { return state },
		Node:    json.RawMessage(`{"id":"sidecar~10.0.0.5~web.shop~shop.svc.cluster.local"}`),
		Options: map[string]any{"concurrency": 2},
	}})
	if w := ask(m, "GET", "/ready"); w.Code != 503 || w.Body.String() != "PRE_INITIALIZING\n" {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
	state = admin.Live
	if w := ask(m, "GET", "/ready"); w.Code != 200 || w.Body.String() != "LIVE\n" {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
	var info adminv3.ServerInfo
	w := ask(m, "GET", "/server_info")
	if err := protojson.Unmarshal(w.Body.Bytes(), &info); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	if info.GetState() != adminv3.ServerInfo_LIVE || info.GetUptimeCurrentEpoch().GetSeconds() < 90 ||
		info.GetNode().GetId() == "" || info.GetCommandLineOptions().GetConcurrency() != 2 {
		t.Errorf("got %v", &info)
	}
}

func TestUnknownPathListsCommands(t *testing.T) {
	t.Parallel()
	m := admin.New(admin.Config{})
	if w := ask(m, "GET", "/nope"); w.Code != 404 || !strings.Contains(w.Body.String(), "/config_dump") {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
	if w := ask(m, "GET", "/help"); w.Code != 200 || !strings.Contains(w.Body.String(), "/quitquitquit (POST)") {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
}

func sampleClusters() iter.Seq[admin.Cluster] {
	return slices.Values([]admin.Cluster{{
		Name: "outbound|9080||reviews.shop.svc.cluster.local",
		Endpoints: slices.Values([]admin.Endpoint{
			{
				Address: netip.MustParseAddrPort("10.0.0.9:9080"), Weight: 1,
				Locality: admin.Locality{Region: "r", Zone: "z"},
				Stats:    []admin.Stat{{Name: "cx_active", Value: 2, Gauge: true}, {Name: "rq_total", Value: 7}, {Name: "rq_error"}},
			},
			{Address: netip.MustParseAddrPort("[fd00::9]:9080"), Health: "UNHEALTHY", Ejected: true, Weight: 3, Priority: 1},
		}),
	}, {Name: "BlackHoleCluster", Static: true}})
}

func TestClustersInBothForms(t *testing.T) {
	t.Parallel()
	m := admin.New(admin.Config{Clusters: sampleClusters()})
	text := ask(m, "GET", "/clusters").Body.String()
	for _, want := range []string{
		"outbound|9080||reviews.shop.svc.cluster.local::added_via_api::true\n",
		"outbound|9080||reviews.shop.svc.cluster.local::10.0.0.9:9080::cx_active::2\n",
		"outbound|9080||reviews.shop.svc.cluster.local::10.0.0.9:9080::health_flags::healthy\n",
		"outbound|9080||reviews.shop.svc.cluster.local::[fd00::9]:9080::health_flags::/failed_outlier_check/failed_eds_health\n",
		"BlackHoleCluster::added_via_api::false\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %q in\n%s", want, text)
		}
	}
	var got adminv3.Clusters
	w := ask(m, "GET", "/clusters?format=json")
	if err := protojson.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	hosts := got.GetClusterStatuses()[0].GetHostStatuses()
	if len(got.GetClusterStatuses()) != 2 || len(hosts) != 2 {
		t.Fatalf("got %v", &got)
	}
	if h := hosts[1]; !h.GetHealthStatus().GetFailedOutlierCheck() || h.GetPriority() != 1 ||
		h.GetAddress().GetSocketAddress().GetAddress() != "fd00::9" {
		t.Errorf("got %v", h)
	}
	if s := hosts[0].GetStats(); s[0].GetType() != adminv3.SimpleMetric_GAUGE || s[1].GetValue() != 7 {
		t.Errorf("got stats %v", s)
	}
}

func TestListenersAndCertificates(t *testing.T) {
	t.Parallel()
	m := admin.New(admin.Config{
		Listeners: slices.Values([]admin.Listener{{Name: "virtualInbound", Address: netip.MustParseAddrPort("0.0.0.0:15006")}}),
		Certificates: slices.Values([]admin.Certificate{
			{Path: "default", Serial: "5f", URIs: []string{"spiffe://cluster.local/ns/shop/sa/web"}, From: time.Now(), To: time.Now().Add(49 * time.Hour)},
			{Authority: true, Path: "ROOTCA", To: time.Now().Add(-time.Hour)},
		}),
	})
	if got := ask(m, "GET", "/listeners").Body.String(); got != "virtualInbound::0.0.0.0:15006\n" {
		t.Errorf("got %q", got)
	}
	var listeners adminv3.Listeners
	if err := protojson.Unmarshal(ask(m, "GET", "/listeners?format=json").Body.Bytes(), &listeners); err != nil ||
		listeners.GetListenerStatuses()[0].GetLocalAddress().GetSocketAddress().GetPortValue() != 15006 {
		t.Errorf("got %v, %v", &listeners, err)
	}
	var certs adminv3.Certificates
	w := ask(m, "GET", "/certs")
	if err := protojson.Unmarshal(w.Body.Bytes(), &certs); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	c := certs.GetCertificates()[0]
	if c.GetCertChain()[0].GetDaysUntilExpiration() != 2 || len(c.GetCaCert()) != 1 || c.GetCaCert()[0].GetDaysUntilExpiration() != 0 {
		t.Errorf("got %v", &certs)
	}
	var mem adminv3.Memory
	if err := protojson.Unmarshal(ask(m, "GET", "/memory").Body.Bytes(), &mem); err != nil || mem.GetAllocated() == 0 {
		t.Errorf("got %v, %v", &mem, err)
	}
}

func TestLentHandlersAreServed(t *testing.T) {
	t.Parallel()
	say := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(s)) })
	}
	m := admin.New(admin.Config{Stats: say("stats"), Prometheus: say("prometheus")})
	if got := ask(m, "GET", "/stats?filter=x").Body.String(); got != "stats" {
		t.Errorf("got %q", got)
	}
	if got := ask(m, "GET", "/stats/prometheus").Body.String(); got != "prometheus" {
		t.Errorf("got %q", got)
	}
	if w := ask(admin.New(admin.Config{}), "GET", "/stats"); w.Code != 501 {
		t.Errorf("not lent: got %d, want 501", w.Code)
	}
}

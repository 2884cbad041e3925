package metrics_test

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/telemetry/metrics"
)

const reviews = "outbound|9080||reviews.shop.svc.cluster.local"

func twoClusters(emit metrics.Emit) {
	for _, c := range []struct {
		name  string
		total float64
	}{{reviews, 5}, {`odd"\` + "\n\xff", 0}} {
		labels := []metrics.Label{{Name: metrics.ClusterName, Value: c.name}}
		emit("cluster.upstream_rq_total", labels, c.total, metrics.Counter)
		emit("cluster.upstream_cx_active", labels, 1.5, metrics.Gauge)
	}
	emit("listener_manager.lds.update_success", nil, 2, metrics.Counter)
	emit("istio_build", []metrics.Label{{Name: "tag", Value: "1.30"}}, 1, metrics.Gauge)
}

func prometheus(t *testing.T, r *metrics.Registry, q metrics.Query) string {
	t.Helper()
	var b strings.Builder
	if err := r.WritePrometheus(&b, q); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func text(t *testing.T, r *metrics.Registry, q metrics.Query) string {
	t.Helper()
	var b strings.Builder
	if err := r.WriteText(&b, q); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPrometheusGroupsSamplesByName(t *testing.T) {
	t.Parallel()
	var r metrics.Registry
	r.Add(twoClusters)
	want := `# TYPE envoy_cluster_upstream_cx_active gauge
envoy_cluster_upstream_cx_active{cluster_name="outbound|9080||reviews.shop.svc.cluster.local"} 1.5
envoy_cluster_upstream_cx_active{cluster_name="odd\"\\\n` + "\ufffd" + `"} 1.5
# TYPE envoy_cluster_upstream_rq_total counter
envoy_cluster_upstream_rq_total{cluster_name="outbound|9080||reviews.shop.svc.cluster.local"} 5
envoy_cluster_upstream_rq_total{cluster_name="odd\"\\\n` + "\ufffd" + `"} 0
# TYPE istio_build gauge
istio_build{tag="1.30"} 1
# TYPE envoy_listener_manager_lds_update_success counter
envoy_listener_manager_lds_update_success 2
`
	if got := prometheus(t, &r, metrics.Query{}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPlainFormPutsLabelsIntoTheName(t *testing.T) {
	t.Parallel()
	var r metrics.Registry
	r.Add(func(emit metrics.Emit) {
		emit("cluster.upstream_rq_total", []metrics.Label{{Name: metrics.ClusterName, Value: reviews}}, 5, metrics.Counter)
		emit("http.downstream_rq_xx", []metrics.Label{
			{Name: metrics.HTTPPrefix, Value: "outbound_0.0.0.0_9080"}, {Name: metrics.ResponseClass, Value: "2"},
		}, 7, metrics.Counter)
		emit("listener.downstream_cx_total", []metrics.Label{{Name: metrics.ListenerAddr, Value: "0.0.0.0_15001"}}, 3, metrics.Counter)
		emit("server.uptime", nil, 9, metrics.Gauge)
		emit("cluster_manager.cds.update_success", nil, 1, metrics.Counter)
	})
	want := `cluster.outbound|9080||reviews.shop.svc.cluster.local.upstream_rq_total: 5
cluster_manager.cds.update_success: 1
http.outbound_0.0.0.0_9080.downstream_rq_2xx: 7
listener.0.0.0.0_15001.downstream_cx_total: 3
server.uptime: 9
`
	if got := text(t, &r, metrics.Query{}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestQueryNarrowsWhatIsWritten(t *testing.T) {
	t.Parallel()
	var r metrics.Registry
	r.Add(twoClusters)
	used := metrics.Query{UsedOnly: true, Match: func(n string) bool { return strings.HasSuffix(n, "rq_total") }}
	if got, want := text(t, &r, used), "cluster."+reviews+".upstream_rq_total: 5\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := prometheus(t, &r, used); strings.Count(got, "\n") != 2 {
		t.Errorf("got %q, want one sample", got)
	}
}

func TestRemovedSourceIsNotAsked(t *testing.T) {
	t.Parallel()
	var r metrics.Registry
	remove := r.Add(twoClusters)
	remove()
	remove()
	if got := prometheus(t, &r, metrics.Query{}); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestHistogramIsCumulativeAndHasQuantiles(t *testing.T) {
	t.Parallel()
	var r metrics.Registry
	var h metrics.Histogram
	r.AddHistograms(func(emit func(string, []metrics.Label, *metrics.Histogram)) {
		emit("http.downstream_rq_time", []metrics.Label{{Name: metrics.HTTPPrefix, Value: "p"}}, &h)
	})
	if got := text(t, &r, metrics.Query{}); got != "http.p.downstream_rq_time: No recorded values\n" {
		t.Errorf("empty: got %q", got)
	}
	if got := text(t, &r, metrics.Query{UsedOnly: true}); got != "" {
		t.Errorf("empty and used only: got %q", got)
	}
	for _, d := range []time.Duration{-1, time.Millisecond, 2 * time.Millisecond, 7 * time.Millisecond, 2 * time.Hour} {
		h.Observe(d)
	}
	got := prometheus(t, &r, metrics.Query{})
	for _, want := range []string{
		"# TYPE envoy_http_downstream_rq_time histogram\n",
		`envoy_http_downstream_rq_time_bucket{http_conn_manager_prefix="p",le="0.5"} 1` + "\n",
		`envoy_http_downstream_rq_time_bucket{http_conn_manager_prefix="p",le="1"} 2` + "\n",
		`envoy_http_downstream_rq_time_bucket{http_conn_manager_prefix="p",le="5"} 3` + "\n",
		`envoy_http_downstream_rq_time_bucket{http_conn_manager_prefix="p",le="3600000"} 4` + "\n",
		`envoy_http_downstream_rq_time_bucket{http_conn_manager_prefix="p",le="+Inf"} 5` + "\n",
		`envoy_http_downstream_rq_time_sum{http_conn_manager_prefix="p"} 7200010` + "\n",
		`envoy_http_downstream_rq_time_count{http_conn_manager_prefix="p"} 5` + "\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in\n%s", want, got)
		}
	}
	if got := text(t, &r, metrics.Query{}); !strings.Contains(got, "P50(nan,3)") {
		t.Errorf("got %q, want a median of 3", got)
	}
}

func TestFlowsCountByClassAndDirection(t *testing.T) {
	t.Parallel()
	var r metrics.Registry
	flows := metrics.NewFlows(&r)
	h := flows.HTTP("inbound_0.0.0.0_9080;", flow.Inbound)
	if flows.HTTP("inbound_0.0.0.0_9080;", flow.Inbound) != h {
		t.Error("equal prefixes have different counters")
	}
	for _, status := range []int{200, 204, 404, 503, 0, 999} {
		h.Observe(&flow.Record{HTTP: true, Response: flow.Response{Status: status, Bytes: 10, Local: status == 503}})
	}
	refused := &flow.Record{}
	refused.Flags.Set(flow.UpstreamConnectionFailure)
	flows.TCP("db").Observe(refused)
	got := text(t, &r, metrics.Query{UsedOnly: true})
	for _, want := range []string{
		"http.inbound_0.0.0.0_9080;.downstream_rq_total: 6\n",
		"http.inbound_0.0.0.0_9080;.downstream_rq_2xx: 2\n",
		"http.inbound_0.0.0.0_9080;.downstream_rq_4xx: 1\n",
		"http.inbound_0.0.0.0_9080;.downstream_rq_5xx: 1\n",
		"http.inbound_0.0.0.0_9080;.downstream_rq_completed: 4\n",
		"http.inbound_0.0.0.0_9080;.rq_direct_response: 1\n",
		"http.inbound_0.0.0.0_9080;.downstream_rq_body_bytes_sent: 60\n",
		"tcp.db.downstream_cx_total: 1\n",
		"tcp.db.cx_response_flag.response_flag.UF: 1\n",
		"outrigger_requests_total.direction.inbound: 6\n",
		"outrigger_requests_failed_total.direction.inbound: 3\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in\n%s", want, got)
		}
	}
	if got := prometheus(t, &r, metrics.Query{}); !strings.Contains(got,
		`envoy_http_downstream_rq_xx{http_conn_manager_prefix="inbound_0.0.0.0_9080;",envoy_response_code_class="2"} 2`+"\n") {
		t.Errorf("no class sample in\n%s", got)
	}
}

func TestServerSpeaksOfItself(t *testing.T) {
	t.Parallel()
	var r metrics.Registry
	r.Add(metrics.Server{
		Start: time.Now().Add(-time.Minute),
		State: func() int { return 1 },
		Certificates: func() []metrics.Certificate {
			return []metrics.Certificate{{Name: "default", NotAfter: time.Now().Add(49 * time.Hour)}}
		},
	}.Emit)
	got := text(t, &r, metrics.Query{UsedOnly: true})
	for _, want := range []string{"server.uptime: 60\n", "server.state: 1\n", "server.days_until_first_cert_expiring: 2\n", "server.memory_allocated: ", "server.memory_physical_size: ", "istio_agent_cert_expiry_seconds.resource_name.default: 176"} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in\n%s", want, got)
		}
	}
}

func TestHandlers(t *testing.T) {
	t.Parallel()
	var r metrics.Registry
	r.Add(twoClusters)
	for _, tt := range []struct {
		name, method, target string
		handler              http.Handler
		status               int
		want                 string
	}{
		{"text", "GET", "/stats?filter=lds", r.Stats(), 200, "listener_manager.lds.update_success: 2\n"},
		{"json", "GET", "/stats?format=json&filter=lds", r.Stats(), 200, `{"stats":[{"name":"listener_manager.lds.update_success","value":2}]}` + "\n"},
		{"prometheus", "GET", "/stats?format=prometheus&usedonly&filter=istio_build", r.Stats(), 200, "# TYPE istio_build gauge\nistio_build{tag=\"1.30\"} 1\n"},
		{"prometheus path", "GET", "/stats/prometheus?filter=istio_build", r.Prometheus(), 200, "# TYPE istio_build gauge\nistio_build{tag=\"1.30\"} 1\n"},
		{"bad format", "GET", "/stats?format=x", r.Stats(), 400, "unknown format: use text, json or prometheus\n"},
		{"post", "POST", "/stats", r.Stats(), 405, "only GET is possible here\n"},
	} {
		w := httptest.NewRecorder()
		tt.handler.ServeHTTP(w, httptest.NewRequest(tt.method, tt.target, nil))
		if w.Code != tt.status || w.Body.String() != tt.want {
			t.Errorf("%s: got %d %q, want %d %q", tt.name, w.Code, w.Body, tt.status, tt.want)
		}
	}
	for _, filter := range []string{"(", strings.Repeat("a", 2000)} {
		w := httptest.NewRecorder()
		r.Stats().ServeHTTP(w, httptest.NewRequest("GET", "/stats?filter="+filter, nil))
		if w.Code != 400 {
			t.Errorf("filter of %d bytes: got %d, want 400", len(filter), w.Code)
		}
	}
}

func TestAnswersAreCompressedOnlyWhereOffered(t *testing.T) {
	t.Parallel()
	var r metrics.Registry
	r.Add(twoClusters)
	for accept, compressed := range map[string]bool{"gzip, deflate": true, "": false, "gzip;q=0": false, "br, gzip;q=0.5": true} {
		req := httptest.NewRequest("GET", "/stats?filter=lds", nil)
		req.Header.Set("Accept-Encoding", accept)
		w := httptest.NewRecorder()
		r.Stats().ServeHTTP(w, req)
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != compressed {
			t.Errorf("%q: compressed is %v, want %v", accept, got, compressed)
			continue
		}
		if !compressed {
			continue
		}
		z, err := gzip.NewReader(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := io.ReadAll(z); err != nil || string(plain) != "listener_manager.lds.update_success: 2\n" {
			t.Errorf("got %q, %v", plain, err)
		}
	}
}

func TestJSONIsValidForOddNames(t *testing.T) {
	t.Parallel()
	var r metrics.Registry
	r.Add(twoClusters)
	flows := metrics.NewFlows(&r)
	flows.HTTP("p", flow.Outbound).Observe(&flow.Record{})
	var b strings.Builder
	if err := r.WriteJSON(&b, metrics.Query{}); err != nil {
		t.Fatal(err)
	}
	var got struct{ Stats []struct{ Name string } }
	if err := json.Unmarshal([]byte(b.String()), &got); err != nil || len(got.Stats) < 6 {
		t.Errorf("got %v stats, %v: %s", len(got.Stats), err, b.String())
	}
}

func TestScrapeIsSafeBesideCounting(t *testing.T) {
	t.Parallel()
	var r metrics.Registry
	flows := metrics.NewFlows(&r)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 {
			flows.HTTP("p", flow.Outbound).Observe(&flow.Record{Response: flow.Response{Status: 200}})
			r.Add(func(metrics.Emit) {})()
		}
	}()
	for range 50 {
		prometheus(t, &r, metrics.Query{})
	}
	<-done
}

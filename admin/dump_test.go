package admin_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/outrigger-mesh/outrigger/admin"
)

const typePrefix = "type.googleapis.com/"

var updated = time.Date(2026, 3, 14, 15, 9, 26, 535_000_000, time.UTC)

func packed(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func resource(t testing.TB, name string, m proto.Message) admin.Resource {
	t.Helper()
	a := packed(t, m)
	return admin.Resource{
		Name: name, Version: "v7", TypeURL: a.GetTypeUrl(), Updated: updated,
		Raw: func() []byte { return a.GetValue() },
	}
}

// listener has a known message in an Any, an unknown one inside that, and a private
// key.
func listener(t testing.TB) *listenerv3.Listener {
	t.Helper()
	hcm := &hcmv3.HttpConnectionManager{
		StatPrefix: "inbound_0.0.0.0_9080;",
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "istio.alpn",
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: &anypb.Any{
				TypeUrl: typePrefix + "example.unknown.Filter", Value: []byte("\x0a\x03abc"),
			}},
		}, {
			Name: "broken",
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: &anypb.Any{
				TypeUrl: typePrefix + "envoy.config.cluster.v3.Cluster", Value: []byte("\xff\xff"),
			}},
		}},
	}
	tls := &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsCertificates: []*tlsv3.TlsCertificate{{
			CertificateChain: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "PUBLIC"}},
			PrivateKey:       &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte("HIDDEN")}},
			Password:         &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "HIDDEN"}},
		}},
	}}
	return &listenerv3.Listener{
		Name: "virtualInbound",
		FilterChains: []*listenerv3.FilterChain{{
			Filters: []*listenerv3.Filter{{
				Name: "hcm", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(t, hcm)},
			}},
			TransportSocket: &corev3.TransportSocket{
				Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed(t, tls)},
			},
		}},
	}
}

func sampleDump(t testing.TB) *admin.Mux {
	t.Helper()
	cluster := resource(t, "outbound|9080||reviews", &clusterv3.Cluster{
		Name: "outbound|9080||reviews", ConnectTimeout: durationpb.New(10 * time.Second),
	})
	warming := resource(t, "warming", &clusterv3.Cluster{Name: "warming"})
	warming.Stage = admin.Warming
	static := resource(t, "prometheus_stats", &clusterv3.Cluster{Name: "prometheus_stats"})
	static.Stage = admin.Static
	inbound := resource(t, "virtualInbound", listener(t))
	inbound.Rejected = &admin.Rejection{Version: "v8", Details: "filter_chains[0]: RBAC is not supported", At: updated, Raw: inbound.Raw}
	never := admin.Resource{
		Name: "never", TypeURL: typePrefix + "envoy.config.listener.v3.Listener",
		Rejected: &admin.Rejection{Version: "v8", Details: "no", At: updated},
	}
	return admin.New(admin.Config{Dump: admin.Dump{
		Bootstrap: func() json.RawMessage { return json.RawMessage(`{"node":{"id":"sidecar~10.0.0.5~web.shop~d"}}`) },
		Clusters:  slices.Values([]admin.Resource{cluster, warming, static}),
		Endpoints: slices.Values([]admin.Resource{resource(t, "outbound|9080||reviews", &endpointv3.ClusterLoadAssignment{ClusterName: "outbound|9080||reviews"})}),
		Listeners: slices.Values([]admin.Resource{inbound, never}),
		Routes:    slices.Values([]admin.Resource{resource(t, "9080", &routev3.RouteConfiguration{Name: "9080"})}),
		Secrets: slices.Values([]admin.Secret{
			{Name: "default", Version: "1", Updated: updated, Chain: []byte("-----BEGIN CERTIFICATE-----")},
			{Name: "ROOTCA", Version: "1", Updated: updated, Roots: []byte("-----BEGIN ROOT-----")},
		}),
	}})
}

// rawDump reads a dump loosely, since it has types that are registered nowhere.
func rawDump(t *testing.T, m http.Handler, query string) (configs []map[string]any, text string) {
	t.Helper()
	w := ask(m, "GET", "/config_dump"+query)
	if w.Code != 200 {
		t.Fatalf("%s: got %d %s", query, w.Code, w.Body)
	}
	var got struct{ Configs []map[string]any }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	return got.Configs, w.Body.String()
}

func kinds(configs []map[string]any) []string {
	names := make([]string, len(configs))
	for i, c := range configs {
		url, _ := c["@type"].(string)
		names[i] = strings.TrimPrefix(url, typePrefix+"envoy.admin.v3.")
	}
	return names
}

func TestDumpHasEnvoysSectionsAndShape(t *testing.T) {
	t.Parallel()
	m := sampleDump(t)
	configs, text := rawDump(t, m, "?include_eds")
	want := []string{"BootstrapConfigDump", "ClustersConfigDump", "EndpointsConfigDump", "EcdsConfigDump", "ListenersConfigDump", "RoutesConfigDump", "SecretsConfigDump"}
	if got := kinds(configs); !slices.Equal(got, want) {
		t.Errorf("got sections %q, want %q", got, want)
	}
	for _, want := range []string{
		`"version_info":"v7"`, `"last_updated":"2026-03-14T15:09:26.535Z"`, `"connect_timeout":"10s"`,
		`"@type":"type.googleapis.com/example.unknown.Filter","value":"CgNhYmM="`,
		`"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster (undecodable)","value":"//8="`,
		`"client_status":"NACKED"`, `"details":"filter_chains[0]: RBAC is not supported"`,
		`"stat_prefix":"inbound_0.0.0.0_9080;"`, `PUBLIC`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %s in\n%s", want, text)
		}
	}
	if configs, _ := rawDump(t, m, ""); slices.Contains(kinds(configs), "EndpointsConfigDump") {
		t.Error("endpoints without include_eds")
	}
}

func TestDumpReadsAsEnvoysMessages(t *testing.T) {
	t.Parallel()
	m := sampleDump(t)
	var dump adminv3.ConfigDump
	w := ask(m, "GET", "/config_dump?mask=dynamic_active_clusters,dynamic_warming_clusters,static_clusters,dynamic_route_configs,dynamic_active_secrets,bootstrap")
	if err := protojson.Unmarshal(w.Body.Bytes(), &dump); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	var clusters adminv3.ClustersConfigDump
	for _, c := range dump.GetConfigs() {
		if c.MessageIs(&clusters) {
			if err := c.UnmarshalTo(&clusters); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(clusters.GetDynamicActiveClusters()) != 1 || len(clusters.GetDynamicWarmingClusters()) != 1 || len(clusters.GetStaticClusters()) != 1 {
		t.Fatalf("got %v", &clusters)
	}
	var c clusterv3.Cluster
	if err := clusters.GetDynamicActiveClusters()[0].GetCluster().UnmarshalTo(&c); err != nil || c.GetName() != "outbound|9080||reviews" {
		t.Errorf("got %v, %v", &c, err)
	}
}

func TestDumpHidesSecrets(t *testing.T) {
	t.Parallel()
	_, text := rawDump(t, sampleDump(t), "")
	hidden := base64.StdEncoding.EncodeToString([]byte("HIDDEN"))
	if strings.Contains(text, "HIDDEN") || strings.Contains(text, hidden) {
		t.Errorf("a secret is visible in\n%s", text)
	}
	mark := base64.StdEncoding.EncodeToString([]byte("[redacted]"))
	if strings.Count(text, mark) < 2 || !strings.Contains(text, `"password":{"inline_string":"[redacted]"}`) {
		t.Errorf("secrets are not marked in\n%s", text)
	}
}

func TestMaskResourceAndNameNarrowTheDump(t *testing.T) {
	t.Parallel()
	m := sampleDump(t)
	for _, tt := range []struct {
		query string
		want  []string
	}{
		{"?mask=dynamic_listeners,static_listeners", []string{"ListenersConfigDump"}},
		{"?mask=bootstrap", []string{"BootstrapConfigDump"}},
		{"?mask=dynamic_active_secrets,dynamic_warming_secrets", []string{"SecretsConfigDump"}},
		{"?mask=dynamic_active_clusters.version_info", []string{"ClustersConfigDump"}},
		{"?resource=dynamic_active_clusters", []string{"ClustersConfigDump.DynamicCluster"}},
		{"?resource=dynamic_endpoint_configs", []string{"EndpointsConfigDump.DynamicEndpointConfig"}},
		{"?resource=dynamic_active_secrets", []string{"SecretsConfigDump.DynamicSecret", "SecretsConfigDump.DynamicSecret"}},
		{"?resource=dynamic_listeners&name_regex=^virtual", []string{"ListenersConfigDump.DynamicListener"}},
	} {
		configs, _ := rawDump(t, m, tt.query)
		if got := kinds(configs); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.query, got, tt.want)
		}
	}
	if w := ask(m, "GET", "/config_dump?resource=nope"); w.Code != 404 {
		t.Errorf("unknown resource: got %d, want 404", w.Code)
	}
	if w := ask(m, "GET", "/config_dump?name_regex=("); w.Code != 400 {
		t.Errorf("bad expression: got %d, want 400", w.Code)
	}
}

func TestEmptyDumpIsValid(t *testing.T) {
	t.Parallel()
	var dump adminv3.ConfigDump
	if err := protojson.Unmarshal(ask(admin.New(admin.Config{}), "GET", "/config_dump?include_eds").Body.Bytes(), &dump); err != nil {
		t.Error(err)
	}
}

// counter discards a large answer and remembers its size.
type counter struct {
	http.ResponseWriter
	bytes, writes, largest int
}

func (c *counter) Write(p []byte) (int, error) {
	c.bytes += len(p)
	c.writes++
	c.largest = max(c.largest, len(p))
	return len(p), nil
}

func manyClusters(t testing.TB, n int) iter.Seq[admin.Resource] {
	t.Helper()
	r := resource(t, "c", &clusterv3.Cluster{Name: strings.Repeat("name", 10), ConnectTimeout: durationpb.New(time.Second)})
	return func(yield func(admin.Resource) bool) {
		for i := range n {
			r.Name = fmt.Sprintf("outbound|80||s%d", i)
			if !yield(r) {
				return
			}
		}
	}
}

func TestLargeDumpIsStreamed(t *testing.T) {
	t.Parallel()
	m := admin.New(admin.Config{Dump: admin.Dump{Clusters: manyClusters(t, 10_000)}})
	r := httptest.NewRequest("GET", "/config_dump", nil)
	r.RemoteAddr, r.Host = "127.0.0.1:1", "localhost"
	c := &counter{ResponseWriter: httptest.NewRecorder()}
	m.ServeHTTP(c, r)
	if c.bytes < 2_000_000 || c.largest > 64<<10 {
		t.Errorf("got %d bytes in %d writes, the largest of %d; want pieces of at most 64 KiB", c.bytes, c.writes, c.largest)
	}
}

func BenchmarkDumpOf1000Clusters(b *testing.B) {
	m := admin.New(admin.Config{Dump: admin.Dump{Clusters: manyClusters(b, 1000)}})
	r := httptest.NewRequest("GET", "/config_dump", nil)
	r.RemoteAddr, r.Host = "127.0.0.1:1", "localhost"
	b.ReportAllocs()
	for b.Loop() {
		m.ServeHTTP(&counter{ResponseWriter: httptest.NewRecorder()}, r)
	}
}

func FuzzDumpOfAnyBytes(f *testing.F) {
	f.Add("envoy.config.listener.v3.Listener", mustMarshal(f, listener(f)))
	f.Add("envoy.config.cluster.v3.Cluster", []byte("\x0a\x01a"))
	f.Add("no.such.Type", []byte{0xff})
	f.Fuzz(func(t *testing.T, name string, raw []byte) {
		m := admin.New(admin.Config{Dump: admin.Dump{Clusters: slices.Values([]admin.Resource{{
			Name: "x", TypeURL: typePrefix + name, Raw: func() []byte { return raw },
		}})}})
		w := ask(m, "GET", "/config_dump")
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("invalid JSON: %s", w.Body)
		}
	})
}

func mustMarshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

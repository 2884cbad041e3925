package compile_test

import (
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	preservecasev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/http2"
	"github.com/outrigger-mesh/outrigger/upstream"
	"github.com/outrigger-mesh/outrigger/xds"
)

// usedWith is what a cluster of these options speaks.
func usedWith(t *testing.T, o *httpv3.HttpProtocolOptions) upstream.HTTPOptions {
	t.Helper()
	r := newRig(t)
	m := edsCluster("a")
	m.TypedExtensionProtocolOptions = map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed(t, o)}
	r.must(r.send(xds.TypeRoute, nil, routes("80", host("a", "a", "a.example"))))
	r.must(r.send(xds.TypeCluster, nil, m))
	r.must(r.send(xds.TypeEndpoint, nil, assignment("a", "10.0.0.1")))
	c := mentioned(t, r, "a.example")
	if err := c.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c.Spec().HTTP
}

func TestHTTPOptionsOfAClusterOverHTTP2(t *testing.T) {
	t.Parallel()
	got := usedWith(t, &httpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			MaxStreamDuration: durationpb.New(3 * time.Second), MaxHeadersCount: wrapperspb.UInt32(7), MaxResponseHeadersKb: wrapperspb.UInt32(5),
		},
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
				ConnectionKeepalive: &corev3.KeepaliveSettings{Interval: durationpb.New(time.Second), IntervalJitter: &typev3.Percent{Value: 30}},
			}},
		}},
	})
	if got.MaxStream != 3*time.Second || got.HTTP2.MaxHeaders != 7 || got.HTTP2.MaxHeadBytes != 5<<10 {
		t.Errorf("got %+v", got)
	}
	if want := (http2.KeepAlive{Interval: time.Second, Timeout: time.Minute, Jitter: 30}); got.HTTP2.KeepAlive != want {
		t.Errorf("got %+v, want %+v", got.HTTP2.KeepAlive, want)
	}
}

func TestHTTPOptionsOfAClusterOverHTTP1(t *testing.T) {
	t.Parallel()
	format := &corev3.Http1ProtocolOptions_HeaderKeyFormat{HeaderFormat: &corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter{
		StatefulFormatter: &corev3.TypedExtensionConfig{Name: "preserve_case", TypedConfig: packed(t, &preservecasev3.PreserveCaseFormatterConfig{ForwardReasonPhrase: true})},
	}}
	got := usedWith(t, &httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{
				HeaderKeyFormat: format, EnableTrailers: true,
			}},
		}},
	})
	if !got.HTTP1.ForwardReason || !got.HTTP1.EnableTrailers || got.MaxStream != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestHeadsAreBoundedTheSameInBothVersions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := listener("l", 15006, true)
	c := spoiled{manager: func(_ *testing.T, m *hcmv3.HttpConnectionManager) {
		m.MaxRequestHeadersKb = wrapperspb.UInt32(5)
		m.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{MaxHeadersCount: wrapperspb.UInt32(7)}
		m.StreamErrorOnInvalidHttpMessage = wrapperspb.Bool(true)
	}}
	l.FilterChains = append(l.FilterChains, httpChain(t, "80"))
	c.spoil(t, l)
	r.must(r.send(xds.TypeListener, nil, l))
	h, ok := r.fill("l").Chains.Chains()[0].Handler.(*proxy.HTTP)
	if !ok {
		t.Fatal("no HTTP handler")
	}
	s := h.Spec()
	if s.HTTP1.MaxHeadBytes != 5<<10 || s.HTTP2.MaxHeadBytes != 5<<10 || s.HTTP1.MaxHeaders != 7 || s.HTTP2.MaxHeaders != 7 || !s.HTTP1.KeepInvalid {
		t.Errorf("got %+v and %+v", s.HTTP1, s.HTTP2)
	}
}

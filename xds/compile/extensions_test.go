package compile_test

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	wasmfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	wasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/wasm/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/filter"
	"github.com/outrigger-mesh/outrigger/xds"
)

const wasmURL = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"

// extended is a chain with a filter whose configuration comes by ECDS.
func extended(t *testing.T, fallback *anypb.Any) *listenerv3.FilterChain {
	t.Helper()
	chain := httpChain(t, "80")
	var m hcmv3.HttpConnectionManager
	respoil(t, chain.GetFilters()[0].GetTypedConfig(), &m, func() {
		m.HttpFilters = append([]*hcmv3.HttpFilter{{Name: "module", ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{ConfigDiscovery: &corev3.ExtensionConfigSource{
			ConfigSource: &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}},
			TypeUrls:     []string{wasmURL}, DefaultConfig: fallback,
		}}}}, m.GetHttpFilters()...)
	})
	return chain
}

func module(t *testing.T, policy wasmv3.FailurePolicy) *corev3.TypedExtensionConfig {
	t.Helper()
	return &corev3.TypedExtensionConfig{Name: "module", TypedConfig: packed(t, &wasmfilterv3.Wasm{Config: &wasmv3.PluginConfig{FailurePolicy: policy}})}
}

// late is the filter of the first HTTP chain of a listener.
func late(t *testing.T, spec *proxy.ListenerSpec) *filter.Late {
	t.Helper()
	h, ok := spec.Chains.Chains()[0].Handler.(*proxy.HTTP)
	if !ok || len(h.Spec().Filters) != 1 {
		t.Fatal("the chain has not one filter")
	}
	l, ok := h.Spec().Filters[0].Filter.(*filter.Late)
	if !ok {
		t.Fatalf("the filter is a %T", h.Spec().Filters[0].Filter)
	}
	return l
}

func TestExtensionsAreAwaitedAndFollowed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must(r.send(xds.TypeListener, nil, listener("l", 15006, true, extended(t, nil))))
	f := late(t, r.fill("l"))
	if f.Ready() {
		t.Error("there is a configuration before any has come")
	}
	r.must(r.send(xds.TypeExtension, nil, module(t, wasmv3.FailurePolicy_FAIL_OPEN)))
	if !f.Ready() || f.Request(nil) != nil {
		t.Error("a module that may fail is not left out")
	}
	if _, named := r.compiler.Ignored()["wasm module module"]; !named {
		t.Errorf("what is left out is not named: %v", r.compiler.Ignored())
	}
	r.must(r.send(xds.TypeExtension, nil, module(t, wasmv3.FailurePolicy_FAIL_CLOSED)))
	if reply := f.Request(nil); reply == nil || reply.Status != 500 {
		t.Errorf("a module that must not fail is left out: %+v", reply)
	}
	err := r.send(xds.TypeExtension, nil, &corev3.TypedExtensionConfig{Name: "module", TypedConfig: packed(t, wrapperspb.String("x"))})
	if err == nil || !strings.Contains(err.Error(), "is not supported") {
		t.Errorf("got %v, want a refusal", err)
	}
	if reply := f.Request(nil); reply == nil || reply.Status != 500 {
		t.Error("what is refused takes the place of what serves")
	}
	r.must(r.send(xds.TypeExtension, []string{"module"}))
	if f.Ready() {
		t.Error("a configuration that was removed still serves")
	}
}

func TestExtensionsHaveADefault(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must(r.send(xds.TypeListener, nil, listener("l", 15006, true, extended(t, module(t, wasmv3.FailurePolicy_FAIL_OPEN).GetTypedConfig()))))
	f := late(t, r.fill("l"))
	if !f.Ready() || f.Request(nil) != nil {
		t.Error("the default does not serve")
	}
	r.must(r.send(xds.TypeExtension, nil, module(t, wasmv3.FailurePolicy_FAIL_CLOSED)))
	if reply := f.Request(nil); reply == nil || reply.Status != 500 {
		t.Error("the configuration does not take the place of the default")
	}
	r.must(r.send(xds.TypeExtension, []string{"module"}))
	if f.Request(nil) != nil {
		t.Error("the default does not come back")
	}
}

package compile

import (
	"context"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	wasmfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	wasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/wasm/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/filter"
	"github.com/outrigger-mesh/outrigger/xds"
)

const (
	wasmType = "envoy.extensions.filters.http.wasm.v3.Wasm"
	luaType  = "envoy.extensions.filters.http.lua.v3.Lua"
)

// extensionUse is one place that refers to an ECDS resource: its counters are its
// manager's, and it may have a default.
type extensionUse struct {
	name, prefix string
	fallback     string // the default configuration's bytes, or empty
}

// extension is the live filter of such a place.
type extension struct{ late *filter.Late }

// discovered installs a filter whose configuration comes by ECDS. Requests wait for it
// for a while, whatever connection they come on; the listener serves.
func (c *Compiler) discovered(s scope, spec *proxy.HTTPSpec, f *hcmv3.HttpFilter) {
	source := f.GetConfigDiscovery()
	for _, url := range source.GetTypeUrls() {
		if kind := anyType(&anypb.Any{TypeUrl: url}); kind != wasmType && kind != httpRBACType {
			s.in("type_urls").fail("%s is not supported", kind)
		}
	}
	use := extensionUse{name: f.GetName(), prefix: spec.StatPrefix}
	if d := source.GetDefaultConfig(); d != nil {
		b, err := proto.Marshal(d)
		if s.check(err) {
			judgeExtension(s.in("default_config"), d)
		}
		use.fallback = string(b)
	}
	e := c.extensions[use]
	if e == nil {
		e = &extension{}
		e.late = filter.NewLate(func(ctx context.Context) {
			_ = c.await(ctx, func() error { // which it has to do without then
				if e.late.Ready() {
					return nil
				}
				return errNotYet
			})
		})
		c.extensions[use] = e
	}
	c.publishExtension(use, e)
	install(spec, f, e.late)
}

// checkExtension judges an ECDS resource when it arrives.
func checkExtension(body []byte) error {
	a, err := extensionConfig(body)
	if err != nil {
		return err
	}
	s := newScope()
	judgeExtension(s.in("typed_config"), a)
	return s.err()
}

// judgeExtension reports what is wrong with what an ECDS resource holds.
func judgeExtension(s scope, a *anypb.Any) {
	switch kind := anyType(a); kind {
	case httpRBACType:
		var m httprbacv3.RBAC
		if s.check(unpack(a, &m)) {
			requestPolicies(s, &m)
		}
	case wasmType:
		s.check(unpack(a, new(wasmfilterv3.Wasm)))
	default:
		s.fail("%s is not supported", kind)
	}
}

func extensionConfig(body []byte) (*anypb.Any, error) {
	var m corev3.TypedExtensionConfig
	if err := proto.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	return m.GetTypedConfig(), nil
}

// extensionsChanged follows an ECDS push. The lock is held.
func (c *Compiler) extensionsChanged(names []string) {
	changed := make(map[string]bool, len(names))
	for _, name := range names {
		changed[name] = true
	}
	for use, e := range c.extensions {
		if changed[use.name] {
			c.publishExtension(use, e)
		}
	}
}

// publishExtension gives a place what the store holds for it, or else its default.
func (c *Compiler) publishExtension(use extensionUse, e *extension) {
	var config *anypb.Any
	if use.fallback != "" {
		config = new(anypb.Any)
		if proto.Unmarshal([]byte(use.fallback), config) != nil {
			config = nil
		}
	}
	if body, ok := c.store.Get(xds.TypeExtension, use.name); ok {
		var err error
		if config, err = extensionConfig(body); err != nil {
			_ = c.failed("extension", use.name, err)
			return
		}
	}
	if config == nil {
		e.late.Withdraw()
		return
	}
	s := newScope()
	f := c.extensionFilter(s, use, config)
	if err := s.err(); err != nil { // it was judged when it arrived
		_ = c.failed("extension", use.name, err)
		f = filter.Closed{}
	}
	e.late.Publish(f)
}

// extensionFilter compiles what an ECDS resource may hold.
func (c *Compiler) extensionFilter(s scope, use extensionUse, a *anypb.Any) proxy.Filter {
	switch kind := anyType(a); kind {
	case httpRBACType:
		return c.httpRBAC(s, use.prefix, use.name, a)
	case wasmType:
		return c.wasm(s, use.name, a)
	default:
		s.fail("%s is not supported", kind)
		return nil
	}
}

// wasm stands for a module, which is not run: it is left out where that is what its
// failing would mean, and else nothing passes it.
func (c *Compiler) wasm(s scope, name string, a *anypb.Any) proxy.Filter {
	var m wasmfilterv3.Wasm
	if !s.check(unpack(a, &m)) {
		return nil
	}
	if p := m.GetConfig(); p.GetFailOpen() || p.GetFailurePolicy() == wasmv3.FailurePolicy_FAIL_OPEN {
		c.ignored("wasm module " + name)
		return nil
	}
	return filter.Closed{}
}

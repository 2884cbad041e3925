package compile

import (
	"unique"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	faultcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/filter"
)

const faultType = "envoy.extensions.filters.http.fault.v3.HTTPFault"

// fault compiles the filter of a chain, whose own configuration counts where a route
// has none.
func (c *Compiler) fault(s scope, prefix string, f *hcmv3.HttpFilter) proxy.Filter {
	var m faultv3.HTTPFault
	if !s.check(unpack(f.GetTypedConfig(), &m)) {
		return nil
	}
	return filter.NewFault(unique.Make(f.GetName()), *faultSpec(s, c, &m), c.faults.of(prefix))
}

func faultSpec(s scope, from clusterSource, m *faultv3.HTTPFault) *filter.FaultSpec {
	out := &filter.FaultSpec{Cluster: m.GetUpstreamCluster(), Nodes: m.GetDownstreamNodes()}
	for i, h := range m.GetHeaders() {
		out.Headers = append(out.Headers, headerMatch(s.at("headers", i), h))
	}
	if n := m.GetMaxActiveFaults(); n != nil {
		most := n.GetValue()
		out.MaxActive = &most
	}
	if d := m.GetDelay(); d != nil {
		out.Delay = delayOf(d)
	}
	if a := m.GetAbort(); a != nil {
		out.Abort = abortOf(a)
	}
	if m.GetResponseRateLimit() != nil {
		from.ignored("response_rate_limit of faults")
	}
	return out
}

func delayOf(d *faultcommonv3.FaultDelay) *filter.Delay {
	return &filter.Delay{Share: share(d.GetPercentage()), For: d.GetFixedDelay().AsDuration().Truncate(1e6), Asked: d.GetHeaderDelay() != nil}
}

func abortOf(a *faultv3.FaultAbort) *filter.Abort {
	out := &filter.Abort{Share: share(a.GetPercentage())}
	switch e := a.GetErrorType().(type) {
	case *faultv3.FaultAbort_HttpStatus:
		out.Status = int(e.HttpStatus)
	case *faultv3.FaultAbort_GrpcStatus:
		code := int(e.GrpcStatus)
		out.GRPC = &code
	case *faultv3.FaultAbort_HeaderAbort_:
		out.Asked = true
	}
	return out
}

// share converts a percentage; none is nobody.
func share(p *typev3.FractionalPercent) filter.Share {
	return filter.Share{Numerator: p.GetNumerator(), Denominator: denominator(p.GetDenominator())}
}

func denominator(d typev3.FractionalPercent_DenominatorType) uint32 {
	switch d {
	case typev3.FractionalPercent_TEN_THOUSAND:
		return 10_000
	case typev3.FractionalPercent_MILLION:
		return 1_000_000
	case typev3.FractionalPercent_HUNDRED:
	}
	return 100
}

// runtimeShare is a share that a runtime could change; fallback is for an absent one.
func runtimeShare(p *corev3.RuntimeFractionalPercent, fallback filter.Share) filter.Share {
	if p == nil {
		return fallback
	}
	return share(p.GetDefaultValue())
}

package compile_test

import (
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/outrigger-mesh/outrigger/flow"
)

func TestAccessLogFilters(t *testing.T) {
	t.Parallel()
	compared := func(op accesslogv3.ComparisonFilter_Op, v uint32) *accesslogv3.ComparisonFilter {
		return &accesslogv3.ComparisonFilter{Op: op, Value: &corev3.RuntimeUInt32{DefaultValue: v}}
	}
	status := func(op accesslogv3.ComparisonFilter_Op, v uint32) *accesslogv3.AccessLogFilter {
		return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_StatusCodeFilter{
			StatusCodeFilter: &accesslogv3.StatusCodeFilter{Comparison: compared(op, v)},
		}}
	}
	slow := func(ms uint32) *accesslogv3.AccessLogFilter {
		return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_DurationFilter{
			DurationFilter: &accesslogv3.DurationFilter{Comparison: compared(accesslogv3.ComparisonFilter_GE, ms)},
		}}
	}
	flags := func(names ...string) *accesslogv3.AccessLogFilter {
		return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
			ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: names},
		}}
	}
	all := func(parts ...*accesslogv3.AccessLogFilter) *accesslogv3.AccessLogFilter {
		return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{AndFilter: &accesslogv3.AndFilter{Filters: parts}}}
	}
	one := func(parts ...*accesslogv3.AccessLogFilter) *accesslogv3.AccessLogFilter {
		return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_OrFilter{OrFilter: &accesslogv3.OrFilter{Filters: parts}}}
	}
	const (
		ge = accesslogv3.ComparisonFilter_GE
		le = accesslogv3.ComparisonFilter_LE
		eq = accesslogv3.ComparisonFilter_EQ
	)
	unknown := &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_HeaderFilter{}}
	record := &flow.Record{Duration: 20 * time.Millisecond}
	record.Response.Status = 503
	record.Flags.Set(flow.UpstreamConnectionFailure)
	for name, tc := range map[string]struct {
		filter *accesslogv3.AccessLogFilter
		want   bool
	}{
		"none":                                 {nil, true},
		"one that cannot be evaluated":         {unknown, true},
		"status at least":                      {status(ge, 500), true},
		"status at most":                       {status(le, 500), false},
		"status equal":                         {status(eq, 503), true},
		"as long":                              {slow(20), true},
		"longer":                               {slow(21), false},
		"its flag":                             {flags("UF"), true},
		"another flag":                         {flags("NR"), false},
		"any flag":                             {flags(), true},
		"a flag that nobody knows":             {flags("XX"), false},
		"both":                                 {all(status(ge, 500), slow(20)), true},
		"one of both":                          {all(status(ge, 500), slow(21)), false},
		"both, one cannot be evaluated":        {all(unknown, slow(21)), false},
		"either":                               {one(status(eq, 200), slow(20)), true},
		"neither":                              {one(status(eq, 200), slow(21)), false},
		"neither, a third cannot be evaluated": {one(status(eq, 200), slow(21), unknown), true},
	} {
		filter := newRig(t).compiler.LogFilter(tc.filter)
		if got := filter == nil || filter(record); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

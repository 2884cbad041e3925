package compile

import (
	"maps"
	"slices"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/telemetry/accesslog"
)

const fileLogType = "envoy.extensions.access_loggers.file.v3.FileAccessLog"

// observers compiles the access logs of a listener, an HTTP manager or a TCP
// proxy, behind first, which may be nil.
func (c *Compiler) observers(s scope, first flow.Observer, logs []*accesslogv3.AccessLog) []flow.Observer {
	var out []flow.Observer
	if first != nil {
		out = append(out, first)
	}
	for i, l := range logs {
		if o := c.accessLog(s.at("access_log", i), l); o != nil {
			out = append(out, o)
		}
	}
	return out
}

func (c *Compiler) accessLog(s scope, l *accesslogv3.AccessLog) flow.Observer {
	if !holds(l.GetTypedConfig(), fileLogType) {
		c.ignored("access log " + l.GetName() + " (" + anyType(l.GetTypedConfig()) + ")")
		return nil
	}
	var m filelogv3.FileAccessLog
	if !s.check(unpack(l.GetTypedConfig(), &m)) {
		return nil
	}
	cfg := accesslog.Config{Outputs: c.outputs, Path: m.GetPath(), Filter: c.logFilter(l.GetFilter())}
	switch f := m.GetAccessLogFormat().(type) {
	case nil:
	case *filelogv3.FileAccessLog_Format:
		cfg.Text = f.Format
	case *filelogv3.FileAccessLog_JsonFormat:
		cfg.JSON = logFields(f.JsonFormat)
	case *filelogv3.FileAccessLog_TypedJsonFormat:
		cfg.JSON = logFields(f.TypedJsonFormat)
	case *filelogv3.FileAccessLog_LogFormat:
		logFormat(s.in("log_format"), &cfg, f.LogFormat)
	}
	log, err := accesslog.New(cfg)
	if !s.check(err) {
		return nil
	}
	return log
}

func logFormat(s scope, cfg *accesslog.Config, f *corev3.SubstitutionFormatString) {
	cfg.OmitEmpty = f.GetOmitEmptyValues()
	switch t := f.GetFormat().(type) {
	case *corev3.SubstitutionFormatString_TextFormat:
		cfg.Text = t.TextFormat
	case *corev3.SubstitutionFormatString_TextFormatSource:
		cfg.Text = t.TextFormatSource.GetInlineString()
		if cfg.Text == "" {
			s.fail("only inline formats are supported")
		}
	case *corev3.SubstitutionFormatString_JsonFormat:
		cfg.JSON = logFields(t.JsonFormat)
	}
}

// logFields orders the keys as Envoy does: a protobuf map has no order, so by name.
func logFields(m *structpb.Struct) []accesslog.Field {
	fields := make([]accesslog.Field, 0, len(m.GetFields()))
	for _, k := range slices.Sorted(maps.Keys(m.GetFields())) {
		fields = append(fields, accesslog.Field{Key: k, Value: logValue(m.GetFields()[k])})
	}
	return fields
}

// logFilter compiles a filter; nil takes every record. A filter that cannot be
// evaluated takes every record too: a log with too many lines loses nothing.
func (c *Compiler) logFilter(f *accesslogv3.AccessLogFilter) accesslog.Filter {
	switch t := f.GetFilterSpecifier().(type) {
	case nil:
		return nil
	case *accesslogv3.AccessLogFilter_ResponseFlagFilter:
		var flags []flow.Flag
		for _, name := range t.ResponseFlagFilter.GetFlags() {
			if flag, ok := flow.ParseFlag(name); ok {
				flags = append(flags, flag)
			}
		}
		if len(flags) == 0 && len(t.ResponseFlagFilter.GetFlags()) > 0 {
			return accesslog.Or() // nothing here sets one of them
		}
		return accesslog.WithFlags(flags...) // without one named, any flag
	case *accesslogv3.AccessLogFilter_StatusCodeFilter:
		return accesslog.Status(comparison(t.StatusCodeFilter.GetComparison()))
	case *accesslogv3.AccessLogFilter_DurationFilter:
		op, want := comparison(t.DurationFilter.GetComparison())
		return accesslog.Milliseconds(op, int64(want))
	case *accesslogv3.AccessLogFilter_AndFilter:
		return accesslog.And(c.logFilters(t.AndFilter.GetFilters())...)
	case *accesslogv3.AccessLogFilter_OrFilter:
		parts := c.logFilters(t.OrFilter.GetFilters())
		if len(parts) < len(t.OrFilter.GetFilters()) { // one part takes every record
			return nil
		}
		return accesslog.Or(parts...)
	default:
		c.ignored("access log filter")
		return nil
	}
}

func (c *Compiler) logFilters(list []*accesslogv3.AccessLogFilter) []accesslog.Filter {
	var out []accesslog.Filter
	for _, f := range list {
		if filter := c.logFilter(f); filter != nil {
			out = append(out, filter)
		}
	}
	return out
}

func comparison(m *accesslogv3.ComparisonFilter) (accesslog.Comparison, int) {
	want := int(m.GetValue().GetDefaultValue())
	switch m.GetOp() {
	case accesslogv3.ComparisonFilter_GE:
		return accesslog.AtLeast, want
	case accesslogv3.ComparisonFilter_LE:
		return accesslog.AtMost, want
	case accesslogv3.ComparisonFilter_NE:
		return accesslog.NotEqual, want
	case accesslogv3.ComparisonFilter_EQ:
	}
	return accesslog.Equal, want
}

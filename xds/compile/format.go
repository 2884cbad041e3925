package compile

import (
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/telemetry/accesslog"
)

// headerFormat compiles the value of a header edit: literal text, or a function
// where it holds command operators. These work as in an access log, but an absent
// value renders as nothing.
func headerFormat(value string) (literal string, format func(*proxy.Exchange) string, err error) {
	if !strings.Contains(value, "%") {
		return value, nil, nil
	}
	if plain := strings.ReplaceAll(value, "%%", ""); !strings.Contains(plain, "%") {
		return strings.ReplaceAll(value, "%%", "%"), nil, nil
	}
	f, err := accesslog.ParseText(value, accesslog.Environment{}, true)
	if err != nil {
		return "", nil, err
	}
	return "", func(x *proxy.Exchange) string { return string(f.Append(nil, &x.Record)) }, nil
}

// logValue converts one value of a JSON log format.
func logValue(v *structpb.Value) accesslog.Value {
	switch k := v.GetKind().(type) {
	case *structpb.Value_StructValue:
		return logFields(k.StructValue)
	case *structpb.Value_ListValue:
		var list []accesslog.Value
		for _, e := range k.ListValue.GetValues() {
			list = append(list, logValue(e))
		}
		return list
	default:
		return v.AsInterface()
	}
}

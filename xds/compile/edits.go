package compile

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/outrigger-mesh/outrigger/proxy"
)

// headerEdits compiles one level of header changes; nil where there are none.
func headerEdits(s scope, add []*corev3.HeaderValueOption, remove []string) *proxy.HeaderEdits {
	if len(add) == 0 && len(remove) == 0 {
		return nil
	}
	out := &proxy.HeaderEdits{}
	for _, name := range remove {
		if name = strings.ToLower(name); editable(s, name) {
			out.Remove = append(out.Remove, name)
		}
	}
	for i, o := range add {
		if e, ok := headerEdit(s.at("headers_to_add", i), o); ok {
			out.Set = append(out.Set, e)
		}
	}
	return out
}

func headerEdit(s scope, o *corev3.HeaderValueOption) (proxy.HeaderEdit, bool) {
	e := proxy.HeaderEdit{
		Name:      strings.ToLower(o.GetHeader().GetKey()),
		Action:    editAction(o),
		KeepEmpty: o.GetKeepEmptyValue(),
	}
	if !editable(s, e.Name) {
		return e, false
	}
	value := o.GetHeader().GetValue()
	if raw := o.GetHeader().GetRawValue(); len(raw) > 0 {
		value = string(raw)
	}
	var err error
	e.Value, e.Format, err = headerFormat(value)
	return e, s.check(err)
}

func editAction(o *corev3.HeaderValueOption) proxy.EditAction {
	if a := o.GetAppend(); a != nil {
		if a.GetValue() {
			return proxy.AppendOrAdd
		}
		return proxy.OverwriteOrAdd
	}
	switch o.GetAppendAction() {
	case corev3.HeaderValueOption_ADD_IF_ABSENT:
		return proxy.AddIfAbsent
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
		return proxy.OverwriteOrAdd
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
		return proxy.OverwriteIfExists
	case corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
	}
	return proxy.AppendOrAdd
}

// editable refuses what Envoy refuses: pseudo headers and host.
func editable(s scope, name string) bool {
	if name == "" || name[0] == ':' || name == "host" {
		s.fail("header %q cannot be changed", name)
		return false
	}
	return true
}

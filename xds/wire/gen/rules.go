package main

import (
	"math"

	"github.com/envoyproxy/protoc-gen-validate/validate"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/outrigger-mesh/outrigger/xds/wire/shape"
)

// checkOf says what is asked of a whole message.
func checkOf(d protoreflect.MessageDescriptor) shape.Check {
	switch d.FullName() {
	case "google.protobuf.Any":
		return shape.Any
	case "envoy.config.core.v3.TypedExtensionConfig", "envoy.config.route.v3.FilterConfig":
		return shape.Holder | shape.Transparent
	case "envoy.config.route.v3.RouteConfiguration":
		return shape.Routes | holder(d)
	case "envoy.config.route.v3.WeightedCluster":
		return shape.Weights
	case "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig":
		return shape.SDS
	case "envoy.extensions.filters.network.http_connection_manager.v3.Rds":
		return shape.RDS
	case "udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct":
		return shape.TypedStruct
	}
	if d.ParentFile().Path() == "google/protobuf/wrappers.proto" {
		return shape.Wrapper
	}
	return holder(d)
}

func holder(d protoreflect.MessageDescriptor) shape.Check {
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if f.Message() == nil || f.IsMap() {
			continue
		}
		if n := f.Message().FullName(); n == "google.protobuf.Any" && !f.IsList() || n == "envoy.config.core.v3.ExtensionConfigSource" {
			return shape.Holder
		}
	}
	return 0
}

// ruleOf translates the validation rule of a field; a few fields have a rule of our own.
func ruleOf(fd protoreflect.FieldDescriptor) shape.Rule {
	switch fd.FullName() {
	case "envoy.type.matcher.v3.RegexMatcher.regex":
		return shape.Rule{Kind: shape.Regex, Lo: 1}
	case "envoy.config.core.v3.SocketAddress.address":
		return shape.Rule{Kind: shape.Address, Lo: 1}
	}
	r := rulesOf(fd)
	if r == nil {
		return shape.Rule{}
	}
	if fd.IsMap() {
		return shape.Rule{}
	}
	if fd.IsList() {
		r = r.GetRepeated().GetItems()
	}
	switch {
	case r.GetString_() != nil:
		return textRule(r.GetString_())
	case r.GetBytes() != nil:
		b := r.GetBytes()
		return bounded(shape.Rule{Kind: shape.TextLen, Lo: b.GetMinLen(), Hi: orMax(b.MaxLen), SkipIf: b.GetIgnoreEmpty()})
	case r.GetUint32() != nil:
		n := r.GetUint32()
		return unsigned(n.Gt, n.Gte, n.Lt, n.Lte, n.GetIgnoreEmpty())
	case r.GetUint64() != nil:
		n := r.GetUint64()
		return unsigned(n.Gt, n.Gte, n.Lt, n.Lte, n.GetIgnoreEmpty())
	case r.GetDouble() != nil:
		return doubleRule(r.GetDouble())
	case r.GetEnum() != nil:
		return enumRule(fd, r.GetEnum())
	case r.GetDuration() != nil:
		d := r.GetDuration()
		switch {
		case d.Gt != nil:
			return shape.Rule{Kind: shape.Duration, Lo: nanos(d.Gt) + 1}
		case d.Gte != nil:
			return shape.Rule{Kind: shape.Duration, Lo: nanos(d.Gte)}
		}
	}
	return shape.Rule{}
}

func nanos(d *durationpb.Duration) uint64 { return uint64(d.AsDuration()) }

func textRule(s *validate.StringRules) shape.Rule {
	r := shape.Rule{Kind: shape.TextLen, Lo: max(s.GetMinLen(), s.GetMinBytes()), Hi: orMax(s.MaxLen), SkipIf: s.GetIgnoreEmpty()}
	if s.MaxBytes != nil {
		r.Hi = min(r.Hi, s.GetMaxBytes())
	}
	r.Plain = s.GetWellKnownRegex() != validate.KnownRegex_UNKNOWN
	return bounded(r)
}

func bounded(r shape.Rule) shape.Rule {
	if r.Lo == 0 && r.Hi == math.MaxUint64 && !r.Plain {
		return shape.Rule{}
	}
	return r
}

func orMax(p *uint64) uint64 {
	if p == nil {
		return math.MaxUint64
	}
	return *p
}

func unsigned[T uint32 | uint64](gt, gte, lt, lte *T, skip bool) shape.Rule {
	r := shape.Rule{Kind: shape.Unsigned, Hi: math.MaxUint64, SkipIf: skip}
	switch {
	case gt != nil:
		r.Lo = uint64(*gt) + 1
	case gte != nil:
		r.Lo = uint64(*gte)
	}
	switch {
	case lt != nil:
		r.Hi = uint64(*lt) - 1
	case lte != nil:
		r.Hi = uint64(*lte)
	}
	return bounded(r)
}

func doubleRule(n *validate.DoubleRules) shape.Rule {
	lo, hi := math.Inf(-1), math.Inf(1)
	switch {
	case n.Gt != nil:
		lo = math.Nextafter(n.GetGt(), math.Inf(1))
	case n.Gte != nil:
		lo = n.GetGte()
	}
	switch {
	case n.Lt != nil:
		hi = math.Nextafter(n.GetLt(), math.Inf(-1))
	case n.Lte != nil:
		hi = n.GetLte()
	}
	return shape.Rule{Kind: shape.Double, Lo: math.Float64bits(lo), Hi: math.Float64bits(hi)}
}

func enumRule(fd protoreflect.FieldDescriptor, e *validate.EnumRules) shape.Rule {
	if fd.Enum() == nil || !e.GetDefinedOnly() && len(e.GetNotIn()) == 0 {
		return shape.Rule{}
	}
	var known uint64
	vs := fd.Enum().Values()
	for i := range vs.Len() {
		n := vs.Get(i).Number()
		if n < 0 || n > 63 {
			return shape.Rule{}
		}
		known |= 1 << n
	}
	for _, n := range e.GetNotIn() {
		known &^= 1 << n
	}
	if !e.GetDefinedOnly() {
		return shape.Rule{}
	}
	return shape.Rule{Kind: shape.Enum, Lo: known}
}

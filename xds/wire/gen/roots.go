package main

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// fixedRoots are the resources and those contents of an Any that are not below envoy.extensions.
var fixedRoots = []string{
	"envoy.config.cluster.v3.Cluster",
	"envoy.config.core.v3.TypedExtensionConfig",
	"envoy.config.endpoint.v3.ClusterLoadAssignment",
	"envoy.config.listener.v3.Listener",
	"envoy.config.route.v3.FilterConfig",
	"envoy.config.route.v3.RouteConfiguration",
	"envoy.config.route.v3.VirtualHost",
	"envoy.config.trace.v3.DatadogConfig",
	"envoy.config.trace.v3.DynamicOtConfig",
	"envoy.config.trace.v3.OpenTelemetryConfig",
	"envoy.config.trace.v3.SkyWalkingConfig",
	"envoy.config.trace.v3.ZipkinConfig",
	"envoy.tcp.metadataexchange.config.MetadataExchange",
	"google.protobuf.BoolValue",
	"google.protobuf.BytesValue",
	"google.protobuf.Empty",
	"google.protobuf.StringValue",
	"google.protobuf.Struct",
	"google.protobuf.UInt32Value",
	"istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
	nameTable,
	"stats.PluginConfig",
	"udpa.type.v1.TypedStruct",
	"xds.type.v3.TypedStruct",
}

// rootNames returns every message that may arrive as a resource or inside an Any.
func rootNames() []string {
	names := slices.Clone(fixedRoots)
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(f.Package()), "envoy.extensions.") {
			return true
		}
		for i := range f.Messages().Len() {
			names = append(names, string(f.Messages().Get(i).FullName()))
		}
		return true
	})
	slices.Sort(names)
	return slices.Compact(names)
}

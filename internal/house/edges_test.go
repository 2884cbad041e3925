package house_test

import (
	"slices"
	"strings"
)

// edges says which packages of this module each package may import. The arrows
// point down only; a new one is a decision about the architecture.
var edges = map[string][]string{
	// Leaves: the standard library and each other.
	"flow":          {},
	"sock":          {},
	"sock/socktest": {},
	"proxy/httpmsg": {},
	"match":         {"proxy/httpmsg"},
	"route":         {"match", "proxy/httpmsg"},
	"authz":         {"flow", "match", "proxy/httpmsg"},
	"config":        {},
	"resolve":       {},
	"dnat":          {},
	"dnat/apply":    {"dnat"},
	"dnat/initcmd":  {"dnat", "dnat/apply"},

	// The spine.
	"lb":             {"flow"},
	"mtls":           {"flow"},
	"mtls/ca":        {"mtls"},
	"mtls/mtlstest":  {"mtls"},
	"mtls/ca/catest": {"mtls/mtlstest"},
	"proxy/buffer":   {},
	"proxy/crash":    {},
	"proxy/tunnel":   {"proxy/buffer", "proxy/crash"},
	"proxy/http1":    {"flow", "proxy/buffer", "proxy/crash", "proxy/httpmsg", "proxy/tunnel", "sock"},
	"proxy/http2":    {"flow", "proxy/buffer", "proxy/crash", "proxy/httpmsg", "proxy/tunnel", "sock"},
	"outlier":        {"lb"},
	"upstream":       {"flow", "lb", "mtls", "outlier", "proxy/crash", "proxy/http1", "proxy/http2", "proxy/httpmsg"},
	"proxy":          {"flow", "lb", "match", "mtls", "outlier", "proxy/buffer", "proxy/crash", "proxy/http1", "proxy/http2", "proxy/httpmsg", "proxy/tunnel", "route", "sock", "upstream"},
	"proxy/filter":   {"authz", "flow", "match", "proxy", "proxy/httpmsg"},

	// What observes and answers locally.
	"telemetry":           {"flow", "telemetry/metrics"},
	"telemetry/accesslog": {"flow"},
	"telemetry/metrics":   {"flow"},
	"admin":               {"telemetry/metrics"},
	"probes":              {},

	// Configuration.
	"xds":            {"xds/slab", "xds/wire"},
	"xds/slab":       {},
	"xds/slab/gen":   {"xds/slab", "xds/wire"},
	"xds/wire":       {"xds/wire/shape"},
	"xds/wire/shape": {},
	"xds/wire/gen":   {"xds/wire/shape"},
	"xds/compile": {
		"authz", "flow", "lb", "match", "mtls", "outlier", "proxy", "proxy/filter", "proxy/http1", "proxy/http2", "proxy/httpmsg", "resolve", "route", "telemetry/accesslog", "upstream",
		"xds", "xds/wire",
	},

	// The benchmark.
	"bench":        {"bench/echo", "bench/feed", "bench/load", "bench/peers", "bench/proc", "bench/report"},
	"bench/echo":   {"bench/frame"},
	"bench/feed":   {},
	"bench/frame":  {},
	"bench/load":   {"bench/frame", "bench/poll"},
	"bench/poll":   {"sock"},
	"bench/peers":  {"bench/feed", "bench/report"},
	"bench/proc":   {},
	"bench/report": {},

	// Those who know everything.
	"sidecar":                         {"*"},
	"cmd/outrigger":                   {"bench", "bench/echo", "config", "dnat/initcmd", "sidecar"},
	"cmd/outrigger-init":              {"dnat/initcmd"},
	"internal/house":                  {},
	"internal/leak":                   {},
	"proxy/httpmsg/msgtest":           {"proxy/httpmsg"},
	"internal/oracle":                 {},
	"internal/acceptance":             {"internal/testmesh"},
	"internal/conformance":            {"internal/testmesh"},
	"internal/testmesh":               {"internal/testmesh/build", "internal/testmesh/echo", "internal/testmesh/kubestub", "internal/testmesh/launch", "internal/testmesh/netns", "internal/testmesh/pki"},
	"internal/testmesh/build":         {},
	"internal/testmesh/cmd/meshbuild": {"internal/testmesh/build"},
	"internal/testmesh/cmd/meshpod":   {"internal/testmesh/echo", "internal/testmesh/launch"},
	"internal/testmesh/echo":          {},
	"internal/testmesh/kubestub":      {"internal/testmesh/pki"},
	"internal/testmesh/launch":        {},
	"internal/testmesh/netns":         {},
	"internal/testmesh/pki":           {},
	"internal/testmesh/shop":          {},
	"internal/demo":                   {"internal/testmesh", "internal/testmesh/echo", "internal/testmesh/shop"},
	"internal/meshbench":              {"bench", "bench/echo", "bench/peers", "bench/report", "internal/relay", "internal/testmesh"},
	"internal/relay":                  {},
	"internal/twin":                   {"internal/relay", "internal/testmesh", "internal/testmesh/pki"},
	"internal/twin/cmd/twin":          {"internal/twin"},
}

// room is a rule about packages from outside.
type room struct {
	prefix string
	below  []string
	why    string
}

func (r *room) matches(imp string) bool {
	return imp == r.prefix || strings.HasPrefix(imp, strings.TrimSuffix(r.prefix, "/")+"/")
}

func (r *room) allows(name string) bool {
	return slices.ContainsFunc(r.below, func(b string) bool { return name == b || strings.HasPrefix(name, b+"/") })
}

// tests lists the rooms that are only there for tests and demonstrations.
var rooms = []room{
	{"github.com/envoyproxy/go-control-plane", []string{"xds", "admin", "sidecar", "internal", "bench/feed"}, "Envoy's messages stay below xds/"},
	{"github.com/cncf/xds", []string{"xds", "internal"}, "xDS messages stay below xds/"},
	{"istio.io/api", []string{"xds", "mtls/ca", "internal", "bench/feed"}, "Istio's messages stay below xds/ and in the CA's client"},
	{"google.golang.org/protobuf", []string{"xds", "admin", "mtls/ca", "sidecar", "internal", "bench/feed"}, "messages are compiled before the data path sees them"},
	{"google.golang.org/grpc", []string{"xds", "mtls/ca", "sidecar", "internal", "bench/feed"}, "gRPC is for the control plane's connections"},
	{"net/http", []string{"admin", "probes", "telemetry", "sidecar", "internal", "cmd", "xds/compile", "bench"}, "the data path has its own codecs"},
}

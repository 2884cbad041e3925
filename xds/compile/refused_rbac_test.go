package compile_test

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	netrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	templatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	v1alpha1 "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
)

const (
	rbacName    = "envoy.config.rbac.v3."
	httpRBAC    = "envoy.extensions.filters.http.rbac.v3.RBAC"
	networkRBAC = "envoy.extensions.filters.network.rbac.v3.RBAC"
)

// anyRule and anyID are a policy's halves that match everything.
func anyRule() *rbacv3.Permission { return &rbacv3.Permission{Rule: &rbacv3.Permission_Any{Any: true}} }

func anyID() *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Any{Any: true}}
}

func oneOf(what *rbacv3.Permission, who *rbacv3.Principal) *rbacv3.RBAC {
	return &rbacv3.RBAC{Policies: map[string]*rbacv3.Policy{
		"one": {Permissions: []*rbacv3.Permission{what}, Principals: []*rbacv3.Principal{who}},
	}}
}

// onRequests and onConnections are listeners with a policy.
func onRequests(m *httprbacv3.RBAC) func(*testing.T, *listenerv3.Listener) {
	return func(t *testing.T, l *listenerv3.Listener) {
		t.Helper()
		c := spoiled{manager: guard("envoy.filters.http.rbac", m)}
		c.spoil(t, l)
	}
}

func onConnections(m *netrbacv3.RBAC) func(*testing.T, *listenerv3.Listener) {
	if m.GetStatPrefix() == "" {
		m.StatPrefix = "tcp."
	}
	return gate("envoy.filters.network.rbac", m)
}

// may and by are listeners with one policy for requests.
func may(p *rbacv3.Permission) func(*testing.T, *listenerv3.Listener) {
	return onRequests(&httprbacv3.RBAC{Rules: oneOf(p, anyID())})
}

func by(p *rbacv3.Principal) func(*testing.T, *listenerv3.Listener) {
	return onRequests(&httprbacv3.RBAC{Rules: oneOf(anyRule(), p)})
}

func policy(change func(*rbacv3.Policy)) func(*testing.T, *listenerv3.Listener) {
	rules := oneOf(anyRule(), anyID())
	change(rules.GetPolicies()["one"])
	return onRequests(&httprbacv3.RBAC{Rules: rules})
}

func matching403() *xdsmatcherv3.Matcher {
	return &xdsmatcherv3.Matcher{OnNoMatch: &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
		Action: &xdscorev3.TypedExtensionConfig{Name: "x", TypedConfig: mustPack(&rbacv3.Action{Name: "x"})},
	}}}
}

func claim() *matcherv3.MetadataMatcher {
	return &matcherv3.MetadataMatcher{
		Filter: "envoy.filters.http.jwt_authn", Path: []*matcherv3.MetadataMatcher_PathSegment{{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: "payload"}}},
		Value: &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_PresentMatch{PresentMatch: true}},
	}
}

func extension(m proto.Message) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: "x", TypedConfig: mustPack(m)}
}

func template(pattern string) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_UriTemplate{UriTemplate: extension(&templatev3.UriTemplateMatchConfig{PathTemplate: pattern})}}
}

func refusedPolicies() []spoiled {
	const rules = "typed_config.rules"
	header := &routev3.HeaderMatcher{Name: "x", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}
	expr := &v1alpha1.Expr{ExprKind: &v1alpha1.Expr_ConstExpr{ConstExpr: &v1alpha1.Constant{ConstantKind: &v1alpha1.Constant_BoolValue{BoolValue: true}}}}
	return []spoiled{
		{of: httpRBAC + ".matcher", want: "typed_config.matcher: is not supported", listener: onRequests(&httprbacv3.RBAC{Matcher: matching403()})},
		{of: httpRBAC + ".shadow_matcher", want: "typed_config.shadow_matcher: is not supported", listener: onRequests(&httprbacv3.RBAC{ShadowMatcher: matching403()})},
		{of: networkRBAC + ".matcher", want: "typed_config.matcher: is not supported", listener: onConnections(&netrbacv3.RBAC{Matcher: matching403()})},
		{of: networkRBAC + ".shadow_matcher", want: "typed_config.shadow_matcher: is not supported", listener: onConnections(&netrbacv3.RBAC{ShadowMatcher: matching403()})},
		{of: networkRBAC + ".delay_deny", want: "typed_config.delay_deny: is not supported", listener: onConnections(&netrbacv3.RBAC{DelayDeny: durationpb.New(1)})},
		{of: networkRBAC + ".rules", want: "typed_config: a connection has no headers", listener: onConnections(&netrbacv3.RBAC{
			Rules: oneOf(&rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: header}}, anyID()),
		})},
		{of: rbacName + "RBAC.audit_logging_options", want: rules + ".audit_logging_options: is not supported", listener: onRequests(&httprbacv3.RBAC{
			Rules: &rbacv3.RBAC{AuditLoggingOptions: &rbacv3.RBAC_AuditLoggingOptions{AuditCondition: rbacv3.RBAC_AuditLoggingOptions_ON_DENY}},
		})},
		{of: rbacName + "RBAC.action", want: "action", listener: onRequests(&httprbacv3.RBAC{Rules: &rbacv3.RBAC{Action: 7}})},
		{of: rbacName + "Policy.condition", want: rules + ".policies[one].condition: is not supported", listener: policy(func(p *rbacv3.Policy) { p.Condition = expr })},
		{of: rbacName + "Policy.checked_condition", want: rules + ".policies[one].checked_condition: is not supported", listener: policy(func(p *rbacv3.Policy) {
			p.CheckedCondition = &v1alpha1.CheckedExpr{Expr: expr}
		})},
		{of: rbacName + "Policy.cel_config", want: rules + ".policies[one].cel_config: is not supported", listener: policy(func(p *rbacv3.Policy) {
			p.CelConfig = &corev3.CelExpressionConfig{EnableStringConversion: true}
		})},
		{of: rbacName + "Policy.permissions", want: "permissions", listener: policy(func(p *rbacv3.Policy) { p.Permissions = nil })},
		{of: rbacName + "Policy.principals", want: "principals", listener: policy(func(p *rbacv3.Policy) { p.Principals = nil })},
		{of: rbacName + "Permission.any", want: "any", listener: may(&rbacv3.Permission{Rule: &rbacv3.Permission_Any{}})},
		{of: rbacName + "Permission.metadata", want: "permissions[0]: permission metadata is not supported", listener: may(&rbacv3.Permission{Rule: &rbacv3.Permission_Metadata{Metadata: claim()}})},
		{of: rbacName + "Permission.sourced_metadata", want: "permissions[0]: permission sourced_metadata is not supported", listener: may(&rbacv3.Permission{
			Rule: &rbacv3.Permission_SourcedMetadata{SourcedMetadata: &rbacv3.SourcedMetadata{MetadataMatcher: claim()}},
		})},
		{of: rbacName + "Permission.matcher", want: "permissions[0]: permission matcher is not supported", listener: may(&rbacv3.Permission{
			Rule: &rbacv3.Permission_Matcher{Matcher: extension(&xdstypev3.TypedStruct{TypeUrl: "x/x"})},
		})},
		{of: rbacName + "Permission.uri_template", want: "permissions[0].uri_template: invalid policy", listener: may(template("/a*b"))},
		{of: rbacName + "Permission.destination_port", want: "destination_port", listener: may(&rbacv3.Permission{Rule: &rbacv3.Permission_DestinationPort{DestinationPort: 70_000}})},
		{of: rbacName + "Permission.destination_port_range", want: "permissions[0].destination_port_range: no port", listener: may(&rbacv3.Permission{
			Rule: &rbacv3.Permission_DestinationPortRange{DestinationPortRange: &typev3.Int32Range{Start: 7, End: 7}},
		})},
		{of: rbacName + "Permission.destination_ip", want: `permissions[0].destination_ip`, listener: may(&rbacv3.Permission{
			Rule: &rbacv3.Permission_DestinationIp{DestinationIp: &corev3.CidrRange{AddressPrefix: "10.0.0.0", PrefixLen: wrapperspb.UInt32(40)}},
		})},
		{of: rbacName + "Principal.metadata", want: "principals[0]: principal metadata is not supported", listener: by(&rbacv3.Principal{Identifier: &rbacv3.Principal_Metadata{Metadata: claim()}})},
		{of: rbacName + "Principal.sourced_metadata", want: "principals[0]: principal sourced_metadata is not supported", listener: by(&rbacv3.Principal{
			Identifier: &rbacv3.Principal_SourcedMetadata{SourcedMetadata: &rbacv3.SourcedMetadata{MetadataMatcher: claim()}},
		})},
		{of: rbacName + "Principal.custom", want: "principals[0]: principal custom is not supported", listener: by(&rbacv3.Principal{
			Identifier: &rbacv3.Principal_Custom{Custom: extension(&xdstypev3.TypedStruct{TypeUrl: "x/x"})},
		})},
		{of: rbacName + "Principal.filter_state", want: `principals[0].filter_state.key: "x" is not supported`, listener: by(&rbacv3.Principal{
			Identifier: &rbacv3.Principal_FilterState{FilterState: &matcherv3.FilterStateMatcher{
				Key: "x", Matcher: &matcherv3.FilterStateMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "x"}}},
			}},
		})},
		{of: "envoy.type.matcher.v3.FilterStateMatcher.address_match", want: `principals[0].filter_state.address_match: is not supported`, listener: by(&rbacv3.Principal{
			Identifier: &rbacv3.Principal_FilterState{FilterState: &matcherv3.FilterStateMatcher{
				Key: "io.istio.peer_principal", Matcher: &matcherv3.FilterStateMatcher_AddressMatch{AddressMatch: new(matcherv3.AddressMatcher)},
			}},
		})},
	}
}

// mustPack is packed for tables.
func mustPack(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return a
}

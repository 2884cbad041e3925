package compile

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/outrigger-mesh/outrigger/match"
	"github.com/outrigger-mesh/outrigger/mtls"
)

// Transport sockets that can be enforced.
const (
	rawBufferType     = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
	upstreamTLSType   = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
	downstreamTLSType = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
)

// upstreamSocket compiles a cluster's transport socket; nil is plain text.
func (c *Compiler) upstreamSocket(s scope, ts *corev3.TransportSocket) *mtls.Client {
	cfg := ts.GetTypedConfig()
	switch {
	case ts == nil || holds(cfg, rawBufferType):
		return nil
	case !holds(cfg, upstreamTLSType):
		s.in("typed_config").fail("transport socket %q is not supported", cfg.GetTypeUrl())
		return nil
	}
	var ctx tlsv3.UpstreamTlsContext
	if !s.in("typed_config").check(unpack(cfg, &ctx)) {
		return nil
	}
	s.only(&ctx, "common_tls_context", "sni", "allow_renegotiation", "max_session_keys", "enforce_rsa_key_usage")
	s = s.in("common_tls_context")
	common := ctx.GetCommonTlsContext()
	onlyCommon(s, common)
	spec := mtls.ClientSpec{SNI: ctx.GetSni(), ALPN: common.GetAlpnProtocols(), Params: tlsParams(s, common.GetTlsParams())}
	spec.Cert = c.certificate(s, common)
	validation := c.validation(s, common)
	spec.Roots, spec.MatchSANs = validation.roots, validation.sans
	spec.InsecureSkipVerify = validation.roots == nil
	if spec.InsecureSkipVerify && len(spec.MatchSANs) > 0 {
		s.fail("names are to be checked without trusted roots")
		return nil
	}
	client, err := mtls.NewClient(spec)
	s.check(err)
	return client
}

// downstreamTLS compiles a filter chain's transport socket; nil is plain text.
func (c *Compiler) downstreamTLS(s scope, ts *corev3.TransportSocket) *mtls.Server {
	cfg := ts.GetTypedConfig()
	switch {
	case ts == nil || holds(cfg, rawBufferType):
		return nil
	case !holds(cfg, downstreamTLSType):
		s.in("typed_config").fail("transport socket %q is not supported", cfg.GetTypeUrl())
		return nil
	}
	var ctx tlsv3.DownstreamTlsContext
	if !s.in("typed_config").check(unpack(cfg, &ctx)) {
		return nil
	}
	s.only(&ctx, "common_tls_context", "require_client_certificate", "session_timeout", "prefer_client_ciphers",
		"disable_stateful_session_resumption", "full_scan_certs_on_sni_mismatch")
	s = s.in("common_tls_context")
	common := ctx.GetCommonTlsContext()
	onlyCommon(s, common)
	spec := mtls.ServerSpec{
		RequireClientCert: truth(ctx.GetRequireClientCertificate(), false),
		ALPN:              common.GetAlpnProtocols(),
		Params:            tlsParams(s, common.GetTlsParams()),
		Cert:              c.certificate(s, common),
	}
	validation := c.validation(s, common)
	spec.Roots, spec.MatchSANs = validation.roots, validation.sans
	if spec.Cert == nil {
		s.fail("no certificate is named")
		return nil
	}
	if spec.RequireClientCert && spec.Roots == nil {
		s.fail("a client certificate is required, but no trusted roots are named")
		return nil
	}
	server, err := mtls.NewServer(spec)
	s.check(err)
	return server
}

// onlyCommon refuses what is not understood of a TLS context's common part.
func onlyCommon(s scope, common *tlsv3.CommonTlsContext) {
	s.only(common, "tls_params", "tls_certificate_sds_secret_configs", "validation_context",
		"validation_context_sds_secret_config", "combined_validation_context", "alpn_protocols")
}

func (c *Compiler) certificate(s scope, common *tlsv3.CommonTlsContext) *mtls.Secret {
	sds := common.GetTlsCertificateSdsSecretConfigs()
	switch len(sds) {
	case 0:
		return nil
	case 1:
		return c.secret(s.at("tls_certificate_sds_secret_configs", 0), sds[0].GetName())
	default:
		s.in("tls_certificate_sds_secret_configs").fail("more than one certificate is not supported")
		return nil
	}
}

// secret finds a secret that is kept locally; others would have to be fetched.
func (c *Compiler) secret(s scope, name string) *mtls.Secret {
	local := name == mtls.WorkloadCert || name == mtls.WorkloadRoots ||
		strings.HasPrefix(name, "file-cert:") || strings.HasPrefix(name, "file-root:")
	if !local {
		s.fail("secret %q is not one that a sidecar keeps", name)
		return nil
	}
	return c.secrets.Get(name)
}

// validation is what a peer's certificate has to satisfy. Without roots nothing
// is asked of it.
type validation struct {
	roots *mtls.Secret
	sans  []mtls.SANMatcher
}

func (c *Compiler) validation(s scope, common *tlsv3.CommonTlsContext) validation {
	switch v := common.GetValidationContextType().(type) {
	case nil:
		return validation{}
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		return validation{roots: c.secret(s.in("validation_context_sds_secret_config"), v.ValidationContextSdsSecretConfig.GetName())}
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		cs := s.in("combined_validation_context")
		combined := v.CombinedValidationContext
		out := c.staticValidation(cs.in("default_validation_context"), combined.GetDefaultValidationContext())
		if name := combined.GetValidationContextSdsSecretConfig().GetName(); name != "" {
			out.roots = c.secret(cs.in("validation_context_sds_secret_config"), name)
		}
		return out
	case *tlsv3.CommonTlsContext_ValidationContext:
		out := c.staticValidation(s.in("validation_context"), v.ValidationContext)
		return out
	default:
		s.fail("validation context %T is not supported", v)
		return validation{}
	}
}

// staticValidation compiles inline rules. Each field that narrows trust has to be
// understood: an unknown one is an error, never ignored.
func (c *Compiler) staticValidation(s scope, v *tlsv3.CertificateValidationContext) validation {
	s.only(v, "match_subject_alt_names", "match_typed_subject_alt_names")
	out := validation{}
	for i, m := range v.GetMatchSubjectAltNames() {
		out.sans = append(out.sans, sanMatcher(s.at("match_subject_alt_names", i), mtls.AnySAN, m))
	}
	for i, m := range v.GetMatchTypedSubjectAltNames() {
		ms := s.at("match_typed_subject_alt_names", i)
		out.sans = append(out.sans, sanMatcher(ms, sanType(ms, m.GetSanType()), m.GetMatcher()))
	}
	return out
}

func sanType(s scope, t tlsv3.SubjectAltNameMatcher_SanType) mtls.SANType {
	switch t {
	case tlsv3.SubjectAltNameMatcher_URI:
		return mtls.URISAN
	case tlsv3.SubjectAltNameMatcher_DNS:
		return mtls.DNSSAN
	case tlsv3.SubjectAltNameMatcher_EMAIL:
		return mtls.EmailSAN
	case tlsv3.SubjectAltNameMatcher_IP_ADDRESS:
		return mtls.IPSAN
	case tlsv3.SubjectAltNameMatcher_OTHER_NAME, tlsv3.SubjectAltNameMatcher_SAN_TYPE_UNSPECIFIED:
	}
	s.in("san_type").fail("%v is not supported", t)
	return mtls.AnySAN
}

func sanMatcher(s scope, t mtls.SANType, m *matcherv3.StringMatcher) mtls.SANMatcher {
	out := mtls.SANMatcher{Type: t, IgnoreCase: m.GetIgnoreCase()}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		out.Kind, out.Value = mtls.SANExact, p.Exact
	case *matcherv3.StringMatcher_Prefix:
		out.Kind, out.Value = mtls.SANPrefix, p.Prefix
	case *matcherv3.StringMatcher_Suffix:
		out.Kind, out.Value = mtls.SANSuffix, p.Suffix
	case *matcherv3.StringMatcher_Contains:
		out.Kind, out.Value = mtls.SANContains, p.Contains
	case *matcherv3.StringMatcher_SafeRegex:
		re, err := match.FullRegexp(p.SafeRegex.GetRegex())
		if s.check(err) {
			out.Kind, out.Value, out.Func = mtls.SANFunc, p.SafeRegex.GetRegex(), re.MatchString
		}
	default:
		s.fail("string matcher %T is not supported", p)
	}
	return out
}

func tlsParams(s scope, p *tlsv3.TlsParameters) mtls.Params {
	s = s.in("tls_params")
	s.only(p, "tls_minimum_protocol_version", "tls_maximum_protocol_version", "cipher_suites", "ecdh_curves")
	var out mtls.Params
	var err error
	out.MinVersion, err = mtls.ParseVersion(p.GetTlsMinimumProtocolVersion().String())
	s.in("tls_minimum_protocol_version").check(err)
	out.MaxVersion, err = mtls.ParseVersion(p.GetTlsMaximumProtocolVersion().String())
	s.in("tls_maximum_protocol_version").check(err)
	out.CipherSuites, err = mtls.ParseCiphers(p.GetCipherSuites())
	s.in("cipher_suites").check(err)
	out.Curves, err = mtls.ParseCurves(p.GetEcdhCurves())
	s.in("ecdh_curves").check(err)
	return out
}

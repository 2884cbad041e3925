package compile

import (
	"strings"
	"unique"

	sessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	cookiev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/filter"
)

const (
	sessionType       = "envoy.extensions.filters.http.stateful_session.v3.StatefulSession"
	sessionCookieType = "envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState"
	sessionHeaderType = "envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState"
)

// sessions compiles the filter of a chain.
func (c *Compiler) sessions(s scope, f *hcmv3.HttpFilter) proxy.Filter {
	var m sessionv3.StatefulSession
	if !s.check(unpack(f.GetTypedConfig(), &m)) {
		return nil
	}
	return filter.NewSessions(unique.Make(f.GetName()), sessionSpec(s, &m))
}

// sessionSetting compiles what a route says.
func sessionSetting(s scope, m *sessionv3.StatefulSessionPerRoute) filterSetting {
	if m.GetDisabled() {
		return filterSetting{disabled: true}
	}
	return filterSetting{config: sessionSpec(s.in("stateful_session"), m.GetStatefulSession())}
}

// sessionSpec is nil where no state is configured.
func sessionSpec(s scope, m *sessionv3.StatefulSession) *filter.SessionSpec {
	state := m.GetSessionState().GetTypedConfig()
	if state == nil {
		return nil
	}
	s = s.in("session_state")
	out := &filter.SessionSpec{Strict: m.GetStrict()}
	switch kind := anyType(state); kind {
	case sessionCookieType:
		var by cookiev3.CookieBasedSessionState
		if s.check(unpack(state, &by)) && by.GetCookie().GetName() == "" {
			s.in("cookie.name").fail("is empty")
		}
		var pairs [][2]string
		for _, a := range by.GetCookie().GetAttributes() {
			pairs = append(pairs, [2]string{a.GetName(), a.GetValue()})
		}
		out.Name, out.Path = by.GetCookie().GetName(), by.GetCookie().GetPath()
		out.New = proxy.NewCookie{
			TTL: duration(by.GetCookie().GetTtl(), 0), Attributes: proxy.CookieAttributes(out.Path, pairs...),
		}
	case sessionHeaderType:
		var by headerv3.HeaderBasedSessionState
		if s.check(unpack(state, &by)) && by.GetName() == "" {
			s.in("name").fail("is empty")
		}
		out.Header = strings.ToLower(by.GetName())
	default:
		s.fail("%s is not supported", kind)
	}
	return out
}

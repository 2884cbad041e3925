package compile

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/outrigger-mesh/outrigger/proxy/http2"
)

// keepAliveTimeout is how long an answer to a ping may take where nothing is said: the
// field is required, so that is what an empty duration stands for in Envoy.
const keepAliveTimeout = time.Minute

// keepAliveJitter is Envoy's default, in per cent.
const keepAliveJitter = 15

// http2Settings compiles the options of HTTP/2 connections, of either side; none are
// the defaults.
func http2Settings(s scope, o *corev3.Http2ProtocolOptions) http2.Settings {
	out := http2.Settings{
		MaxConcurrentStreams: number(o.GetMaxConcurrentStreams(), 0),
		InitialStreamWindow:  number(o.GetInitialStreamWindowSize(), 0),
		InitialConnWindow:    number(o.GetInitialConnectionWindowSize(), 0),
		AllowConnect:         o.GetAllowConnect(),
	}
	if t := o.GetHpackTableSize(); t != nil {
		if out.HeaderTableSize = t.GetValue(); out.HeaderTableSize == 0 {
			out.HeaderTableSize = http2.NoHeaderTable
		}
	}
	if k := o.GetConnectionKeepalive(); k != nil {
		out.KeepAlive = http2.KeepAlive{
			Interval: duration(k.GetInterval(), 0), Timeout: duration(k.GetTimeout(), keepAliveTimeout), Jitter: keepAliveJitter,
		}
		if j := k.GetIntervalJitter(); j != nil {
			out.KeepAlive.Jitter = uint32(min(max(j.GetValue(), 0), 100))
		}
	}
	if len(o.GetCustomSettingsParameters()) > 0 {
		s.in("http2_protocol_options.custom_settings_parameters").fail("is not supported")
	}
	out.Floods = http2.FloodLimits{
		OutboundFrames:        int(number(o.GetMaxOutboundFrames(), 0)),
		OutboundControlFrames: int(number(o.GetMaxOutboundControlFrames(), 0)),
		PriorityPerStream:     int(number(o.GetMaxInboundPriorityFramesPerStream(), 0)),
		WindowUpdatesPerData:  int(number(o.GetMaxInboundWindowUpdateFramesPerDataFrameSent(), 0)),
	}
	if e := o.GetMaxConsecutiveInboundFramesWithEmptyPayload(); e != nil {
		if out.Floods.EmptyFrames = int(e.GetValue()); out.Floods.EmptyFrames == 0 {
			out.Floods.EmptyFrames = -1
		}
	}
	return out
}

package accesslog_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/telemetry/accesslog"
)

func FuzzParseText(f *testing.F) {
	f.Add(accesslog.IstioTextFormat, "curl/8")
	f.Add(accesslog.EnvoyTextFormat, "a\r\nb")
	f.Add("%REQ(A?B):5% %START_TIME(%Y-%m-%d %E3S)% %%", "\xff")
	f.Add("%CEL(a(b)c)%%TRACE_ID%", "\x00")
	f.Fuzz(func(t *testing.T, format, agent string) {
		parsed, err := accesslog.ParseText(format, accesslog.Environment{}, false)
		if err != nil {
			return
		}
		r := outboundHTTP()
		r.Request.Head = head{"user-agent", agent}
		line := string(parsed.Append(nil, r))
		if strings.Count(line, "\n") > strings.Count(format, "\n") {
			t.Errorf("format %q and agent %q gave additional lines: %q", format, agent, line)
		}
		wrapped, err := accesslog.ParseJSON([]accesslog.Field{{Key: "k", Value: format}}, accesslog.Environment{}, false)
		if err != nil {
			t.Fatalf("valid as text, invalid as JSON: %v", err)
		}
		if line := wrapped.Append(nil, r); !json.Valid(line) {
			t.Errorf("format %q and agent %q gave invalid JSON %q", format, agent, line)
		}
	})
}

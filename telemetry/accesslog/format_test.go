package accesslog_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/telemetry/accesslog"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func mustText(t *testing.T, format string) *accesslog.Format {
	t.Helper()
	f, err := accesslog.ParseText(format, accesslog.Environment{}, false)
	if err != nil {
		t.Fatalf("ParseText(%q): %v", format, err)
	}
	return f
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs\n got: %s\nwant: %s", path, got, want)
	}
}

func TestDefaultFormatsPrintKnownLines(t *testing.T) {
	records := []*flow.Record{outboundHTTP(), inboundMTLS(), refused(), tcp()}
	for name, format := range map[string]string{
		"istio.txt": accesslog.IstioTextFormat,
		"envoy.txt": accesslog.EnvoyTextFormat,
	} {
		t.Run(name, func(t *testing.T) {
			f := mustText(t, format)
			var got []byte
			for _, r := range records {
				got = f.Append(got, r)
			}
			golden(t, name, got)
			if unanswered := f.Unanswered(); len(unanswered) != 0 {
				t.Errorf("the default format has unanswered operators %q", unanswered)
			}
		})
	}
}

func TestOperatorsRenderAsEnvoyDoes(t *testing.T) {
	withGRPC := outboundHTTP()
	withGRPC.Response.Trailer = head{"grpc-status", "13"}
	derived := outboundHTTP()
	derived.Request.Head, derived.Response.Status = head{"content-type", "application/grpc+proto"}, 503
	original := outboundHTTP()
	original.Request.Head = head{"x-envoy-original-path", "/old?q=1"}
	for _, tt := range []struct {
		format string
		record *flow.Record
		want   string
	}{
		{"plain", outboundHTTP(), "plain"},
		{"100%%", outboundHTTP(), "100%"},
		{"%REQ(:METHOD):2%", outboundHTTP(), "GE"},
		{"%REQ(User-Agent)%", outboundHTTP(), "curl/8.9"},
		{"%REQ(HOST)%", outboundHTTP(), "reviews:9080"},
		{"%REQ(:SCHEME)%", inboundMTLS(), "http"},
		{"%REQ(X-NONE)%", outboundHTTP(), "-"},
		{"%REQ(X-NONE?USER-AGENT):4%", outboundHTTP(), "curl"},
		{"%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", original, "/old?q=1"},
		{"%REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH)%", original, "/old"},
		{"%PATH%", original, "/old?q=1"},
		{"%PATH(NQ:PATH)%", original, "/reviews/7"},
		{"%PATH(WQ:ORIG)%", outboundHTTP(), "-"},
		{"%QUERY_PARAM(lang)% %QUERY_PARAM(flat)% %QUERY_PARAM(no)%", outboundHTTP(), "en  -"},
		{"%QUERY_PARAMS%", outboundHTTP(), "lang=en&flat"},
		{"%RESP(CONTENT-TYPE)%", outboundHTTP(), "application/json"},
		{"%PROTOCOL% %RESPONSE_CODE%", tcp(), "- 0"},
		{"%RESPONSE_FLAGS%", refused(), "URX,UF"},
		{"%RESPONSE_FLAGS_LONG%", refused(), "UpstreamRetryLimitExceeded,UpstreamConnectionFailure"},
		{"%RESPONSE_CODE_DETAILS%", refused(), "upstream_reset_before_response_started{remote_connection_failure}"},
		{"%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%", refused(), "upstream_reset_before_response_started{remote connection failure}"},
		{"%UPSTREAM_TRANSPORT_FAILURE_REASON%", refused(), "delayed_connect_error:_Connection_refused"},
		{"%UPSTREAM_REQUEST_ATTEMPT_COUNT%", refused(), "3"},
		{"%CONNECTION_TERMINATION_DETAILS%", tcp(), "rbac_access_denied_matched_policy[none]"},
		{"%BYTES_RECEIVED% %BYTES_SENT% %DURATION%", outboundHTTP(), "12 375 14"},
		{"%REQUEST_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION%", outboundHTTP(), "2 13 1"},
		{"%RESPONSE_DURATION%", refused(), "-"},
		{"%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%", outboundHTTP(), "14900"},
		{"%COMMON_DURATION(DS_RX_END:DS_TX_BEG)%", outboundHTTP(), "11"},
		{"%COMMON_DURATION(US_TX_BEG:DS_TX_BEG:ms)%", outboundHTTP(), "-"},
		{"%START_TIME%", outboundHTTP(), "2026-03-14T15:09:26.535Z"},
		{"%START_TIME(%Y/%m/%dT%H:%M:%S%z)%", outboundHTTP(), "2026/03/14T15:09:26+0000"},
		{"%START_TIME(%s.%3f)% %START_TIME(%6f)%", outboundHTTP(), "1773500966.535 535897"},
		{"%START_TIME(%E3S|%E*S|%Ez|%%)%", outboundHTTP(), "26.535|26.535897932|+00:00|%"},
		{"%EMIT_TIME%", outboundHTTP(), "2026-03-14T15:09:26.550Z"},
		{"%UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REMOTE_PORT%", outboundHTTP(), "10.0.0.9:9080 10.0.0.9 9080"},
		{"%UPSTREAM_CLUSTER% %UPSTREAM_LOCAL_ADDRESS%", tcp(), "inbound|3306|| [::6]:43000"},
		{"%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_LOCAL_ADDRESS%", outboundHTTP(), "10.96.7.1:9080 127.0.0.1:15001"},
		{"%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", inboundMTLS(), "10.0.0.5:40312 10.0.0.5"},
		{"%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_PORT%", tcp(), "[fd00::5]:40312 3306"},
		{"%REQUESTED_SERVER_NAME%", inboundMTLS(), "outbound_.9080_._.reviews.shop.svc.cluster.local"},
		{"%REQUESTED_SERVER_NAME(SNI_FIRST)%", outboundHTTP(), "reviews:9080"},
		{"%CONNECTION_ID% %FILTER_CHAIN_NAME% %ROUTE_NAME%", outboundHTTP(), "77 default default"},
		{"%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER%", inboundMTLS(), "TLSv1.3 TLS_AES_128_GCM_SHA256"},
		{"%DOWNSTREAM_TLS_VERSION%", outboundHTTP(), "-"},
		{"%DOWNSTREAM_TRANSPORT_FAILURE_REASON%", inboundMTLS(), "-"},
		{"%DOWNSTREAM_TRANSPORT_FAILURE_REASON%", &flow.Record{Conn: &flow.Conn{TLS: flow.TLS{Failure: "TLS_error: no certificate"}}}, "TLS_error:_no_certificate"},
		{"%DOWNSTREAM_PEER_URI_SAN%", inboundMTLS(), "spiffe://cluster.local/ns/shop/sa/web"},
		{"%DOWNSTREAM_PEER_DNS_SAN% %DOWNSTREAM_PEER_SUBJECT%", inboundMTLS(), "a,b -"},
		{"%DOWNSTREAM_PEER_FINGERPRINT_256% %DOWNSTREAM_PEER_SERIAL%", inboundMTLS(), "cd02 60"},
		{"%DOWNSTREAM_PEER_CERT_V_END%", inboundMTLS(), "2026-03-14T16:09:26.000Z"},
		{"%DOWNSTREAM_LOCAL_URI_SAN%", inboundMTLS(), "spiffe://cluster.local/ns/shop/sa/reviews"},
		{"%UPSTREAM_PEER_URI_SAN% %UPSTREAM_PEER_URI_SAN:6%", outboundHTTP(), "spiffe://cluster.local/ns/shop/sa/reviews spiffe"},
		{"%UPSTREAM_PEER_URI_SAN%", tcp(), "-"},
		{"%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER%", withGRPC, "Internal INTERNAL 13 13"},
		{"%GRPC_STATUS%", outboundHTTP(), "-"},
		{"%GRPC_STATUS%", derived, "Unavailable"},
		{"%TRAILER(GRPC-STATUS)%", withGRPC, "13"},
		{"%ACCESS_LOG_TYPE%", tcp(), "TcpConnectionEnd"},
		{"%DYNAMIC_METADATA(a:b)% %CEL(size(x) > 1)% %FILTER_STATE(k:PLAIN):9%", outboundHTTP(), "- - -"},
		{"%HOSTNAME%", outboundHTTP(), "-"},
	} {
		t.Run(tt.format, func(t *testing.T) {
			got := string(mustText(t, tt.format).Append(nil, tt.record))
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestEmptyRecordRendersEveryOperatorWithoutPanic(t *testing.T) {
	var all []byte
	for _, f := range accesslog.OperatorFormats() {
		all = mustText(t, f).Append(all, &flow.Record{})
	}
	if len(all) == 0 {
		t.Error("nothing was rendered")
	}
}

func TestInvalidFormatsAreRefused(t *testing.T) {
	for _, format := range []string{
		"%", "a%b", "%REQ(X", "%REQ(X)", "%NO_SUCH_OPERATOR%", "%REQ%", "%REQ()%", "%REQ(a?)%", "%REQ(a?b?c)%",
		"%REQ(a b)%", "%PROTOCOL(x)%", "%START_TIME(%Q)%", "%START_TIME(%)%", "%START_TIME(%Y\n)%",
		"%REQ(X):99999999999%", "%REQ(X):a%", "%PATH(XX)%", "%COMMON_DURATION(DS_RX_BEG)%",
		"%COMMON_DURATION(A:B)%", "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:h)%", "%GRPC_STATUS(x)%", "%req(X)%",
	} {
		if _, err := accesslog.ParseText(format, accesslog.Environment{}, false); err == nil {
			t.Errorf("ParseText(%q) gave no error", format)
		}
	}
	_, err := accesslog.ParseText("%NO_SUCH_OPERATOR%", accesslog.Environment{}, false)
	if !errors.Is(err, accesslog.ErrOperator) || !strings.Contains(err.Error(), "NO_SUCH_OPERATOR") {
		t.Errorf("got error %v, want ErrOperator that names the operator", err)
	}
}

func TestUnansweredOperatorsAreNamedOnce(t *testing.T) {
	f := mustText(t, "%TRACE_ID% %PROTOCOL% %UNIQUE_ID% %TRACE_ID%")
	if got, want := f.Unanswered(), []string{"TRACE_ID", "UNIQUE_ID"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOmitEmptyLeavesNoDash(t *testing.T) {
	f, err := accesslog.ParseText("[%REQ(X-NONE)%]", accesslog.Environment{}, true)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(f.Append(nil, outboundHTTP())); got != "[]" {
		t.Errorf("got %q, want []", got)
	}
}

func TestEnvironmentAnswersHostnameAndVariables(t *testing.T) {
	env := accesslog.Environment{
		Hostname: "web-1",
		Lookup:   func(name string) (string, bool) { return "lab", name == "ZONE" },
	}
	f, err := accesslog.ParseText("%HOSTNAME% %ENVIRONMENT(ZONE)% %ENVIRONMENT(NONE)%", env, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(f.Append(nil, outboundHTTP())); got != "web-1 lab -" {
		t.Errorf("got %q", got)
	}
}

func TestControlBytesCannotForgeLines(t *testing.T) {
	r := outboundHTTP()
	r.Request.Head = head{"user-agent", "a\r\n[forged] \x1b[2J\x00\x7f\té"}
	got := string(mustText(t, `"%REQ(USER-AGENT)%" %PROTOCOL%`+"\n").Append([]byte("keep "), r))
	want := `keep "a\r\n[forged] \x1b[2J\x00\x7f\té" HTTP/1.1` + "\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func jsonFields() []accesslog.Field {
	return []accesslog.Field{
		{Key: "start_time", Value: "%START_TIME%"},
		{Key: "code", Value: "%RESPONSE_CODE%"},
		{Key: "duration", Value: "%DURATION%"},
		{Key: "agent", Value: "%REQ(USER-AGENT)%"},
		{Key: "none", Value: "%REQ(X-NONE)%"},
		{Key: "request", Value: "%REQ(:METHOD)% %REQ(X-NONE)%"},
		{Key: "nested", Value: []accesslog.Field{
			{Key: "flags", Value: "%RESPONSE_FLAGS%"},
			{Key: "list", Value: []accesslog.Value{"%BYTES_SENT%", 1.5, true, nil}},
		}},
		{Key: "mesh", Value: "lab"},
	}
}

func TestJSONKeepsOrderAndTypes(t *testing.T) {
	f, err := accesslog.ParseJSON(jsonFields(), accesslog.Environment{}, false)
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for _, r := range []*flow.Record{outboundHTTP(), refused(), tcp()} {
		got = f.Append(got, r)
	}
	golden(t, "json.txt", got)
}

func TestJSONOmitsNulls(t *testing.T) {
	f, err := accesslog.ParseJSON(jsonFields(), accesslog.Environment{}, true)
	if err != nil {
		t.Fatal(err)
	}
	got := string(f.Append(nil, tcp()))
	want := `{"start_time":"2026-03-14T15:09:26.535Z","code":0,"duration":30000,"request":" ",` +
		`"nested":{"flags":"-","list":[300,1.5,true,null]},"mesh":"lab"}` + "\n"
	if got != want {
		t.Errorf("got %s want %s", got, want)
	}
}

func TestJSONSurvivesHostileStrings(t *testing.T) {
	f, err := accesslog.ParseJSON([]accesslog.Field{
		{Key: `k"`, Value: "%REQ(USER-AGENT)%"}, {Key: "b", Value: "<%REQ(USER-AGENT)%>"},
	}, accesslog.Environment{}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, hostile := range []string{"\"},{\"", "\\", "\r\n\t\x00\x1f\x7f", "é漢", "\xff\xfe\"a", "\xc3", ""} {
		r := outboundHTTP()
		r.Request.Head = head{"user-agent", hostile}
		line := f.Append(nil, r)
		var got map[string]any
		if err := json.Unmarshal(line, &got); err != nil {
			t.Errorf("%q: %v in %s", hostile, err, line)
			continue
		}
		if len(got) != 2 {
			t.Errorf("%q: got members %v", hostile, got)
		}
		if strings.Count(string(line), "\n") != 1 {
			t.Errorf("%q: more than one line: %q", hostile, line)
		}
	}
}

func TestInvalidJSONFormatsAreRefused(t *testing.T) {
	deep := accesslog.Value("x")
	for range 40 {
		deep = []accesslog.Field{{Key: "k", Value: deep}}
	}
	for name, v := range map[string]accesslog.Value{"type": 3, "operator": "%NOPE%", "depth": deep} {
		if _, err := accesslog.ParseJSON([]accesslog.Field{{Key: "k", Value: v}}, accesslog.Environment{}, false); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

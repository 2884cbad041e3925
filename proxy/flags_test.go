package proxy

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/flow"
)

var update = flag.Bool("update", false, "rewrite the generated documents")

// elsewhere says what earns a flag outside of the table of causes.
var elsewhere = map[flow.Flag]string{
	flow.NoRouteFound:               "HTTP: no route; TCP: no filter chain for the connection (`filter_chain_not_found`)",
	flow.UpstreamRetryLimitExceeded: "HTTP: the last allowed retry failed, beside the flag of the failure; TCP: all connect attempts failed",
	flow.UpstreamOverflow:           "HTTP: a circuit breaker, also that for retries, is open; TCP: the connection limit is reached",
	flow.DelayInjected:              "a fault that is configured delayed the request",
	flow.RateLimited:                "a local rate limit refused the request, whatever status it was given",
	flow.FaultInjected:              "a fault that is configured answered the request, whatever status it was given",
	flow.DurationTimeout:            "TCP: the connection reached its maximum duration",
	flow.DownstreamProtocolError:    "the request breaks HTTP/1.1; the details begin with `http1.`",
	flow.StreamIdleTimeout:          "nothing moved for longer than the stream idle timeout",
}

// document is docs/flags.md.
func document() string {
	var b strings.Builder
	b.WriteString("# Response flags and replies\n\nGenerated from `proxy/reply.go` by `go test ./proxy -run TestFlagsDocument -update`; do not edit.\n\n")
	b.WriteString("What the proxy answers by itself, and how access log and metrics show it. Flags, statuses, bodies and details are Envoy's, so that\nwhat is known about them elsewhere holds here.\n\n")
	b.WriteString("## Replies to requests\n\nA gRPC request gets status 200 with `grpc-status` and the body as `grpc-message`.\n\n| When | Status | Flag | Body | Details |\n|---|---|---|---|---|\n")
	row := func(when string, r *Reply) {
		flags := "-"
		if r.Flagged {
			flags = r.Flag.String()
		}
		status := strconv.Itoa(r.Status)
		if r.Status == 0 {
			status = "none"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", when, status, flags, code(r.Body), code(r.Details))
	}
	for _, r := range refusals {
		row(r.when, r.reply)
	}
	for _, c := range causes {
		row(c.when, replyFor(&flow.Error{Side: flow.SideUpstream, Kind: c.kind}, 1))
	}
	b.WriteString("\nThe details of failed connects go on with the transport's own words, such as\n`|delayed_connect_error:_Connection_refused`; a body never does. A body says\n`retried and the latest reset reason` where the request was tried more than once.\n")
	b.WriteString("\n## Flags\n\n| Flag | Meaning | Earned when |\n|---|---|---|\n")
	for _, f := range flow.AllFlags() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", f, f.Meaning(), earned(f))
	}
	return b.String()
}

func code(s string) string {
	if s == "" {
		return "empty"
	}
	return "`" + strings.ReplaceAll(s, "|", "\\|") + "`"
}

func earned(f flow.Flag) string {
	if s, ok := elsewhere[f]; ok {
		return s
	}
	var when []string
	for _, c := range causes {
		if c.flag == f {
			when = append(when, c.when)
		}
	}
	if len(when) == 0 {
		return "not yet"
	}
	return strings.Join(when, "; ")
}

func TestFlagsDocumentIsCurrent(t *testing.T) {
	const file = "../docs/flags.md"
	want := document()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil { //nolint:gosec // a public document
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != want {
		t.Errorf("docs/flags.md is not what the tables say (%v); run with -update", err)
	}
}

func TestEveryKindOfErrorHasItsReply(t *testing.T) {
	t.Parallel()
	for kind := flow.KindOther; kind <= flow.KindCancelled; kind++ {
		if c := causeOf(kind); c.kind != kind {
			t.Errorf("kind %d has no row", kind)
		}
	}
}

//go:build oracle

package oracle_test

import (
	"regexp"
	"slices"
)

// family explains a family of differences. Those that begin with "open" are to be
// removed; the others are meant.
type family struct {
	trials *regexp.Regexp
	reason string
}

// reasons are tried in order.
var reasons = []family{
	{regexp.MustCompile(`^probe match/`), "open: each value of a repeated header is matched by itself, invert means none matches"},
	{regexp.MustCompile(`^path/"/a/\.\.;|^probe path`), "open: a dot segment with path parameters is a dot segment"},
	{regexp.MustCompile(`^host/(a b|a/b|\xc3|a"b|a<b|a\\b|a\?b|a#b)`), "open: body and flag of an invalid authority"},
	{regexp.MustCompile(`^host|^absolute without host`), "stricter: an authority has to be there once, without user information"},
	{regexp.MustCompile(`^version|^many empty lines|^malformed|^method(| with body)/M-SEARCH|^path/".*(user@|#f|\\t)`), "stricter: one reading of a request, or none; the words of the refusal are open"},
	{regexp.MustCompile(`^path/"http://abs.example\?x`), "an absolute target without a path means the root (RFC 9112 section 3.2.1)"},
	{regexp.MustCompile(`^request/.*/(xff|xfp|request id|accept rep|content-type rep|user-agent rep|referer twice)|^probe repeated`), "open: Envoy joins what a well-known header says twice; the remote address comes from x-forwarded-for"},
	{regexp.MustCompile(`referer`), "open: an invalid referer is removed"},
	{regexp.MustCompile(`^request/.*/user agent escapes`), "stricter: a control character cannot reach the log as it is"},
	{regexp.MustCompile(`^request/.*/connection nominates host`), "host is not a header that a connection may nominate"},
	{regexp.MustCompile(`^request/.*/(grpc|decorator|te T|x-envoy-upstream-stream)`), "open: request headers"},
	{regexp.MustCompile(`^edits/|^probe both|^probe scheme`), "open: order of edits, x-envoy-original-*, scheme and host"},
	{regexp.MustCompile(`^route/`), "open: order of headers in replies, scheme of redirects; a connection whose request is complete is kept"},
	{regexp.MustCompile(`^response.*/(GET|HEAD) (reason|unknown|status (6|7|9)|reason high|205|102|103|400|503|426)`), "open: reason phrases are the standard ones"},
	{regexp.MustCompile(`^response.*/.*(version|bare lf|status (0|2)|lone cr|101|reset|hop by hop)`), "stricter: one reading of a response, or none"},
	{regexp.MustCompile(`^response.*/.*(100|103)`), "nobody waits for a 1xx response that was not asked for"},
	{regexp.MustCompile(`^response|^probe response`), "open: responses"},
	{regexp.MustCompile(`^upgrade/`), "open: upgrades"},
	{regexp.MustCompile(`^(timeout|probe idle)`), "open: the stream idle timeout covers request and response bodies"},
	{regexp.MustCompile(`^tcp/`), "open: resets are passed on; a cluster that is unknown has no name; words of TLS failures are our own"},
	{regexp.MustCompile(`^body/after fin|^reply/client half`), "a downstream that has only ended its own direction may get its answer"},
	{regexp.MustCompile(`^body/chunked|chunked post`), "chunks are passed on as they come"},
	{regexp.MustCompile(`.`), "open: replies and framing headers"},
}

func reason(name string) string {
	i := slices.IndexFunc(reasons, func(f family) bool { return f.trials.MatchString(name) })
	return reasons[i].reason
}

// races are parts that the kernel's scheduling decides: whether the origin saw the
// beginning of a request whose body is refused, and how a connection that was
// never read from ends.
var races = []struct {
	trials *regexp.Regexp
	part   string
}{
	{regexp.MustCompile(`^malformed(| timeouts)/chunk|^upgrade/|^reply/client|^body/after fin|^reply/early`), "origin"},
	{regexp.MustCompile(`^malformed(| timeouts)/chunk|^body/after fin|^reply/client half|^reply/early`), "log"},
	{regexp.MustCompile(`^tcp/(unknown|dead|none|hole|badtls|echo reset|echo close)|^reply/early`), "end"},
	{regexp.MustCompile(`^body/after fin|^upgrade/.*(fin|close)|^timeout/response stops|^probe idle response stops`), "response"},
	{regexp.MustCompile(`^upgrade/.*(fin|close)`), "end"},
	{regexp.MustCompile(`^malformed timeouts/cl 2`), "origin"},
	{regexp.MustCompile(`^malformed timeouts/cl 2`), "log"},
	{regexp.MustCompile(`^tcp/(unknown|dead|none|hole)`), "log"},
}

func racy(name, part string) bool {
	for _, r := range races {
		if r.part == part && r.trials.MatchString(name) {
			return true
		}
	}
	return false
}

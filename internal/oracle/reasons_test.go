//go:build oracle

package oracle_test

import (
	"regexp"
	"slices"
)

// family explains a family of differences, which are all meant.
type family struct {
	trials *regexp.Regexp
	reason string
}

// reasons are tried in order.
var reasons = []family{
	{regexp.MustCompile(`^http2/to .*/head/.*(authority|host)`), "who names no host can be told so, and a host beside an authority says nothing"},
	{regexp.MustCompile(`^http2/to .*/(head|body)/.*(space|tab) |length with (space|zeros)`), "white space around a value and zeros before a length mean nothing, and do not pass"},
	{regexp.MustCompile(`^http2/to .*/(head/(path high bytes|scheme ftp)|body/.* as trailer)`), "stricter: one reading of a request, or none"},
	{regexp.MustCompile(`^http2/to .*/head/(cookie crumbs|http2-settings)`), "the same cookies, and no field of a connection"},
	{regexp.MustCompile(`^http2/to .*/body/of two frames`), "content goes on as it was read"},
	{regexp.MustCompile(`^http2/to .*/(head|body)/`), "what is malformed costs its stream, is not begun upstream, and says which rule was broken"},
	{regexp.MustCompile(`^http2/tunnel/.*(ended|ends|fin|speaks first)|^http2/tunnel/.* without content`), "an end in one direction is passed on, and the other one goes on"},
	{regexp.MustCompile(`^http2/tunnel/.* with length`), "what follows an accepted CONNECT has no length (RFC 9110 section 9.3.6)"},
	{regexp.MustCompile(`^http2/tunnel/.*(off|plain|other protocol|dead)`), "a refusal ends its stream, and not its connection"},
	{regexp.MustCompile(`^http2/tunnel/without authority`), "who names no host can be told so, and a host beside an authority says nothing"},
	{regexp.MustCompile(`^http2/tunnel/`), "a stream that is given up is cancelled; fields of an upgrade have no order"},
	{regexp.MustCompile(`^http2/response to .*/refused`), "a stream that was refused was not served, and is tried again"},
	{regexp.MustCompile(`^http2/response to HTTP/1/.*(length|trailer|reset|two heads)`), "a downstream learns at once that its response was cut"},
	{regexp.MustCompile(`^http2/response (to|from) .*/(HEAD|20|30|HEAD/|hop|te$|10|101)|^http2/response to HEAD`), "content that a response cannot have is dropped; fields of a connection or a request do not pass"},
	{regexp.MustCompile(`^http2/response`), "a body is passed on as far as it came"},
	{regexp.MustCompile(`^probe path|^path/"/a/\.\.;`), "safer: an escaped dot segment with path parameters is one, too, and loses nothing else"},
	{regexp.MustCompile(`^host|^absolute without host|^connect/without host`), "stricter: an authority has to be there once, without user information"},
	{regexp.MustCompile(`^malformed(| timeouts)/cl leading zeros`), "safer: a length is passed on in one spelling"},
	{regexp.MustCompile(`^version|^many empty lines|^malformed|^path/".*(user@|#f|\\t)`), "stricter: one reading of a request, or none"},
	{regexp.MustCompile(`^path/"http://abs.example\?x`), "an absolute target without a path means the root (RFC 9112 section 3.2.1)"},
	{regexp.MustCompile(`^request/.*/xfp empty`), "an empty x-forwarded-proto is none, and no reason to find no route"},
	{regexp.MustCompile(`^request/.*/user agent escapes`), "stricter: a control character cannot reach the log as it is"},
	{regexp.MustCompile(`hop by hop|103 first`), "fields that a connection nominates do not pass it (RFC 9110 section 7.6.1)"},
	{regexp.MustCompile(`^(response.*/.*|expect/.*|upgrade/)100 |only 100|^expect/100 without body`), "nobody waits for a 1xx response that was not asked for"},
	{regexp.MustCompile(`^response/.*close delimited reset`), "safer: a reset is not the end of a body"},
	{regexp.MustCompile(`^response/.*(cut|chunk |bad chunk|too long|reset after)|^reply/slow body|^timeout/response|^probe idle response`), "a downstream learns at once that its response was cut"},
	{regexp.MustCompile(`^response.*/.*(version|bare lf|status (0|2)|lone cr|101)`), "stricter: one reading of a response, or none"},
	{regexp.MustCompile(`^timeout/idle after`), "an idle connection ends when its time is up, and not a drain time later"},
	{regexp.MustCompile(`^connect/(retry|hole)`), "what was sent behind a CONNECT that failed went nowhere, and is not counted"},
	{regexp.MustCompile(`^connect/forwarded with a length`), "what follows an accepted CONNECT has no length (RFC 9110 section 9.3.6)"},
	{regexp.MustCompile(`^connect/.*(speaks first|half-closes|origin ends)`), "an end in one direction is passed on, and the other one goes on"},
	{regexp.MustCompile(`^(upgrade|connect)/.*fin`), "who has ended one direction still gets what the other one brings"},
	{regexp.MustCompile(`^upgrade/.*refused`), "a response that refuses an upgrade is passed on whole"},
	{regexp.MustCompile(`^upgrade/with`), "the content of an upgrade request is content, and not the new protocol"},
	{regexp.MustCompile(`^upgrade/101`), "stricter: a 101 is for the protocol that was asked for"},
	{regexp.MustCompile(`^ten/keep-alive twice`), "a connection that was refused ends"},
	{regexp.MustCompile(`^body/after fin|^reply/client half`), "a downstream that has only ended its own direction may get its answer"},
	{regexp.MustCompile(`^body/chunked|chunked post|^pipelined`), "chunks are passed on as they come"},
	{regexp.MustCompile(`^reply/inbound close`), "the end of a kept connection is no answer: what is idempotent is sent again"},
	{regexp.MustCompile(`^(route|reply)/|^act/mirror /(direct|of-unknown) with`), "a connection whose request is complete is kept"},
	{regexp.MustCompile(`.`), "open"},
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
	{regexp.MustCompile(`^malformed(| timeouts)/chunk|^upgrade/.*(fin|close|early|then data)|^reply/client|^body/after fin|^reply/early`), "origin"},
	{regexp.MustCompile(`^malformed(| timeouts)/chunk|^body/after fin|^reply/client half|^reply/early`), "log"},
	{regexp.MustCompile(`^tcp/(unknown|dead|none|hole|badtls|echo reset|echo close)|^reply/early`), "end"},
	{regexp.MustCompile(`^body/after fin|^upgrade/.*(fin|close)|^timeout/response stops|^probe idle response stops`), "response"},
	{regexp.MustCompile(`^upgrade/.*(fin|close)`), "end"},
	{regexp.MustCompile(`^malformed timeouts/cl 2`), "origin"},
	{regexp.MustCompile(`^malformed timeouts/cl 2`), "log"},
	{regexp.MustCompile(`^tcp/(unknown|dead|none|hole)`), "log"},
	{regexp.MustCompile(`^http2/to .*/body/(longer|shorter|beyond|cancelled|.*trailer|content after)|^http2/response/ended`), "origin"},
	{regexp.MustCompile(`^http2/to .*/body/(longer|shorter|beyond|cancelled|.*trailer|content after)`), "log"},
}

func racy(name, part string) bool {
	for _, r := range races {
		if r.part == part && r.trials.MatchString(name) {
			return true
		}
	}
	return false
}

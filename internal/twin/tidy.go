package twin

import (
	"crypto/sha256"
	"regexp"
	"strings"
)

// rule replaces a volatile text by a word.
type rule struct {
	// name says what the rule is for, parts which parts it is for ("*": all).
	name, parts string
	re          *regexp.Regexp
	to          string
}

// rules are tried in order on each part of an outcome.
var rules = []rule{
	{"dates differ between runs", "*.header date", regexp.MustCompile(`^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$`), "<date>"},
	{"dates differ between runs, in what is shown as bytes", "*.bytes", regexp.MustCompile(`date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT`), "date: <date>"},
	{"request ids are random, but for the digit that says why a request is traced", "*", regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`), "<id $1>"},
	{"times of service differ", "*.header x-envoy-upstream-service-time", regexp.MustCompile(`^\d+$`), "<ms>"},
	{"times of service differ, in the log", "log*.service_time", regexp.MustCompile(`^\d+$`), "<ms>"},
	{"durations differ", "log*.duration", regexp.MustCompile(`^\d+$`), "<ms>"},
	{"what is left of a time-out depends on the time spent", "upstream*.header x-envoy-expected-rq-timeout-ms", regexp.MustCompile(`^(\d+)\d\d$`), "${1}xx"},
	{"a generated cookie is made of addresses and ports", "response.header set-cookie", regexp.MustCompile(`session="[0-9a-f]+"`), `session="<hash>"`},
	{"certificates of the run", "*", regexp.MustCompile(`Hash=[0-9a-f]{64}`), "Hash=<hash>"},
	{"clients' ports differ between runs", "*", regexp.MustCompile(`\b(10\.0\.\d+\.\d+|127\.0\.0\.\d+):(2[0-7]\d{3}|3[2-9]\d{3}|[45]\d{4}|6[0-5]\d{3})\b`), "$1:<port>"},
}

// tidy applies the rules to an outcome.
func (o outcome) tidy() {
	for part, v := range o {
		for _, r := range rules {
			if r.parts == "*" || glob(r.parts, part) {
				v = r.re.ReplaceAllString(v, r.to)
			}
		}
		o[part] = strings.ToValidUTF8(v, "\uFFFD")
	}
}

// sum tells long texts apart.
func sum(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:6]
}

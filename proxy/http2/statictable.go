package http2

// policy says what the encoder may do with a field.
type policy uint8

const (
	// mayIndex: a value that comes again takes a place in the table.
	mayIndex policy = iota
	// doNotIndex: the value will not come again.
	doNotIndex
	// neverIndex: nor may anybody after us put it in a table.
	neverIndex
)

// classify returns the index of a name in the static table (RFC 7541 appendix A), or
// 0, and what the field may become.
func classify(name string) (int, policy) {
	if n := &names[places[place(name)]]; n.name == name {
		return int(n.index), n.policy
	}
	return 0, mayIndex
}

// placeCount and the factors of place were searched for, so that no two names have the
// same place.
const placeCount = 512

// place is where names may be found.
func place(name string) uint32 {
	n := len(name)
	if n == 0 {
		return 0
	}
	return (uint32(n) + 324*uint32(name[0]) + 307*uint32(name[n/2]) + 288*uint32(name[n-1]) + 467*uint32(name[n/4*3])) % placeCount //nolint:gosec // is cut
}

// places holds, for each place, which of names it is; 0 where there is none.
var places = func() (all [placeCount]uint8) { //nolint:gochecknoglobals // a table
	for i, n := range names {
		all[place(n.name)] = uint8(i) //nolint:gosec // there are fewer
	}
	return all
}()

// static is what is known of a name.
type static struct {
	name   string
	index  uint8
	policy policy
}

// names holds the first index of each name, and those whose values are secrets, or
// differ from message to message.
var names = [...]static{
	{}, // of no name
	{":authority", 1, mayIndex},
	{":method", 2, mayIndex},
	{":path", 4, mayIndex},
	{":scheme", 6, mayIndex},
	{":status", 8, mayIndex},
	{"accept-charset", 15, mayIndex},
	{"accept-encoding", 16, mayIndex},
	{"accept-language", 17, mayIndex},
	{"accept-ranges", 18, mayIndex},
	{"accept", 19, mayIndex},
	{"access-control-allow-origin", 20, mayIndex},
	{"age", 21, doNotIndex},
	{"allow", 22, mayIndex},
	{"authorization", 23, neverIndex},
	{"cache-control", 24, mayIndex},
	{"content-disposition", 25, mayIndex},
	{"content-encoding", 26, mayIndex},
	{"content-language", 27, mayIndex},
	{"content-length", 28, doNotIndex},
	{"content-location", 29, doNotIndex},
	{"content-range", 30, doNotIndex},
	{"content-type", 31, mayIndex},
	{"cookie", 32, doNotIndex},
	{"date", 33, doNotIndex},
	{"etag", 34, doNotIndex},
	{"expect", 35, mayIndex},
	{"expires", 36, doNotIndex},
	{"from", 37, mayIndex},
	{"host", 38, mayIndex},
	{"if-match", 39, doNotIndex},
	{"if-modified-since", 40, doNotIndex},
	{"if-none-match", 41, doNotIndex},
	{"if-range", 42, doNotIndex},
	{"if-unmodified-since", 43, doNotIndex},
	{"last-modified", 44, doNotIndex},
	{"link", 45, mayIndex},
	{"location", 46, doNotIndex},
	{"max-forwards", 47, mayIndex},
	{"proxy-authenticate", 48, neverIndex},
	{"proxy-authorization", 49, neverIndex},
	{"range", 50, doNotIndex},
	{"referer", 51, mayIndex},
	{"refresh", 52, mayIndex},
	{"retry-after", 53, doNotIndex},
	{"server", 54, mayIndex},
	{"set-cookie", 55, doNotIndex},
	{"strict-transport-security", 56, mayIndex},
	{"transfer-encoding", 57, mayIndex},
	{"user-agent", 58, mayIndex},
	{"vary", 59, mayIndex},
	{"via", 60, mayIndex},
	{"www-authenticate", 61, mayIndex},

	{"x-api-key", 0, neverIndex},
	{"x-request-id", 0, doNotIndex},
	{"traceparent", 0, doNotIndex},
	{"tracestate", 0, doNotIndex},
	{"baggage", 0, doNotIndex},
	{"b3", 0, doNotIndex},
	{"x-b3-traceid", 0, doNotIndex},
	{"x-b3-spanid", 0, doNotIndex},
	{"x-b3-parentspanid", 0, doNotIndex},
	{"x-ot-span-context", 0, doNotIndex},
	{"x-cloud-trace-context", 0, doNotIndex},
	{"x-datadog-trace-id", 0, doNotIndex},
	{"x-datadog-parent-id", 0, doNotIndex},
	{"x-amzn-trace-id", 0, doNotIndex},
	{"x-correlation-id", 0, doNotIndex},
	{"x-client-trace-id", 0, doNotIndex},
	{"sentry-trace", 0, doNotIndex},
	{"uber-trace-id", 0, doNotIndex},
	{"grpc-timeout", 0, doNotIndex},
	{"grpc-trace-bin", 0, doNotIndex},
	{"grpc-tags-bin", 0, doNotIndex},
	{"x-envoy-upstream-service-time", 0, doNotIndex},
	{"x-envoy-expected-rq-timeout-ms", 0, doNotIndex},
	{"x-envoy-upstream-rq-timeout-ms", 0, doNotIndex},
	{"x-request-start", 0, doNotIndex},
}

// exact returns the index of a field of the static table, given that of its name, or 0.
func exact(index int, value string) int {
	switch index {
	case 2: // :method
		switch value {
		case "GET":
			return 2
		case "POST":
			return 3
		}
	case 4: // :path
		switch value {
		case "/":
			return 4
		case "/index.html":
			return 5
		}
	case 6: // :scheme
		switch value {
		case "http":
			return 6
		case "https":
			return 7
		}
	case 16: // accept-encoding
		if value == "gzip, deflate" {
			return 16
		}
	}
	return 0
}

// appendStatus appends :status.
func (e *encoder) appendStatus(b []byte, status int) []byte {
	switch status {
	case 200:
		return append(b, 0x80|8)
	case 204:
		return append(b, 0x80|9)
	case 206:
		return append(b, 0x80|10)
	case 304:
		return append(b, 0x80|11)
	case 400:
		return append(b, 0x80|12)
	case 404:
		return append(b, 0x80|13)
	case 500:
		return append(b, 0x80|14)
	}
	return append(appendInt(b, 0, 4, 8), 3, byte('0'+status/100%10), byte('0'+status/10%10), byte('0'+status%10))
}

package http1

import (
	"strconv"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// ProtocolError is a request that is answered by the codec's owner and not served:
// the status Envoy gives, its response code detail, and whether it earns the flag
// DPE. A status of 0 is a downstream that left within a head: nobody is there to be
// answered.
type ProtocolError struct {
	Status  int
	Details string
	// Violation is true where the downstream broke the protocol (flag DPE), false
	// where it was merely refused.
	Violation bool
	// Method and Path are of a head that was read to its end, else empty.
	Method, Path string
}

// missingHost refuses a request that names none.
func missingHost(r *httpmsg.Request) error {
	return &ProtocolError{Status: 400, Details: "missing_host_header", Method: r.Method, Path: r.Path}
}

// Error returns the detail with the status.
func (e *ProtocolError) Error() string {
	return e.Details + " (" + strconv.Itoa(e.Status) + ")"
}

// What the parsers refuse, with the details that Envoy logs. A response that breaks
// one of these rules is a protocol error of the upstream, whatever the status.
var (
	errSyntax         = &ProtocolError{Status: 400, Details: "http1.codec_error", Violation: true}
	errCharacters     = &ProtocolError{Status: 400, Details: "http1.invalid_characters", Violation: true}
	errURL            = &ProtocolError{Status: 400, Details: "http1.invalid_url", Violation: true}
	errScheme         = &ProtocolError{Status: 400, Details: "http1.invalid_scheme", Violation: true}
	errPlainScheme    = &ProtocolError{Status: 403, Details: "http1.https_url_on_plaintext_connection", Violation: true}
	errConnection     = &ProtocolError{Status: 400, Details: "http1.connection_header_rejected", Violation: true}
	errCoding         = &ProtocolError{Status: 501, Details: "http1.invalid_transfer_encoding", Violation: true}
	errConnectCoding  = &ProtocolError{Status: 501, Details: "http1.invalid_transfer_encoding", Violation: true}
	errConnectLength  = &ProtocolError{Status: 400, Details: "http1.body_disallowed", Violation: true}
	errLengthCoding   = &ProtocolError{Status: 400, Details: "http1.content_length_and_chunked_not_allowed", Violation: true}
	errTooLarge       = &ProtocolError{Status: 431, Details: "http1.headers_too_large", Violation: true}
	errTooMany        = &ProtocolError{Status: 431, Details: "http1.too_many_headers", Violation: true}
	errLowVersion     = &ProtocolError{Status: 426, Details: "low_version", Violation: true}
	errAuthority      = &ProtocolError{Status: 400, Details: "http.invalid_authority", Violation: true}
	errAbandoned      = &ProtocolError{Status: 0, Details: "downstream_remote_disconnect"}
	errHeadTimeout    = &ProtocolError{Status: 408, Details: "request_header_timeout"}
	errNoContent      = &ProtocolError{Status: 502, Details: "http1.content_not_allowed", Violation: true}
	errUpgradeRefused = &ProtocolError{Status: 502, Details: "http1.unexpected_upgrade", Violation: true}
	errInterimFlood   = &ProtocolError{Status: 502, Details: "http1.too_many_interim_responses", Violation: true}
)

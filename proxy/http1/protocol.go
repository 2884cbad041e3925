package http1

import "strconv"

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
}

// Error returns the detail with the status.
func (e *ProtocolError) Error() string {
	return e.Details + " (" + strconv.Itoa(e.Status) + ")"
}

// What the parsers refuse, with the details that Envoy logs. A response that breaks
// one of these rules is a protocol error of the upstream, whatever the status.
var (
	errSyntax         = &ProtocolError{400, "http1.codec_error", true}
	errCharacters     = &ProtocolError{400, "http1.invalid_characters", true}
	errURL            = &ProtocolError{400, "http1.invalid_url", true}
	errScheme         = &ProtocolError{400, "http1.invalid_scheme", true}
	errPlainScheme    = &ProtocolError{403, "http1.https_url_on_plaintext_connection", true}
	errConnection     = &ProtocolError{400, "http1.connection_header_rejected", true}
	errCoding         = &ProtocolError{501, "http1.invalid_transfer_encoding", true}
	errConnectCoding  = &ProtocolError{501, "http1.invalid_transfer_encoding", true}
	errConnectLength  = &ProtocolError{400, "http1.body_disallowed", true}
	errLengthCoding   = &ProtocolError{400, "http1.content_length_and_chunked_not_allowed", true}
	errTooLarge       = &ProtocolError{431, "http1.headers_too_large", true}
	errTooMany        = &ProtocolError{431, "http1.too_many_headers", true}
	errLowVersion     = &ProtocolError{426, "low_version", true}
	errMissingHost    = &ProtocolError{400, "missing_host_header", false}
	errAuthority      = &ProtocolError{400, "http.invalid_authority", true}
	errAbandoned      = &ProtocolError{0, "downstream_remote_disconnect", false}
	errHeadTimeout    = &ProtocolError{408, "request_header_timeout", false}
	errNoContent      = &ProtocolError{502, "http1.content_not_allowed", true}
	errUpgradeRefused = &ProtocolError{502, "http1.unexpected_upgrade", true}
	errInterimFlood   = &ProtocolError{502, "http1.too_many_interim_responses", true}
)

package mtls_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/outrigger-mesh/outrigger/mtls"
)

func TestFailuresAreToldInTheWordsOfEnvoy(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"an alert":        {&net.OpError{Op: "remote error", Err: tls.AlertError(48)}, "TLS_error:|268436504:SSL routines:OPENSSL_internal:TLSV1_ALERT_UNKNOWN_CA:TLS_error_end"},
		"an odd alert":    {&net.OpError{Op: "remote error", Err: tls.AlertError(115)}, "TLS_error:remote error: tls: unknown PSK identity"},
		"plain text":      {tls.RecordHeaderError{Msg: "m"}, "TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end"},
		"a reset":         {&net.OpError{Op: "read", Err: syscall.ECONNRESET}, "TLS_error:|33554536:system library:OPENSSL_internal:Connection reset by peer:TLS_error_end"},
		"an end":          {io.EOF, ""},
		"something else":  {errors.New("tls: unsupported"), "TLS_error:tls: unsupported"},
		"told once":       {errors.New("TLS_error: x"), "TLS_error:x"},
		"a wrapped alert": {fmt.Errorf("TLS_error: %w", &net.OpError{Op: "remote error", Err: tls.AlertError(45)}), "TLS_error:|268436501:SSL routines:OPENSSL_internal:SSLV3_ALERT_CERTIFICATE_EXPIRED:TLS_error_end"},
	} {
		if got := mtls.FailureReason(tt.err); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	for first, want := range map[string]string{
		"GET / HTTP/1.1": "TLS_error|error:1000009c:SSL routines:OPENSSL_internal:HTTP_REQUEST:TLS_error_end",
		"P":              "TLS_error|error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end",
	} {
		if got := mtls.PlainTextReason([]byte(first)); got != want {
			t.Errorf("%q: got %q, want %q", first, got, want)
		}
	}
}

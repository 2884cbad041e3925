package mtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// verifyError is a refused certificate.
type verifyError struct {
	err error
	// words are those with which Envoy's access log tells it.
	words string
}

// Error says who has to act.
func (e *verifyError) Error() string { return "certificate verify failed: " + e.err.Error() }

// Unwrap returns the reason.
func (e *verifyError) Unwrap() error { return e.err }

// The codes of BoringSSL that Envoy prints: its library's number and the reason's.
const (
	sslLibrary      = 16 << 24
	sslNoPeerCert   = sslLibrary | 192
	sslVerifyFailed = sslLibrary | 125
	sslWrongVersion = sslLibrary | 247
	sslAlert        = sslLibrary | 1000 // plus the alert's number
	systemReset     = 2<<24 | 104
)

// FailureReason tells why a handshake failed in the words of Envoy's access log, which
// operators look for. What Envoy has no word for is told in ours; a peer that closed
// the connection without a word is empty, as there.
func FailureReason(err error) string {
	var verify *verifyError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &verify) && errors.Is(verify.err, ErrNoCertificate):
		return boring(sslNoPeerCert, "PEER_DID_NOT_RETURN_A_CERTIFICATE:peer did not provide required client certificate")
	case errors.As(err, &verify):
		return boring(sslVerifyFailed, "CERTIFICATE_VERIFY_FAILED:verify cert failed: "+verify.words)
	case errors.As(err, &record):
		return boring(sslWrongVersion, "WRONG_VERSION_NUMBER")
	case errors.Is(err, syscall.ECONNRESET):
		return fmt.Sprintf("TLS_error:|%d:system library:OPENSSL_internal:Connection reset by peer:TLS_error_end", systemReset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ""
	}
	text := strings.TrimPrefix(err.Error(), "TLS_error: ")
	if alert, ok := strings.CutPrefix(text, "remote error: "); ok {
		for code, name := range alerts {
			if tls.AlertError(code).Error() == alert {
				return boring(sslAlert+int(code), name)
			}
		}
	}
	return "TLS_error:" + text
}

// PlainTextReason tells, in the same words, what came in the place of a handshake.
func PlainTextReason(first []byte) string {
	code, what := 0x100000f7, "WRONG_VERSION_NUMBER"
	for _, method := range []string{"GET ", "POST ", "HEAD ", "PUT "} {
		if strings.HasPrefix(string(first[:min(len(first), 5)]), method) {
			code, what = 0x1000009c, "HTTP_REQUEST"
		}
	}
	return fmt.Sprintf("TLS_error|error:%x:SSL routines:OPENSSL_internal:%s:TLS_error_end", code, what)
}

func boring(code int, what string) string {
	return "TLS_error:|" + strconv.Itoa(code) + ":SSL routines:OPENSSL_internal:" + what + ":TLS_error_end"
}

// alerts are BoringSSL's names of the alerts of RFC 8446 section 6.2.
var alerts = map[uint8]string{
	10: "SSLV3_ALERT_UNEXPECTED_MESSAGE", 20: "SSLV3_ALERT_BAD_RECORD_MAC", 40: "SSLV3_ALERT_HANDSHAKE_FAILURE",
	42: "SSLV3_ALERT_BAD_CERTIFICATE", 43: "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", 44: "SSLV3_ALERT_CERTIFICATE_REVOKED",
	45: "SSLV3_ALERT_CERTIFICATE_EXPIRED", 46: "SSLV3_ALERT_CERTIFICATE_UNKNOWN", 47: "SSLV3_ALERT_ILLEGAL_PARAMETER",
	48: "TLSV1_ALERT_UNKNOWN_CA", 49: "TLSV1_ALERT_ACCESS_DENIED", 50: "TLSV1_ALERT_DECODE_ERROR", 51: "TLSV1_ALERT_DECRYPT_ERROR",
	70: "TLSV1_ALERT_PROTOCOL_VERSION", 71: "TLSV1_ALERT_INSUFFICIENT_SECURITY", 80: "TLSV1_ALERT_INTERNAL_ERROR",
	90: "TLSV1_ALERT_USER_CANCELLED", 112: "TLSV1_ALERT_UNRECOGNIZED_NAME", 116: "TLSV1_ALERT_CERTIFICATE_REQUIRED",
	120: "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
}

// refusedNames is a certificate of the wrong name.
func refusedNames(err error, cs *tls.ConnectionState) error {
	leaf := cs.PeerCertificates[0]
	names := append([]string{}, leaf.DNSNames...)
	names = append(names, leaf.EmailAddresses...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	for _, u := range leaf.URIs {
		names = append(names, u.String())
	}
	if len(names) > maxListed {
		names = append(names[:maxListed], "...")
	}
	words := "SAN matcher, certificate SANs are [" + strings.Join(names, ", ") + "]"
	return &verifyError{err, fmt.Sprintf("%.1024s", words)}
}

// refusedChain is a chain that is not good.
func refusedChain(err error, certs []*x509.Certificate) error {
	depth, why := lastOf(certs), "unable to get local issuer certificate"
	now := time.Now()
	switch {
	case errors.Is(err, ErrExpired):
		depth, why = highest(certs, func(c *x509.Certificate) bool { return now.After(c.NotAfter) }), "certificate has expired"
	case errors.Is(err, ErrNotYetValid):
		depth, why = highest(certs, func(c *x509.Certificate) bool { return now.Before(c.NotBefore) }), "certificate is not yet valid"
	case errors.Is(err, ErrUsage):
		depth, why = 0, "unsupported certificate purpose"
	case selfSigned(certs[depth]) && depth == 0:
		why = "self signed certificate"
	case selfSigned(certs[depth]):
		why = "self signed certificate in certificate chain"
	}
	return &verifyError{err, fmt.Sprintf("X509_verify_cert: certificate verification error at depth %d: %s", depth, why)}
}

// lastOf returns how far issuers follow each other from the leaf.
func lastOf(certs []*x509.Certificate) int {
	i := 0
	for i+1 < len(certs) && string(certs[i].RawIssuer) == string(certs[i+1].RawSubject) && !selfSigned(certs[i]) {
		i++
	}
	return i
}

// highest returns where in a chain a certificate is bad: they are verified from the
// root down.
func highest(certs []*x509.Certificate, bad func(*x509.Certificate) bool) int {
	for i := len(certs) - 1; i > 0; i-- {
		if bad(certs[i]) {
			return i
		}
	}
	return 0
}

func selfSigned(c *x509.Certificate) bool { return string(c.RawIssuer) == string(c.RawSubject) }

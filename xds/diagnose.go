package xds

import (
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// diagnosis is what a failure means to an operator.
type diagnosis struct {
	reason string
	benign bool // nothing to do: istiod ends streams now and then
}

func (d diagnosis) level(worked bool) slog.Level {
	if d.benign && worked {
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// brief is an error's text on one line, without what it says twice: gRPC's errors quote the cause that is joined to them.
func brief(err error) string {
	if err == nil {
		return ""
	}
	text := ""
	for line := range strings.Lines(err.Error()) {
		line = strings.TrimSpace(line)
		switch {
		case text == "":
			text = line
		case !strings.Contains(text, line):
			text += "; " + line
		}
	}
	return text
}

// diagnose says what is wrong and what to do.
func diagnose(err error, cfg *Config) diagnosis {
	if r := diagnoseTLS(err); r != "" {
		return diagnosis{reason: r}
	}
	if errors.Is(err, io.EOF) {
		return diagnosis{reason: "istiod ended the stream", benign: true}
	}
	if errors.Is(err, errMalformed) {
		return diagnosis{reason: "istiod sent a response that cannot be read: is the address that of istiod's discovery port?"}
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return diagnosis{reason: "the token file cannot be read: check its permissions"}
	}
	switch status.Code(err) {
	case codes.Unauthenticated:
		return diagnosis{reason: unauthenticated(cfg)}
	case codes.PermissionDenied:
		return diagnosis{reason: "istiod says that the token does not belong to this node: " +
			"POD_NAMESPACE and SERVICE_ACCOUNT must be those of the token"}
	case codes.ResourceExhausted:
		return diagnosis{reason: "istiod limits the rate of new streams: it will be tried again; " +
			"raise PILOT_MAX_REQUESTS_PER_SECOND or add replicas if this lasts"}
	case codes.InvalidArgument:
		return diagnosis{reason: "istiod refuses the node: check the proxy's address, name and metadata"}
	case codes.Unimplemented:
		return diagnosis{reason: "the server does not speak incremental discovery: is the address that of istiod's discovery port?"}
	case codes.Unavailable:
		return unavailable(err)
	case codes.Canceled, codes.OK:
		return diagnosis{reason: "istiod ended the stream", benign: true}
	default:
		return diagnosis{reason: "the stream to istiod failed"}
	}
}

// diagnoseTLS recognises a failed handshake.
func diagnoseTLS(err error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		return "istiod's certificate is not signed by the mesh root that is configured: " +
			"check that the mounted root certificate is the one istiod uses now"
	case errors.As(err, &name):
		return "istiod's certificate is not for the name that was dialled: set ISTIOD_SAN or correct the discovery address"
	case errors.As(err, &invalid):
		return "istiod's certificate is not valid: check its dates and the clock of this machine"
	}
	return ""
}

func unauthenticated(cfg *Config) string {
	file := cfg.Connect.TokenFile
	if file == "" {
		return "istiod wants a token, and no token file is configured"
	}
	if cfg.Connect.TLS == nil && !cfg.Connect.TokenOnPlaintext {
		return "istiod wants a token, which is not sent without TLS: use its TLS port"
	}
	if _, err := os.Stat(file); err != nil {
		return "istiod wants a token, and there is none at " + file + ": mount the istio-token volume"
	}
	return "istiod refuses the token at " + file + ": it may have expired or be for another audience than istio-ca"
}

// unavailable tells an istiod that cannot be reached from one that has gone away.
func unavailable(err error) diagnosis {
	var dial *net.OpError
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return diagnosis{reason: "the name of istiod does not resolve: check the discovery address and DNS"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return diagnosis{reason: "istiod refuses connections: is it running, and is the port right?"}
	case errors.As(err, &dial) && dial.Op == "dial":
		return diagnosis{reason: "istiod cannot be reached: check address, network policy and whether it is running"}
	case errors.As(err, &dial):
		return diagnosis{reason: "the connection to istiod broke", benign: true}
	}
	return diagnosis{reason: "istiod is unavailable: it may be restarting", benign: true}
}

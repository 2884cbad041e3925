package accesslog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/outrigger-mesh/outrigger/flow"
)

// str appends a string that counts as absent when empty.
func str(dst []byte, s string) ([]byte, bool) { return append(dst, s...), s != "" }

// headerSource finds a header of one side of a record.
type headerSource func(r *flow.Record, name string) (string, bool)

// headerNames splits "NAME?ALTERNATIVE" into lower-case names.
func headerNames(arg string) (name, alternative string, err error) {
	name, alternative, two := strings.Cut(strings.ToLower(arg), "?")
	switch {
	case name == "" || two && alternative == "":
		return "", "", errors.New("a header name is missing")
	case strings.ContainsAny(arg, " \t\r\n\x00"):
		return "", "", errors.New("a header name has a space or a control character")
	case strings.Contains(alternative, "?"):
		return "", "", errors.New("only one alternative header is possible")
	default:
		return name, alternative, nil
	}
}

// buildHeader compiles a look-up with its alternative in one source.
func buildHeader(arg string, source headerSource, cut func(string) string) (valueFunc, error) {
	name, alternative, err := headerNames(arg)
	if err != nil {
		return nil, err
	}
	return func(dst []byte, r *flow.Record) ([]byte, bool) {
		v, ok := source(r, name)
		if !ok && alternative != "" {
			v, ok = source(r, alternative)
		}
		if !ok {
			return dst, false
		}
		if cut != nil {
			v = cut(v)
		}
		return append(dst, v...), true
	}, nil
}

func buildRequestHeader(arg string, _ *Environment) (valueFunc, error) {
	return buildHeader(arg, requestHeader, nil)
}

func buildRequestHeaderWithoutQuery(arg string, _ *Environment) (valueFunc, error) {
	return buildHeader(arg, requestHeader, withoutQuery)
}

func buildResponseHeader(arg string, _ *Environment) (valueFunc, error) {
	return buildHeader(arg, responseHeader, nil)
}

func buildTrailer(arg string, _ *Environment) (valueFunc, error) {
	return buildHeader(arg, responseTrailer, nil)
}

func buildStreamID(string, *Environment) (valueFunc, error) {
	return buildHeader("x-request-id", requestHeader, nil)
}

func withoutQuery(path string) string {
	path, _, _ = strings.Cut(path, "?")
	return path
}

// requestHeader answers pseudo headers from the record's own fields, since they are
// not among the header fields.
func requestHeader(r *flow.Record, name string) (string, bool) {
	switch name {
	case ":method":
		return r.Request.Method, r.Request.Method != ""
	case ":path":
		return r.Request.Path, r.Request.Path != ""
	case ":authority", "host":
		// Without a head the request was refused while that was read.
		return r.Request.Authority, r.Request.Authority != "" || r.HTTP && r.Request.Head != nil
	case ":scheme":
		return scheme(r)
	default:
		return header(r.Request.Head, name)
	}
}

// scheme is what the forwarded-proto header says, else what the connection was.
func scheme(r *flow.Record) (string, bool) {
	if !r.HTTP {
		return "", false
	}
	if v, ok := header(r.Request.Head, "x-forwarded-proto"); ok {
		return v, true
	}
	if r.Conn != nil && r.Conn.TLS.Established {
		return "https", true
	}
	return "http", true
}

func responseHeader(r *flow.Record, name string) (string, bool) {
	return header(r.Response.Head, name)
}

func responseTrailer(r *flow.Record, name string) (string, bool) {
	return header(r.Response.Trailer, name)
}

func header(h flow.Head, name string) (string, bool) {
	if h == nil {
		return "", false
	}
	return h.Get(name)
}

// buildPath compiles PATH(WQ|NQ:ORIG|PATH|ORIG_OR_PATH).
func buildPath(arg string, _ *Environment) (valueFunc, error) {
	query, which, _ := strings.Cut(arg, ":")
	var cut func(string) string
	switch query {
	case "", "WQ":
	case "NQ":
		cut = withoutQuery
	default:
		return nil, fmt.Errorf("%q is neither WQ nor NQ", query)
	}
	switch which {
	case "", "ORIG_OR_PATH":
		return buildHeader("x-envoy-original-path?:path", requestHeader, cut)
	case "ORIG":
		return buildHeader("x-envoy-original-path", requestHeader, cut)
	case "PATH":
		return buildHeader(":path", requestHeader, cut)
	default:
		return nil, fmt.Errorf("%q is none of ORIG, PATH, ORIG_OR_PATH", which)
	}
}

// buildQueryParam compiles the look-up of one parameter, left in its encoded form.
func buildQueryParam(arg string, _ *Environment) (valueFunc, error) {
	return func(dst []byte, r *flow.Record) ([]byte, bool) {
		_, query, _ := strings.Cut(r.Request.Path, "?")
		for query != "" {
			var pair string
			pair, query, _ = strings.Cut(query, "&")
			if name, value, _ := strings.Cut(pair, "="); name == arg {
				return append(dst, value...), true
			}
		}
		return dst, false
	}, nil
}

func buildQueryParams(arg string, _ *Environment) (valueFunc, error) {
	if arg != "" && arg != "ORIG" && arg != "DECODED" {
		return nil, fmt.Errorf("%q is neither ORIG nor DECODED", arg)
	}
	return func(dst []byte, r *flow.Record) ([]byte, bool) {
		_, query, ok := strings.Cut(r.Request.Path, "?")
		return append(dst, query...), ok
	}, nil
}

func protocol(dst []byte, r *flow.Record) ([]byte, bool) {
	if !r.HTTP {
		return dst, false
	}
	return str(dst, r.Request.Protocol)
}

// responseCode is 0, not absent, where no response was begun and for TCP.
func responseCode(dst []byte, r *flow.Record) ([]byte, bool) {
	return strconv.AppendInt(dst, int64(r.Response.Status), 10), true
}

// buildDetails compiles RESPONSE_CODE_DETAILS; spaces become underscores unless
// they are explicitly allowed.
func buildDetails(arg string, _ *Environment) (valueFunc, error) {
	switch arg {
	case "":
		return func(dst []byte, r *flow.Record) ([]byte, bool) { return unspaced(dst, r.Details) }, nil
	case "ALLOW_WHITESPACES":
		return func(dst []byte, r *flow.Record) ([]byte, bool) { return str(dst, r.Details) }, nil
	default:
		return nil, errors.New("only ALLOW_WHITESPACES is possible")
	}
}

// unspaced appends a string with underscores for white space.
func unspaced(dst []byte, s string) ([]byte, bool) {
	mark := len(dst)
	dst = append(dst, s...)
	for i, c := range dst[mark:] {
		if c == ' ' || c >= '\t' && c <= '\r' {
			dst[mark+i] = '_'
		}
	}
	return dst, s != ""
}

func routeName(dst []byte, r *flow.Record) ([]byte, bool) { return str(dst, r.Route) }

func terminationDetails(dst []byte, r *flow.Record) ([]byte, bool) {
	return str(dst, r.Termination)
}

// logType is the moment of logging: records are always seen at their end.
func logType(dst []byte, r *flow.Record) ([]byte, bool) {
	if r.HTTP {
		return append(dst, "DownstreamEnd"...), true
	}
	return append(dst, "TcpConnectionEnd"...), true
}

func bytesReceived(dst []byte, r *flow.Record) ([]byte, bool) {
	return strconv.AppendInt(dst, r.Request.Bytes, 10), true
}

func bytesSent(dst []byte, r *flow.Record) ([]byte, bool) {
	return strconv.AppendInt(dst, r.Response.Bytes, 10), true
}

func attemptCount(dst []byte, r *flow.Record) ([]byte, bool) {
	return strconv.AppendInt(dst, int64(r.Upstream.Attempts), 10), true
}

func clusterName(dst []byte, r *flow.Record) ([]byte, bool) { return str(dst, r.Upstream.Cluster) }

func failureReason(dst []byte, r *flow.Record) ([]byte, bool) {
	return unspaced(dst, r.Upstream.FailureReason)
}

package accesslog

import (
	"errors"
	"fmt"
	"slices"

	"github.com/outrigger-mesh/outrigger/flow"
)

// IstioTextFormat is what istiod asks for where the mesh names no format of its own.
const IstioTextFormat = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" ` +
	`%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ` +
	`"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ` +
	`%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ` +
	`"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% ` +
	`%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ` +
	`%REQUESTED_SERVER_NAME% %ROUTE_NAME%` + "\n"

// EnvoyTextFormat is what a file access log without a format means.
const EnvoyTextFormat = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" ` +
	`%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ` +
	`%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ` +
	`"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"` + "\n"

// ErrOperator is in the chain of an error that an unknown or misused operator earns.
var ErrOperator = errors.New("invalid access log operator")

// Environment is what operators may ask of the process. Both fields are optional.
type Environment struct {
	Hostname string
	// Lookup finds an environment variable, as os.LookupEnv does.
	Lookup func(name string) (string, bool)
}

// Format is a compiled format. It is immutable and safe for concurrent use.
type Format struct {
	write      func(dst []byte, r *flow.Record) []byte
	unanswered []string
}

// Append writes the record's line to dst. It keeps nothing of the record and does
// not allocate while dst has room.
func (f *Format) Append(dst []byte, r *flow.Record) []byte { return f.write(dst, r) }

// Unanswered names the operators that Envoy knows and that always render as absent
// here, in order and without repetition.
func (f *Format) Unanswered() []string { return slices.Clone(f.unanswered) }

// ParseText compiles an Envoy format string. With omitEmpty, absent values leave no
// dash.
func ParseText(format string, env Environment, omitEmpty bool) (*Format, error) {
	c := compiler{env: env, omitEmpty: omitEmpty}
	parts, err := c.parts(format)
	if err != nil {
		return nil, err
	}
	write := func(dst []byte, r *flow.Record) []byte {
		for i := range parts {
			dst = parts[i].text(dst, r)
		}
		return dst
	}
	return &Format{write: write, unanswered: c.unanswered}, nil
}

// compiler collects what the parts of one format have in common.
type compiler struct {
	env        Environment
	omitEmpty  bool
	unanswered []string
}

// part is a literal, or an operator with its limit.
type part struct {
	literal string
	value   valueFunc
	shape   shape
	limit   int
	absent  string
}

// parts compiles the tokens of a format string.
func (c *compiler) parts(format string) ([]part, error) {
	tokens, err := scan(format)
	if err != nil {
		return nil, err
	}
	parts := make([]part, len(tokens))
	for i, t := range tokens {
		if t.name == "" {
			parts[i] = part{literal: t.literal}
			continue
		}
		if parts[i], err = c.operator(t); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

func (c *compiler) operator(t token) (part, error) {
	p := part{limit: t.limit, absent: "-"}
	if c.omitEmpty {
		p.absent = ""
	}
	s, known := operators[t.name]
	if !known {
		return part{}, fmt.Errorf("%w: %%%s%% is not known", ErrOperator, t.name)
	}
	if s.build == nil {
		if !slices.Contains(c.unanswered, t.name) {
			c.unanswered = append(c.unanswered, t.name)
		}
		p.value, p.shape = absent, plain
		return p, nil
	}
	if err := s.arg.check(t); err != nil {
		return part{}, fmt.Errorf("%w: %%%s%% %w", ErrOperator, t.name, err)
	}
	value, err := s.build(t.arg, &c.env)
	if err != nil {
		return part{}, fmt.Errorf("%w: %%%s(%s)%%: %w", ErrOperator, t.name, t.arg, err)
	}
	p.value, p.shape = value, s.shape
	return p, nil
}

// text appends the part as a piece of a text line.
func (p *part) text(dst []byte, r *flow.Record) []byte {
	if p.value == nil {
		return append(dst, p.literal...)
	}
	mark := len(dst)
	dst, ok := p.raw(dst, r)
	if !ok {
		return append(dst[:mark], p.absent...)
	}
	if p.shape == foreign {
		return escapeText(dst, mark)
	}
	return dst
}

// raw appends the value unescaped and cut to its limit.
func (p *part) raw(dst []byte, r *flow.Record) ([]byte, bool) {
	mark := len(dst)
	dst, ok := p.value(dst, r)
	if ok && p.limit >= 0 && len(dst)-mark > p.limit {
		dst = dst[:mark+p.limit]
	}
	return dst, ok
}

package accesslog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
)

// iso8601 is the layout of times for which the format names none.
const iso8601 = "2006-01-02T15:04:05.000Z07:00"

func started(r *flow.Record) time.Time { return r.Start }
func emitted(r *flow.Record) time.Time { return r.Start.Add(r.Duration) }

func buildStartTime(arg string, _ *Environment) (valueFunc, error) {
	return buildTime(arg, started, time.UTC)
}

func buildStartTimeLocal(arg string, _ *Environment) (valueFunc, error) {
	return buildTime(arg, started, time.Local)
}

func buildEmitTime(arg string, _ *Environment) (valueFunc, error) {
	return buildTime(arg, emitted, time.UTC)
}

func buildEmitTimeLocal(arg string, _ *Environment) (valueFunc, error) {
	return buildTime(arg, emitted, time.Local)
}

func buildTime(arg string, source func(*flow.Record) time.Time, zone *time.Location) (valueFunc, error) {
	if arg == "" {
		return func(dst []byte, r *flow.Record) ([]byte, bool) {
			return source(r).In(zone).AppendFormat(dst, iso8601), true
		}, nil
	}
	layout, err := parseTimeLayout(arg)
	if err != nil {
		return nil, err
	}
	return func(dst []byte, r *flow.Record) ([]byte, bool) {
		return layout.append(dst, source(r).In(zone)), true
	}, nil
}

// buildCertEnd compiles the end of a certificate's validity.
func buildCertEnd(source identitySource) func(string, *Environment) (valueFunc, error) {
	return func(arg string, _ *Environment) (valueFunc, error) {
		if arg == "" {
			arg = "%Y-%m-%dT%H:%M:%S.000Z"
		}
		layout, err := parseTimeLayout(arg)
		if err != nil {
			return nil, err
		}
		return func(dst []byte, r *flow.Record) ([]byte, bool) {
			id := source(r)
			if id == nil || id.NotAfter.IsZero() {
				return dst, false
			}
			return layout.append(dst, id.NotAfter.UTC()), true
		}, nil
	}
}

func milliseconds(dst []byte, d time.Duration) []byte {
	return strconv.AppendInt(dst, d.Milliseconds(), 10)
}

func duration(dst []byte, r *flow.Record) ([]byte, bool) {
	return milliseconds(dst, r.Duration), true
}

// requestDuration is absent until the request's last byte has arrived.
func requestDuration(dst []byte, r *flow.Record) ([]byte, bool) {
	if r.Request.Complete == 0 {
		return dst, false
	}
	return milliseconds(dst, r.Request.Complete), true
}

// responseDuration is the time to the response's first byte; our own replies have
// none.
func responseDuration(dst []byte, r *flow.Record) ([]byte, bool) {
	if r.Response.FirstByte == 0 || r.Response.Local {
		return dst, false
	}
	return milliseconds(dst, r.Response.FirstByte), true
}

func responseSendDuration(dst []byte, r *flow.Record) ([]byte, bool) {
	if r.Response.FirstByte == 0 || r.Response.Local {
		return dst, false
	}
	return milliseconds(dst, r.Duration-r.Response.FirstByte), true
}

// moments are the points in time of COMMON_DURATION that a record holds, as
// distances from its start.
var moments = map[string]func(*flow.Record) (time.Duration, bool){
	"DS_RX_BEG": func(*flow.Record) (time.Duration, bool) { return 0, true },
	"DS_RX_END": func(r *flow.Record) (time.Duration, bool) {
		return r.Request.Complete, r.Request.Complete != 0
	},
	"US_RX_BEG": func(r *flow.Record) (time.Duration, bool) {
		return r.Response.FirstByte, r.Response.FirstByte != 0 && !r.Response.Local
	},
	"DS_TX_BEG": func(r *flow.Record) (time.Duration, bool) {
		return r.Response.FirstByte, r.Response.FirstByte != 0
	},
	"DS_TX_END": func(r *flow.Record) (time.Duration, bool) { return r.Duration, r.Duration != 0 },
	"US_TX_BEG": nil,
	"US_TX_END": nil,
	"US_CX_BEG": nil,
	"US_CX_END": nil,
	"US_HS_END": nil,
	"US_RX_END": nil,
}

// buildCommonDuration compiles COMMON_DURATION(FROM:TO:PRECISION).
func buildCommonDuration(arg string, _ *Environment) (valueFunc, error) {
	words := strings.Split(arg, ":")
	if len(words) < 2 || len(words) > 3 {
		return nil, errors.New("two points in time and a precision are expected")
	}
	from, known := moments[words[0]]
	if !known {
		return nil, fmt.Errorf("the point in time %q is not known", words[0])
	}
	to, known := moments[words[1]]
	if !known {
		return nil, fmt.Errorf("the point in time %q is not known", words[1])
	}
	unit := time.Millisecond
	if len(words) == 3 {
		switch words[2] {
		case "ms":
		case "us":
			unit = time.Microsecond
		case "ns":
			unit = time.Nanosecond
		default:
			return nil, fmt.Errorf("the precision %q is none of ms, us, ns", words[2])
		}
	}
	if from == nil || to == nil {
		return absent, nil
	}
	return func(dst []byte, r *flow.Record) ([]byte, bool) {
		a, first := from(r)
		b, second := to(r)
		if !first || !second || b < a {
			return dst, false
		}
		return strconv.AppendInt(dst, int64((b-a)/unit), 10), true
	}, nil
}

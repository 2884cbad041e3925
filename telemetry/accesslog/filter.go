package accesslog

import "github.com/outrigger-mesh/outrigger/flow"

// Filter decides whether a record is logged. A nil Filter takes all.
type Filter func(*flow.Record) bool

// And takes what all filters take.
func And(filters ...Filter) Filter {
	return func(r *flow.Record) bool {
		for _, f := range filters {
			if f != nil && !f(r) {
				return false
			}
		}
		return true
	}
}

// Or takes what at least one filter takes.
func Or(filters ...Filter) Filter {
	return func(r *flow.Record) bool {
		for _, f := range filters {
			if f == nil || f(r) {
				return true
			}
		}
		return false
	}
}

// Comparison is an operator of a status or duration filter.
type Comparison uint8

// The comparisons, as Envoy's ComparisonFilter names them.
const (
	Equal Comparison = iota
	AtLeast
	AtMost
	NotEqual
)

func (c Comparison) holds(got, want int64) bool {
	switch c {
	case Equal:
		return got == want
	case AtLeast:
		return got >= want
	case AtMost:
		return got <= want
	case NotEqual:
		return got != want
	default:
		return false
	}
}

// Status compares the response status; it is 0 where no response was begun.
func Status(c Comparison, want int) Filter {
	return func(r *flow.Record) bool { return c.holds(int64(r.Response.Status), int64(want)) }
}

// Milliseconds compares the flow's duration.
func Milliseconds(c Comparison, want int64) Filter {
	return func(r *flow.Record) bool { return c.holds(r.Duration.Milliseconds(), want) }
}

// WithFlags takes records that have at least one of the flags. Without any flag
// named, it takes records that have one at all.
func WithFlags(flags ...flow.Flag) Filter {
	var want flow.Flags
	for _, f := range flags {
		want.Set(f)
	}
	if want == 0 {
		want = ^want
	}
	return func(r *flow.Record) bool { return r.Flags&want != 0 }
}

package http1

import "github.com/outrigger-mesh/outrigger/proxy/httpmsg"

// Names says how the names of fields are written.
type Names uint8

// The ways of writing names, Envoy's header_key_format.
const (
	// LowerCase is for everybody: names have no case.
	LowerCase Names = iota
	// ProperCase writes names that were not learnt as Proper-Case.
	ProperCase
	// PreserveCase learns how names are written in the heads that are read, for
	// whoever sends the message on.
	PreserveCase
	// PreserveOrProperCase does so, too; names that were not learnt are Proper-Case.
	PreserveOrProperCase
)

// learner is what a parser keeps spellings in, or nil.
func (n Names) learner() *httpmsg.Spelling {
	if n < PreserveCase {
		return nil
	}
	return &httpmsg.Spelling{Proper: n == PreserveOrProperCase}
}

// naming writes the names of one head.
type naming struct {
	spelling *httpmsg.Spelling
	proper   bool
}

func (n Names) of(h *httpmsg.Header) naming {
	return naming{spelling: h.Spelling, proper: n == ProperCase}
}

func (n naming) append(b []byte, name string) []byte {
	switch {
	case n.spelling != nil:
		return n.spelling.Append(b, name)
	case n.proper:
		return httpmsg.AppendProper(b, name)
	default:
		return append(b, name...)
	}
}

// field appends a line of the codec's own, whose value needs no care.
func (n naming) field(b []byte, name, value string) []byte {
	b = append(n.append(b, name), ": "...)
	return append(append(b, value...), "\r\n"...)
}

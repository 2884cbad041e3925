package authz

import (
	"net/netip"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/match"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// Facts are what is known when a decision is made.
type Facts struct {
	Conn *flow.Conn
	// Request is nil for a connection. Its path is normalised already.
	Request *httpmsg.Request
	// Remote is the downstream's address as far as forwarding headers are trusted;
	// the connection's own where there are none.
	Remote netip.Addr

	path   string // the request's path without query, once asked for
	parsed bool
}

// pathOnly is the request's path without query and fragment.
func (f *Facts) pathOnly() (string, bool) {
	if f.Request == nil {
		return "", false
	}
	if !f.parsed {
		f.path, f.parsed = match.PathOnly(f.Request.Path), true
	}
	return f.path, f.Request.Path != ""
}

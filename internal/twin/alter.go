package twin

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// alteration changes one route, as somebody might by hand.
type alteration struct {
	route string // its name
	what  string
	meets []string // patterns of requests that it is seen by
	// edit reports whether it changed anything.
	edit func(*routev3.Route) bool
}

// alterations are what the run is tried with: after each it has to fail by what
// requests meet.
var alterations = map[string]alteration{
	"route":        {"exact", "goes to subset v2", []string{"outbound/match/exact*"}, alterCluster},
	"match":        {"prefix", "matches another prefix", []string{"outbound/match/prefix*"}, alterMatch},
	"weight":       {"weighted-one", "weighs its destinations the other way round", []string{"outbound/edit/weighted to one"}, alterWeight},
	"header":       {"edit", "sets another value of x-set", []string{"outbound/edit/bare", "outbound/edit/of *"}, alterHeader},
	"response":     {"edit", "does not remove x-resp-gone", []string{"outbound/edit/bare", "outbound/edit/of *"}, alterResponse},
	"timeout":      {"timeout", "waits for 30 s", []string{"outbound/failure/slow", "outbound/failure/slow gRPC"}, alterTimeout},
	"rewrite":      {"rewrite-prefix", "rewrites to another prefix", []string{"outbound/rewrite/prefix*"}, alterRewrite},
	"retry":        {"retry-5xx", "does not retry", []string{"outbound/retry/5xx*"}, alterRetry},
	"redirect":     {"redirect-full", "redirects with 301", []string{"outbound/reply/*/moved*"}, alterRedirect},
	"direct":       {"direct-text", "answers with 201", []string{"outbound/reply/GET /direct", "outbound/reply/HEAD /direct"}, alterDirect},
	"header-match": {"header-exact", "wants another header", []string{"outbound/match/header*"}, alterHeaderMatch},
}

// AlterAll tries one alteration after the other.
const AlterAll = "all"

// Alterations are the names of what can be altered.
func Alterations() []string { return slices.Sorted(maps.Keys(alterations)) }

// meeting reports whether some alteration is seen by a request.
func meeting(name string) bool {
	for _, a := range alterations {
		if a.seenBy(name) {
			return true
		}
	}
	return false
}

func (a *alteration) seenBy(name string) bool {
	return slices.ContainsFunc(a.meets, func(p string) bool { return glob(p, name) })
}

// unseen judges what a run with an alteration found: it has to be seen, by those that
// it is meant for and by nobody else.
func (a *alteration) unseen(kind string, r *Report) []string {
	var out []string
	if len(r.Open) == 0 {
		out = append(out, kind+": "+a.route+" "+a.what+", and no request has met it")
	}
	for _, d := range r.Open {
		if !a.seenBy(d.Trial) {
			out = append(out, kind+": "+d.String())
		}
	}
	return out
}

// apply changes the route in a resource, and says so.
func (a alteration) apply(m proto.Message) string {
	c, ok := m.(*routev3.RouteConfiguration)
	if !ok {
		return ""
	}
	for _, host := range c.GetVirtualHosts() {
		for _, r := range host.GetRoutes() {
			if r.GetName() == a.route && a.edit(r) {
				return alteredMark + a.route + " of " + c.GetName() + " " + a.what
			}
		}
	}
	return ""
}

// alteredMark begins what the relay notes of an alteration.
const alteredMark = "altered: route "

// altered is what was altered in what Outrigger got.
func (t *town) altered() []string {
	var out []string
	for _, s := range t.subjects {
		for _, e := range s.relays[Outrigger].Edits() {
			if text := e.String(); strings.Contains(text, alteredMark) {
				out = append(out, s.name+": "+text)
			}
		}
	}
	return out
}

func alterCluster(r *routev3.Route) bool {
	from := r.GetRoute().GetCluster()
	to := strings.Replace(from, "|v1|", "|v2|", 1)
	if to == from {
		return false
	}
	r.GetRoute().ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: to}
	return true
}

func alterMatch(r *routev3.Route) bool {
	r.GetMatch().PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/prefixes/"}
	return true
}

func alterHeaderMatch(r *routev3.Route) bool {
	for _, h := range r.GetMatch().GetHeaders() {
		if h.GetName() == "x-kind" {
			h.Name = "x-sort"
			return true
		}
	}
	return false
}

// alterWeight gives the weight to the other destination: istiod leaves out those that
// have none.
func alterWeight(r *routev3.Route) bool {
	changed := false
	for _, w := range r.GetRoute().GetWeightedClusters().GetClusters() {
		to := strings.Replace(w.GetName(), "|v2|", "|v1|", 1)
		changed = changed || to != w.GetName()
		w.Name = to
	}
	return changed
}

func alterHeader(r *routev3.Route) bool {
	return setHeader(r.GetRequestHeadersToAdd(), "x-set", "altered")
}

func setHeader(options []*corev3.HeaderValueOption, name, value string) bool {
	for _, o := range options {
		if o.GetHeader().GetKey() == name {
			o.Header.Value = value
			return true
		}
	}
	return false
}

func alterResponse(r *routev3.Route) bool {
	n := len(r.GetResponseHeadersToRemove())
	r.ResponseHeadersToRemove = slices.DeleteFunc(r.GetResponseHeadersToRemove(), func(h string) bool { return h == "x-resp-gone" })
	return len(r.GetResponseHeadersToRemove()) < n
}

func alterTimeout(r *routev3.Route) bool {
	r.GetRoute().Timeout = durationpb.New(30 * time.Second)
	return true
}

func alterRewrite(r *routev3.Route) bool {
	r.GetRoute().PrefixRewrite = "/altered/"
	return true
}

func alterRetry(r *routev3.Route) bool {
	r.GetRoute().RetryPolicy = nil
	return true
}

func alterRedirect(r *routev3.Route) bool {
	r.GetRedirect().ResponseCode = routev3.RedirectAction_MOVED_PERMANENTLY
	return true
}

func alterDirect(r *routev3.Route) bool {
	r.GetDirectResponse().Status = 201
	return true
}

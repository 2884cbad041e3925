package admin

import (
	"bufio"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

const (
	adminType  = "type.googleapis.com/envoy.admin.v3."
	secretType = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	maxRegexp  = 1024
)

// Stage is how far a resource has come.
type Stage uint8

// The stages. Static resources did not come by xDS.
const (
	Active Stage = iota
	Warming
	Static
)

// Resource is one configuration resource as it was received.
type Resource struct {
	Name    string
	Version string
	TypeURL string
	Updated time.Time
	Stage   Stage
	// Raw returns the resource's bytes; nil where no version was ever accepted. It
	// is called only for resources that are shown.
	Raw func() []byte
	// Rejected is the last version that was refused, or nil.
	Rejected *Rejection
}

// Rejection is why a version of a resource was refused.
type Rejection struct {
	Version string
	Details string
	At      time.Time
	Raw     func() []byte
}

// Secret is key material, of which only the public part is ever handed over.
type Secret struct {
	Name    string
	Version string
	Updated time.Time
	Warming bool
	// Chain is the certificate chain as PEM; Roots a trust bundle as PEM.
	Chain, Roots []byte
}

// Dump lends the sections of /config_dump. A sequence may be read several times.
type Dump struct {
	// Bootstrap is the JSON of the bootstrap message that this process stands for.
	Bootstrap func() json.RawMessage

	Clusters   iter.Seq[Resource]
	Endpoints  iter.Seq[Resource]
	Listeners  iter.Seq[Resource]
	Routes     iter.Seq[Resource]
	Extensions iter.Seq[Resource]
	Secrets    iter.Seq[Secret]
}

// group is a repeated field of a section.
type group struct {
	field   string
	element string // message name below envoy.admin.v3
	stages  []Stage
}

// section is one of Envoy's *ConfigDump messages.
type section struct {
	message string
	inner   string // the field that holds the resource
	groups  []group
	states  bool // wraps the resource in active_state and warming_state
	source  func(*Dump) iter.Seq[Resource]
}

// sections are in Envoy's order.
var sections = []section{
	{
		message: "ClustersConfigDump", inner: "cluster",
		source: func(d *Dump) iter.Seq[Resource] { return d.Clusters },
		groups: []group{
			{"static_clusters", "ClustersConfigDump.StaticCluster", []Stage{Static}},
			{"dynamic_active_clusters", "ClustersConfigDump.DynamicCluster", []Stage{Active}},
			{"dynamic_warming_clusters", "ClustersConfigDump.DynamicCluster", []Stage{Warming}},
		},
	},
	{
		message: "EndpointsConfigDump", inner: "endpoint_config",
		source: func(d *Dump) iter.Seq[Resource] { return d.Endpoints },
		groups: []group{
			{"static_endpoint_configs", "EndpointsConfigDump.StaticEndpointConfig", []Stage{Static}},
			{"dynamic_endpoint_configs", "EndpointsConfigDump.DynamicEndpointConfig", []Stage{Active, Warming}},
		},
	},
	{
		message: "EcdsConfigDump", inner: "ecds_filter",
		source: func(d *Dump) iter.Seq[Resource] { return d.Extensions },
		groups: []group{
			{"ecds_filters", "EcdsConfigDump.EcdsFilterConfig", []Stage{Active, Warming, Static}},
		},
	},
	{
		message: "ListenersConfigDump", inner: "listener", states: true,
		source: func(d *Dump) iter.Seq[Resource] { return d.Listeners },
		groups: []group{
			{"static_listeners", "ListenersConfigDump.StaticListener", []Stage{Static}},
			{"dynamic_listeners", "ListenersConfigDump.DynamicListener", []Stage{Active, Warming}},
		},
	},
	{
		message: "RoutesConfigDump", inner: "route_config",
		source: func(d *Dump) iter.Seq[Resource] { return d.Routes },
		groups: []group{
			{"static_route_configs", "RoutesConfigDump.StaticRouteConfig", []Stage{Static}},
			{"dynamic_route_configs", "RoutesConfigDump.DynamicRouteConfig", []Stage{Active, Warming}},
		},
	},
}

// selection is what a request asked for.
type selection struct {
	endpoints bool
	resource  string
	mask      map[string]bool
	name      *regexp.Regexp
}

func parseSelection(q url.Values) (selection, error) {
	s := selection{
		endpoints: q.Has("include_eds"),
		resource:  q.Get("resource"),
	}
	if mask := q.Get("mask"); mask != "" {
		s.mask = make(map[string]bool)
		for path := range strings.SplitSeq(mask, ",") {
			top, _, _ := strings.Cut(strings.TrimSpace(path), ".")
			s.mask[top] = true
		}
	}
	if pattern := q.Get("name_regex"); pattern != "" {
		if len(pattern) > maxRegexp {
			return selection{}, fmt.Errorf("name_regex is longer than %d bytes", maxRegexp)
		}
		re, err := regexp.Compile(pattern)
		if err != nil {
			return selection{}, fmt.Errorf("invalid name_regex: %w", err)
		}
		s.name = re
	}
	return s, nil
}

// wants reports whether a field of a section is asked for.
func (s *selection) wants(field string) bool {
	if s.resource != "" {
		return s.resource == field
	}
	return s.mask == nil || s.mask[field]
}

func (s *selection) named(name string) bool { return s.name == nil || s.name.MatchString(name) }

func (m *Mux) configDump(w http.ResponseWriter, r *http.Request) {
	sel, err := parseSelection(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if sel.resource != "" && !knownField(sel.resource) {
		http.Error(w, fmt.Sprintf("%s not found in config dump", sel.resource), http.StatusNotFound)
		return
	}
	stream(w, "application/json", func(out *bufio.Writer) {
		d := dumper{out: out, dump: &m.config.Dump, selection: sel, encoder: newEncoder(), cancelled: r.Context().Err}
		d.write()
	})
}

func knownField(field string) bool {
	switch field {
	case "bootstrap", "dynamic_active_secrets", "dynamic_warming_secrets":
		return true
	}
	for _, s := range sections {
		for _, g := range s.groups {
			if g.field == field {
				return true
			}
		}
	}
	return false
}

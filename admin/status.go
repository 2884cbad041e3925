package admin

import (
	"bufio"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/netip"
	"runtime/metrics"
	"strconv"
	"time"
)

// Cluster is what /clusters shows.
type Cluster struct {
	Name string
	// Static is true where xDS did not bring it.
	Static    bool
	Endpoints iter.Seq[Endpoint]
}

// Endpoint is a member of a cluster.
type Endpoint struct {
	Address  netip.AddrPort
	Hostname string
	// Health is the status that EDS gave: HEALTHY, UNHEALTHY, DRAINING...; empty
	// means healthy.
	Health string
	// Ejected is true while outlier detection keeps the endpoint out.
	Ejected  bool
	Weight   uint32
	Priority uint32
	Locality Locality
	Stats    []Stat
}

// Locality is where an endpoint runs.
type Locality struct {
	Region  string `json:"region,omitempty"`
	Zone    string `json:"zone,omitempty"`
	SubZone string `json:"sub_zone,omitempty"`
}

// Stat is a counter of an endpoint, or a gauge.
type Stat struct {
	Name  string
	Value uint64
	Gauge bool
}

// Listener is what /listeners shows.
type Listener struct {
	Name    string
	Address netip.AddrPort
}

// Certificate is what /certs shows.
type Certificate struct {
	// Authority is true for a trust anchor.
	Authority bool
	Path      string
	Serial    string
	URIs      []string
	From, To  time.Time
}

func (m *Mux) clusters(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("format") == "json" {
		stream(w, "application/json", m.clustersJSON)
		return
	}
	stream(w, "text/plain; charset=utf-8", m.clustersText)
}

func (m *Mux) clustersText(out *bufio.Writer) {
	for c := range all(m.config.Clusters) {
		line := func(parts ...string) {
			_, _ = out.WriteString(c.Name)
			for _, p := range parts {
				_, _ = out.WriteString("::" + p)
			}
			_ = out.WriteByte('\n')
		}
		line("observability_name", c.Name)
		line("added_via_api", strconv.FormatBool(!c.Static))
		for e := range all(c.Endpoints) {
			a := e.Address.String()
			for _, s := range e.Stats {
				line(a, s.Name, strconv.FormatUint(s.Value, 10))
			}
			line(a, "hostname", e.Hostname)
			line(a, "health_flags", e.healthFlags())
			line(a, "weight", strconv.FormatUint(uint64(e.Weight), 10))
			line(a, "region", e.Locality.Region)
			line(a, "zone", e.Locality.Zone)
			line(a, "sub_zone", e.Locality.SubZone)
			line(a, "priority", strconv.FormatUint(uint64(e.Priority), 10))
		}
	}
}

// healthFlags are Envoy's words for why an endpoint is not used.
func (e *Endpoint) healthFlags() string {
	flags := ""
	if e.Ejected {
		flags += "/failed_outlier_check"
	}
	switch e.Health {
	case "", "HEALTHY", "UNKNOWN":
	case "DEGRADED":
		flags += "/degraded_eds_health"
	case "DRAINING":
		flags += "/eds_status_draining"
	default:
		flags += "/failed_eds_health"
	}
	if flags == "" {
		return "healthy"
	}
	return flags
}

// The JSON of envoy.admin.v3.Clusters and Listeners.
type (
	socketAddress struct {
		Socket struct {
			Address string `json:"address"`
			Port    uint16 `json:"port_value"`
		} `json:"socket_address"`
	}
	statJSON struct {
		Type  string `json:"type,omitempty"`
		Name  string `json:"name"`
		Value string `json:"value,omitempty"`
	}
	healthJSON struct {
		Ejected bool   `json:"failed_outlier_check,omitempty"`
		EDS     string `json:"eds_health_status"`
	}
	hostJSON struct {
		Address  socketAddress `json:"address"`
		Stats    []statJSON    `json:"stats,omitempty"`
		Health   healthJSON    `json:"health_status"`
		Weight   uint32        `json:"weight"`
		Hostname string        `json:"hostname,omitempty"`
		Priority uint32        `json:"priority,omitempty"`
		Locality Locality      `json:"locality"`
	}
	clusterJSON struct {
		Name     string     `json:"name"`
		AddedAPI bool       `json:"added_via_api,omitempty"`
		Hosts    []hostJSON `json:"host_statuses,omitempty"`
		Observed string     `json:"observability_name"`
	}
	listenerJSON struct {
		Name    string        `json:"name"`
		Address socketAddress `json:"local_address"`
	}
)

func addressJSON(a netip.AddrPort) (s socketAddress) {
	s.Socket.Address, s.Socket.Port = a.Addr().String(), a.Port()
	return s
}

func (m *Mux) clustersJSON(out *bufio.Writer) {
	items(out, "cluster_statuses", all(m.config.Clusters), func(c Cluster) any {
		j := clusterJSON{Name: c.Name, AddedAPI: !c.Static, Observed: c.Name}
		for e := range all(c.Endpoints) {
			j.Hosts = append(j.Hosts, e.json())
		}
		return j
	})
}

func (e *Endpoint) json() hostJSON {
	h := hostJSON{
		Address: addressJSON(e.Address), Weight: e.Weight, Hostname: e.Hostname,
		Priority: e.Priority, Locality: e.Locality,
		Health: healthJSON{Ejected: e.Ejected, EDS: e.Health},
	}
	if h.Health.EDS == "" {
		h.Health.EDS = "HEALTHY"
	}
	for _, s := range e.Stats {
		j := statJSON{Name: s.Name}
		if s.Gauge {
			j.Type = "GAUGE"
		}
		if s.Value != 0 {
			j.Value = strconv.FormatUint(s.Value, 10) // 64-bit numbers are strings
		}
		h.Stats = append(h.Stats, j)
	}
	return h
}

func (m *Mux) listeners(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("format") == "json" {
		stream(w, "application/json", func(out *bufio.Writer) {
			items(out, "listener_statuses", all(m.config.Listeners), func(l Listener) any {
				return listenerJSON{Name: l.Name, Address: addressJSON(l.Address)}
			})
		})
		return
	}
	stream(w, "text/plain; charset=utf-8", func(out *bufio.Writer) {
		for l := range all(m.config.Listeners) {
			_, _ = fmt.Fprintf(out, "%s::%s\n", l.Name, l.Address)
		}
	})
}

// items writes {"key": [...]} one item at a time.
func items[T any](out *bufio.Writer, key string, seq iter.Seq[T], convert func(T) any) {
	_, _ = fmt.Fprintf(out, "{\n %q: [", key)
	first := true
	for v := range seq {
		text, err := json.MarshalIndent(convert(v), "  ", " ")
		if err != nil {
			continue // plain structs always marshal
		}
		if !first {
			_ = out.WriteByte(',')
		}
		first = false
		_, _ = out.WriteString("\n  ")
		_, _ = out.Write(text)
	}
	_, _ = out.WriteString("\n ]\n}\n")
}

// all ranges over a sequence that may be absent.
func all[T any](seq iter.Seq[T]) iter.Seq[T] {
	if seq == nil {
		return func(func(T) bool) {}
	}
	return seq
}

func (m *Mux) ready(w http.ResponseWriter, _ *http.Request) {
	state := m.config.Server.state()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if state != Live {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write([]byte(string(state) + "\n"))
}

func (m *Mux) serverInfo(w http.ResponseWriter, _ *http.Request) {
	s := &m.config.Server
	uptime := strconv.FormatInt(int64(time.Since(s.Start)/time.Second), 10) + "s"
	options := s.Options
	if options == nil {
		options = map[string]any{}
	}
	writeJSON(w, struct {
		Version string          `json:"version"`
		State   State           `json:"state"`
		All     string          `json:"uptime_all_epochs"`
		Current string          `json:"uptime_current_epoch"`
		Restart string          `json:"hot_restart_version"`
		Options map[string]any  `json:"command_line_options"`
		Node    json.RawMessage `json:"node,omitempty"`
	}{s.Version, s.state(), uptime, uptime, "disabled", options, s.Node})
}

// memory shows the runtime's numbers in the fields of envoy.admin.v3.Memory.
func memory(w http.ResponseWriter, _ *http.Request) {
	names := map[string]string{
		"allocated":          "/memory/classes/heap/objects:bytes",
		"heap_size":          "/memory/classes/total:bytes",
		"pageheap_free":      "/memory/classes/heap/free:bytes",
		"total_thread_cache": "/memory/classes/heap/stacks:bytes",
		"pageheap_unmapped":  "/memory/classes/heap/released:bytes",
	}
	out := make(map[string]string, len(names))
	for field, name := range names {
		s := []metrics.Sample{{Name: name}}
		metrics.Read(s)
		if s[0].Value.Kind() == metrics.KindUint64 {
			out[field] = strconv.FormatUint(s[0].Value.Uint64(), 10)
		}
	}
	writeJSON(w, out)
}

type (
	sanJSON struct {
		URI string `json:"uri"`
	}
	certJSON struct {
		Path   string    `json:"path"`
		Serial string    `json:"serial_number"`
		SANs   []sanJSON `json:"subject_alt_names,omitempty"`
		Days   string    `json:"days_until_expiration"`
		From   string    `json:"valid_from"`
		To     string    `json:"expiration_time"`
	}
	certsJSON struct {
		CA    []certJSON `json:"ca_cert,omitempty"`
		Chain []certJSON `json:"cert_chain,omitempty"`
	}
)

func (m *Mux) certs(w http.ResponseWriter, _ *http.Request) {
	var entry certsJSON
	for c := range all(m.config.Certificates) {
		days := max(int64(time.Until(c.To)/(24*time.Hour)), 0)
		j := certJSON{
			Path: c.Path, Serial: c.Serial, Days: strconv.FormatInt(days, 10),
			From: timestamp(c.From), To: timestamp(c.To),
		}
		for _, u := range c.URIs {
			j.SANs = append(j.SANs, sanJSON{u})
		}
		if c.Authority {
			entry.CA = append(entry.CA, j)
		} else {
			entry.Chain = append(entry.Chain, j)
		}
	}
	writeJSON(w, map[string][]certsJSON{"certificates": {entry}})
}

// timestamp is a time as protobuf's JSON has it.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

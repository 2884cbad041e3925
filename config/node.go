package config

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// withheld metadata would ask istiod for what is not built: the tunnel listener of
// ambient meshes, and names and addresses that only the DNS server of a sidecar
// can resolve.
var withheld = map[string]bool{"ENABLE_HBONE": true, "DNS_CAPTURE": true, "DNS_AUTO_ALLOCATE": true}

func (l *loader) node(f flags) Node {
	n := Node{
		Type:           f.role,
		Pod:            l.env["POD_NAME"],
		Namespace:      l.env["POD_NAMESPACE"],
		ServiceAccount: l.env.or("SERVICE_ACCOUNT", "default"),
		TrustDomain:    l.env.or("TRUST_DOMAIN", "cluster.local"),
		Addresses:      l.addresses(),
		Labels:         make(map[string]string),
	}
	if n.Pod == "" && l.src.Hostname != nil {
		if h, err := l.src.Hostname(); err == nil {
			n.Pod = h
		}
	}
	n.Domain = f.domain
	if n.Domain == "" || strings.Contains(n.Domain, "$(") {
		n.Domain = n.Namespace + ".svc.cluster.local"
	}
	for k, v := range l.labels {
		if k != "pod-template-hash" {
			n.Labels[k] = v
		}
	}
	l.metaJSON("ISTIO_METAJSON_LABELS", n.Labels)
	n.Locality = locality(n.Labels)
	n.Metadata = l.metadata(&n)
	n.Cluster = l.cluster(&n, f)
	return n
}

// metaJSON adds the string values of a JSON object in an environment variable.
func (l *loader) metaJSON(name string, into map[string]string) {
	text := l.env[name]
	if text == "" {
		return
	}
	var m map[string]string
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		l.fail("%s is not a JSON object of strings: %w", name, err)
		return
	}
	maps.Copy(into, m)
}

// cluster follows Istio's default naming policy: app.namespace, then
// istio-proxy.namespace.
func (l *loader) cluster(n *Node, f flags) string {
	if f.serviceCluster != "" {
		return f.serviceCluster
	}
	for _, label := range []string{"service.istio.io/canonical-name", "app"} {
		if app := n.Labels[label]; app != "" {
			return app + "." + n.Namespace
		}
	}
	if w, ok := n.Metadata["WORKLOAD_NAME"].(string); ok && w != "" {
		return w + "." + n.Namespace
	}
	return "istio-proxy." + n.Namespace
}

func (l *loader) metadata(n *Node) map[string]any {
	m := map[string]any{
		"NAME": n.Pod, "NAMESPACE": n.Namespace, "SERVICE_ACCOUNT": n.ServiceAccount,
		"INSTANCE_IPS": joinAddrs(n.Addresses), "LABELS": stringMap(n.Labels),
		"INTERCEPTION_MODE": "REDIRECT", "CLUSTER_ID": "Kubernetes",
		"ENVOY_STATUS_PORT": 15021, "ENVOY_PROMETHEUS_PORT": 15090,
		"METADATA_DISCOVERY": "false",
		"PILOT_SAN":          []any{"istiod.istio-system.svc"},
	}
	for k, v := range l.env {
		name, ok := strings.CutPrefix(k, "ISTIO_META_")
		if ok && name != "" {
			m[name] = v
		}
	}
	l.mergeMetaJSON(m)
	for name := range withheld {
		if v, set := m[name]; set && v != "false" {
			l.warn("ISTIO_META_" + name + ": this version has no such part")
		}
		delete(m, name)
	}
	for _, numeric := range []string{"ENVOY_STATUS_PORT", "ENVOY_PROMETHEUS_PORT"} {
		if p, err := strconv.Atoi(l.env[numeric]); err == nil && p != 0 {
			m[numeric] = p
		}
	}
	m["ISTIO_VERSION"] = reportedVersion
	m["DISABLE_HBONE_SEND"] = "true"
	if len(l.annotations) > 0 {
		m["ANNOTATIONS"] = stringMap(l.annotations)
	}
	m["PROXY_CONFIG"] = l.proxy.raw
	return m
}

// mergeMetaJSON adds ISTIO_METAJSON_* objects; labels were handled before.
func (l *loader) mergeMetaJSON(m map[string]any) {
	for _, k := range sortedKeys(l.env) {
		name, ok := strings.CutPrefix(k, "ISTIO_METAJSON_")
		if !ok || name == "LABELS" {
			continue
		}
		var v map[string]any
		if err := json.Unmarshal([]byte(l.env[k]), &v); err != nil {
			l.fail("%s is not a JSON object: %w", k, err)
			continue
		}
		maps.Copy(m, v)
	}
}

// addresses puts INSTANCE_IP first and every other usable interface address after
// it, as pilot-agent does.
func (l *loader) addresses() []netip.Addr {
	var addrs []netip.Addr
	if text := l.env["INSTANCE_IP"]; text != "" {
		a, err := netip.ParseAddr(text)
		if err != nil {
			l.fail("INSTANCE_IP %q is not an IP address", text)
			return nil
		} else {
			addrs = append(addrs, a.Unmap())
		}
	}
	if l.src.Interfaces == nil {
		return addrs
	}
	found, err := l.src.Interfaces()
	if err != nil {
		l.warn("the interfaces could not be listed: " + err.Error())
	}
	for _, a := range found {
		a = a.Unmap().WithZone("")
		usable := !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && !a.IsUnspecified()
		if usable && !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

func joinAddrs(addrs []netip.Addr) string {
	text := make([]string, len(addrs))
	for i, a := range addrs {
		text[i] = a.String()
	}
	return strings.Join(text, ",")
}

func stringMap(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// locality reads topology.istio.io/locality or istio-locality, where dots may
// stand for slashes.
func locality(labels map[string]string) Locality {
	text := labels["topology.istio.io/locality"]
	if text == "" {
		text = labels["istio-locality"]
	}
	if text == "" {
		return Locality{}
	}
	if !strings.Contains(text, "/") {
		text = strings.ReplaceAll(text, ".", "/")
	}
	parts := append(strings.SplitN(text, "/", 3), "", "", "")
	return Locality{Region: parts[0], Zone: parts[1], SubZone: parts[2]}
}

// LevelNumber maps Istio's log level names to slog's numbers. A name that is not known means info.
func (l Log) LevelNumber() int {
	n, _ := levelNumber(l.Level)
	return n
}

func levelNumber(name string) (number int, known bool) {
	switch strings.ToLower(name) {
	case "debug", "trace":
		return -4, true
	case "info":
		return 0, true
	case "warn", "warning":
		return 4, true
	case "error", "fatal", "critical":
		return 8, true
	case "none", "off":
		return 100, true
	}
	n, err := strconv.Atoi(name)
	return n, err == nil
}

package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// ProxyConfig is the part of Istio's mesh.v1alpha1.ProxyConfig that a sidecar
// acts on itself; all of it is passed on to istiod as it came.
type ProxyConfig struct {
	DiscoveryAddress         string            `json:"discoveryAddress"`
	ControlPlaneAuthPolicy   string            `json:"controlPlaneAuthPolicy"`
	ProxyAdminPort           int               `json:"proxyAdminPort"`
	Concurrency              *int              `json:"concurrency"`
	DrainDuration            string            `json:"drainDuration"`
	TerminationDrainDuration string            `json:"terminationDrainDuration"`
	ProxyMetadata            map[string]string `json:"proxyMetadata"`

	raw map[string]any
}

// defaultProxyConfig holds Istio's built-in values.
func defaultProxyConfig() map[string]any {
	return map[string]any{
		"discoveryAddress":         "istiod.istio-system.svc:15012",
		"configPath":               "./etc/istio/proxy",
		"binaryPath":               "/usr/local/bin/envoy",
		"serviceCluster":           "istio-proxy",
		"drainDuration":            "45s",
		"terminationDrainDuration": "5s",
		"proxyAdminPort":           15000,
		"controlPlaneAuthPolicy":   "MUTUAL_TLS",
		"statNameLength":           189,
		"statusPort":               15020,
	}
}

func (l *loader) readProxyConfig(meshPath string, named bool) error {
	merged := defaultProxyConfig()
	l.labels = l.readPodFile(podLabels)
	l.annotations = l.readPodFile(podAnnotations)
	b, err := l.src.ReadFile(meshPath)
	if err != nil && (named || !errors.Is(err, fs.ErrNotExist)) {
		l.warn("mesh configuration: " + err.Error() + "; built-in values are used")
	}
	if err == nil {
		var mesh struct {
			DefaultConfig map[string]any `json:"defaultConfig"`
		}
		if err := yaml.Unmarshal(b, &mesh); err != nil {
			return fmt.Errorf("mesh configuration %s: %w", meshPath, err)
		}
		l.known("mesh configuration "+meshPath, mesh.DefaultConfig)
		merge(merged, mesh.DefaultConfig)
	}
	for _, source := range []struct{ name, text string }{
		{"environment variable PROXY_CONFIG", l.env["PROXY_CONFIG"]},
		{"annotation proxy.istio.io/config", l.annotations["proxy.istio.io/config"]},
	} {
		var over map[string]any
		if err := yaml.Unmarshal([]byte(source.text), &over); err != nil {
			return fmt.Errorf("%s: %w", source.name, err)
		}
		l.known(source.name, over)
		merge(merged, over)
	}
	b, err = json.Marshal(merged)
	if err != nil {
		return fmt.Errorf("proxy configuration: %w", err)
	}
	if err := json.Unmarshal(b, &l.proxy); err != nil {
		return fmt.Errorf("proxy configuration: %w", err)
	}
	l.proxy.raw = merged
	for k, v := range l.proxy.ProxyMetadata { // as if it had been in the environment
		if _, set := l.env[k]; !set {
			l.env[k] = v
		}
	}
	return l.proxy.check()
}

// known warns of fields that Istio's ProxyConfig does not have: most are misspelt.
func (l *loader) known(source string, fields map[string]any) {
	for _, name := range sortedKeys(fields) {
		if !proxyConfigFields[name] {
			l.warn(source + ": " + name + " is no field of a proxy configuration")
		}
	}
}

// merge replaces top-level fields, and adds to maps, as Istio merges ProxyConfig.
func merge(into, over map[string]any) {
	for k, v := range over {
		old, ok := into[k].(map[string]any)
		if add, isMap := v.(map[string]any); ok && isMap {
			old = maps.Clone(old)
			maps.Copy(old, add)
			into[k] = old
			continue
		}
		into[k] = v
	}
}

func (p *ProxyConfig) check() error {
	for _, d := range []struct{ name, value string }{
		{"drainDuration", p.DrainDuration}, {"terminationDrainDuration", p.TerminationDrainDuration},
	} {
		if d.value == "" {
			continue
		}
		if v, err := time.ParseDuration(d.value); err != nil || v < 0 {
			return fmt.Errorf("proxy configuration: %s %q is not a duration such as 45s", d.name, d.value)
		}
	}
	return nil
}

func (p *ProxyConfig) drain() time.Duration { return parsed(p.DrainDuration, 45*time.Second) }
func (p *ProxyConfig) termination() time.Duration {
	return parsed(p.TerminationDrainDuration, 5*time.Second)
}

func (p *ProxyConfig) concurrency() int {
	if p.Concurrency == nil {
		return 0
	}
	return *p.Concurrency
}

func parsed(s string, fallback time.Duration) time.Duration {
	if d, err := time.ParseDuration(s); err == nil {
		return d
	}
	return fallback
}

// readPodFile parses a downward API file: lines of key="escaped value".
func (l *loader) readPodFile(path string) map[string]string {
	b, err := l.src.ReadFile(path)
	if err != nil {
		return nil
	}
	values := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		k, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		if !ok {
			continue
		}
		var text string
		if err := json.Unmarshal([]byte(v), &text); err != nil {
			l.warn(fmt.Sprintf("%s: the value of %q is not a quoted string", path, k))
			continue
		}
		values[k] = text
	}
	return values
}

// sortedKeys makes warnings and tests repeatable.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// proxyConfigFields are those of mesh.v1alpha1.ProxyConfig, with the ones that it had once.
var proxyConfigFields = map[string]bool{
	"availabilityZone": true, "binaryPath": true, "caCertificatesPem": true, "concurrency": true, "configPath": true,
	"connectionSettings": true, "controlPlaneAuthPolicy": true, "customConfigFile": true, "discoveryAddress": true,
	"discoveryRefreshDelay": true, "drainDuration": true, "envoyAccessLogService": true, "envoyMetricsService": true,
	"envoyMetricsServiceAddress": true, "extraStatTags": true, "fileFlushInterval": true, "fileFlushMinSizeKb": true,
	"gatewayTopology": true, "holdApplicationUntilProxyStarts": true, "image": true, "interceptionMode": true,
	"meshId": true, "parentShutdownDuration": true, "privateKeyProvider": true, "proxyAdminPort": true,
	"proxyBootstrapTemplatePath": true, "proxyHeaders": true, "proxyMetadata": true, "proxyStatsMatcher": true,
	"readinessProbe": true, "runtimeValues": true, "sds": true, "serviceCluster": true, "statNameLength": true,
	"statsCompression": true, "statsdUdpAddress": true, "statusPort": true, "terminationDrainDuration": true,
	"tracing": true, "tracingServiceName": true, "zipkinAddress": true,
}

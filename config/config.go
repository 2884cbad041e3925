package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Istio's fixed file names, relative to the working directory or absolute as its
// injection template mounts them.
const (
	tokenPath      = "/var/run/secrets/tokens/istio-token" //nolint:gosec // a path, not a credential
	mountedRoot    = "/var/run/secrets/istio/root-cert.pem"
	etcRoot        = "/etc/certs/root-cert.pem"
	podLabels      = "/etc/istio/pod/labels"
	podAnnotations = "/etc/istio/pod/annotations"
	meshFile       = "/etc/istio/config/mesh"
)

// reportedVersion is the Istio release whose configuration this product
// understands; istiod gates features on it.
const reportedVersion = "1.31.1"

// Config is all that a sidecar needs to know at start. It is not changed later.
type Config struct {
	Node      Node
	Discovery Discovery
	CA        CA
	Ports     Ports
	Drain     Drain
	Log       Log
	// Concurrency is the number of processors to use; 0 lets the runtime choose.
	Concurrency int
	// CPUProfile, if set, is a file that takes a profile of the process's whole life.
	CPUProfile string
	// Warnings are sentences about settings that have no effect.
	Warnings []string
}

// Node says who this proxy is.
type Node struct {
	// Type is sidecar.
	Type           string
	Pod            string
	Namespace      string
	ServiceAccount string
	TrustDomain    string
	Domain         string
	Cluster        string
	// Addresses are the pod's own; the first decides the default family.
	Addresses []netip.Addr
	Locality  Locality
	Labels    map[string]string
	// Metadata is the node metadata in the form that istiod reads.
	Metadata map[string]any
}

// Locality is region/zone/subzone.
type Locality struct{ Region, Zone, SubZone string }

// ID is the node id that istiod parses: type~ip~pod.namespace~domain.
func (n *Node) ID() string {
	ip := ""
	if len(n.Addresses) > 0 {
		ip = n.Addresses[0].String()
	}
	return strings.Join([]string{n.Type, ip, n.Pod + "." + n.Namespace, n.Domain}, "~")
}

// SPIFFE is the identity that the workload asks for.
func (n *Node) SPIFFE() string {
	return "spiffe://" + n.TrustDomain + "/ns/" + n.Namespace + "/sa/" + n.ServiceAccount
}

// IPv6 reports whether any of the node's addresses is IPv6.
func (n *Node) IPv6() bool {
	for _, a := range n.Addresses {
		if a.Is6() && !a.Is4In6() {
			return true
		}
	}
	return false
}

// Discovery says how istiod is reached.
type Discovery struct {
	Address string
	// ServerName is checked against istiod's certificate.
	ServerName string
	// Plaintext is true where the mesh runs without control plane authentication.
	Plaintext bool
	// RootFile holds the certificates that sign istiod's; "SYSTEM" means the
	// operating system's.
	RootFile  string
	TokenFile string
	// Headers are sent with every stream: clusterid and XDS_HEADER_*.
	Headers map[string]string
}

// CA says how the certificate authority is reached and what is asked of it.
type CA struct {
	Address    string
	ServerName string
	Plaintext  bool
	RootFile   string
	TokenFile  string
	Headers    map[string]string
	// TTL is the lifetime that is asked for.
	TTL time.Duration
	// GraceRatio of the lifetime is left when a certificate is renewed.
	GraceRatio float64
}

// Ports are the local ports; each is bound as Istio does.
type Ports struct {
	Admin, Health, Prometheus int
}

// Drain says how the process ends.
type Drain struct {
	// Termination is how long SIGTERM waits for exchanges to end.
	Termination time.Duration
	// Chain is how long a removed filter chain's connections may go on.
	Chain time.Duration
}

// Log says what is logged and how.
type Log struct {
	Level string
	JSON  bool
}

// Source is where Load reads from.
type Source struct {
	// Args are the command's arguments without its name: "sidecar", flags.
	Args []string
	// Environ is in the form of os.Environ.
	Environ []string
	// ReadFile is os.ReadFile.
	ReadFile func(string) ([]byte, error)
	// Exists reports whether a file is there.
	Exists func(string) bool
	// Interfaces lists the host's own unicast addresses.
	Interfaces func() ([]netip.Addr, error)
	Hostname   func() (string, error)
}

// Load builds a Config, or says everything that is wrong.
func Load(src Source) (*Config, error) {
	l := &loader{src: src, env: environ(src.Environ)}
	f, err := parseFlags(src.Args)
	if err != nil {
		return nil, err
	}
	l.warn(f.warnings...)
	if err := l.readProxyConfig(f.meshConfig, f.meshNamed); err != nil {
		return nil, err
	}
	c := &Config{
		Log:         Log{Level: f.logLevel, JSON: f.logJSON},
		Concurrency: f.concurrency,
		CPUProfile:  l.env["OUTRIGGER_CPU_PROFILE"],
		Ports: Ports{
			Admin:      l.port("proxyAdminPort", l.proxy.ProxyAdminPort, 15000),
			Health:     l.portOf("ENVOY_STATUS_PORT", 15021),
			Prometheus: l.portOf("ENVOY_PROMETHEUS_PORT", 15090),
		},
		Drain: Drain{Termination: l.proxy.termination(), Chain: l.proxy.drain()},
	}
	if c.Concurrency == 0 {
		c.Concurrency = l.proxy.concurrency()
	}
	c.Node = l.node(f)
	c.Discovery = l.discovery(c)
	c.CA = l.ca(c)
	c.Warnings = l.warnings
	return c, errors.Join(append(l.problems, c.check()...)...)
}

type loader struct {
	src         Source
	env         environment
	proxy       ProxyConfig
	labels      map[string]string
	annotations map[string]string
	warnings    []string
	problems    []error
}

func (l *loader) warn(w ...string) { l.warnings = append(l.warnings, w...) }

func (l *loader) fail(format string, args ...any) {
	l.problems = append(l.problems, fmt.Errorf(format, args...))
}

// portOf reads an environment variable.
func (l *loader) portOf(name string, fallback int) int {
	p, err := l.env.int(name, fallback)
	if err != nil {
		l.fail("%w", err)
	}
	return l.port(name, p, fallback)
}

func (l *loader) port(name string, p, fallback int) int {
	if p == 0 {
		return fallback
	}
	if p < 1 || p > 65535 {
		l.fail("%s: %d is no port (1 to 65535)", name, p)
	}
	return p
}

func (c *Config) check() []error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	need(c.Node.Type == "sidecar", "only the role \"sidecar\" is supported: proxy sidecar")
	need(c.Node.Namespace != "", "POD_NAMESPACE is not set: the injected container gets it from metadata.namespace, "+
		"a virtual machine from cluster.env")
	need(len(c.Node.Addresses) > 0, "this node has no address: set INSTANCE_IP, or give an interface an address that is not loopback's")
	need(reachable(c.Discovery.Address), "discoveryAddress in PROXY_CONFIG: "+notReachable(c.Discovery.Address))
	if c.CA.Address != c.Discovery.Address {
		need(reachable(c.CA.Address), "CA_ADDR: "+notReachable(c.CA.Address))
	}
	return errs
}

// reachable reports whether an address names a host and a port.
func reachable(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || strings.Contains(addr, "/") {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

func notReachable(addr string) string {
	return strconv.Quote(addr) + " is not a host and a port, such as istiod.istio-system.svc:15012"
}

func (l *loader) discovery(c *Config) Discovery {
	addr := l.proxy.DiscoveryAddress
	d := Discovery{
		Address:    addr,
		ServerName: l.env.or("ISTIOD_SAN", serverName(addr)),
		Plaintext:  strings.EqualFold(l.proxy.ControlPlaneAuthPolicy, "NONE") || strings.HasSuffix(addr, ":15010"),
		RootFile:   l.rootFile("XDS_ROOT_CA"),
		TokenFile:  tokenPath,
		Headers:    l.headers("XDS_HEADER_", c),
	}
	return d
}

func (l *loader) ca(c *Config) CA {
	addr := l.env.or("CA_ADDR", c.Discovery.Address)
	ratio, err := l.env.float("SECRET_GRACE_PERIOD_RATIO", 0.5)
	if err != nil {
		l.fail("%w", err)
	}
	ttl, err := l.env.duration("SECRET_TTL", 24*time.Hour)
	if err != nil {
		l.fail("%w", err)
	}
	return CA{
		Address: addr, ServerName: l.env.or("ISTIOD_SAN", serverName(addr)), Plaintext: strings.HasSuffix(addr, ":15010"),
		RootFile: l.rootFile("CA_ROOT_CA"), TokenFile: tokenPath, Headers: l.headers("CA_HEADER_", c),
		TTL: ttl, GraceRatio: ratio,
	}
}

// rootFile follows pilot-agent's order of places.
func (l *loader) rootFile(override string) string {
	if f := l.env[override]; f != "" {
		return f
	}
	places := []string{"." + etcRoot}
	if prov := l.env["PROV_CERT"]; prov != "" {
		places = append(places, filepath.Join(prov, "root-cert.pem"))
	}
	places = append(places, "."+mountedRoot)
	for _, p := range places {
		if l.src.Exists(p) {
			return p
		}
	}
	return mountedRoot
}

func (l *loader) headers(prefix string, c *Config) map[string]string {
	h := make(map[string]string)
	if id, ok := c.Node.Metadata["CLUSTER_ID"].(string); ok && id != "" {
		h["clusterid"] = id
	}
	for k, v := range l.env {
		if name, ok := strings.CutPrefix(k, prefix); ok && name != "" {
			h[strings.ToLower(name)] = v
		}
	}
	return h
}

// serverName is the host part of istiod's address; on localhost istiod's
// certificate carries its service name.
func serverName(addr string) string {
	host, _, found := strings.Cut(addr, ":")
	if i := strings.LastIndexByte(addr, ':'); found && i >= 0 {
		host = strings.Trim(addr[:i], "[]")
	}
	if host == "localhost" {
		return "istiod.istio-system.svc"
	}
	return host
}

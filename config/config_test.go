package config_test

import (
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/config"
)

// injected is what Istio's injector gives the proxy container.
func injected() config.Source {
	files := map[string]string{
		"/etc/istio/pod/labels":      "app=\"web\"\npod-template-hash=\"x\"\nversion=\"v1\"\ntopology.istio.io/locality=\"r1.z1\"\n",
		"/etc/istio/pod/annotations": "note=\"a \\\"quoted\\\" one\"\n",
	}
	return config.Source{
		Args: []string{
			"sidecar", "--domain", "shop.svc.cluster.local", "--proxyLogLevel=warning",
			"--proxyComponentLogLevel=misc:error", "--log_output_level=default:debug,ads:info", "--log_as_json",
		},
		Environ: []string{
			"PILOT_CERT_PROVIDER=istiod", "CA_ADDR=istiod.istio-system.svc:15012", "POD_NAME=web-1", "POD_NAMESPACE=shop",
			"INSTANCE_IP=10.0.1.1", "SERVICE_ACCOUNT=web", "HOST_IP=10.0.0.1", "ISTIO_META_CLUSTER_ID=Kubernetes",
			`PROXY_CONFIG={"proxyMetadata":{"ISTIO_META_DNS_CAPTURE":"true","ISTIO_META_NOTE":"yes"},"terminationDrainDuration":"7s"}`,
			"ISTIO_META_WORKLOAD_NAME=web", "ISTIO_META_ENABLE_HBONE=true", "TRUST_DOMAIN=cluster.local",
			"XDS_HEADER_X-Extra=1", `ISTIO_META_POD_PORTS=[{"name":"http","containerPort":8080,"protocol":"TCP"}]`,
		},
		ReadFile: func(name string) ([]byte, error) {
			if text, ok := files[name]; ok {
				return []byte(text), nil
			}
			return nil, fs.ErrNotExist
		},
		Exists: func(string) bool { return false },
		Interfaces: func() ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fe80::1")}, nil
		},
	}
}

func load(t *testing.T, src config.Source) *config.Config {
	t.Helper()
	c, err := config.Load(src)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestInjectedContainerIsUnderstood(t *testing.T) {
	t.Parallel()
	c := load(t, injected())
	for _, check := range []struct{ what, got, want string }{
		{"node id", c.Node.ID(), "sidecar~10.0.1.1~web-1.shop~shop.svc.cluster.local"},
		{"node cluster", c.Node.Cluster, "web.shop"},
		{"identity", c.Node.SPIFFE(), "spiffe://cluster.local/ns/shop/sa/web"},
		{"region", c.Node.Locality.Region, "r1"},
		{"zone", c.Node.Locality.Zone, "z1"},
		{"addresses", c.Node.Metadata["INSTANCE_IPS"].(string), "10.0.1.1,fd00::1"},
		{"discovery", c.Discovery.Address, "istiod.istio-system.svc:15012"},
		{"server name", c.Discovery.ServerName, "istiod.istio-system.svc"},
		{"cluster header", c.Discovery.Headers["clusterid"], "Kubernetes"},
		{"extra header", c.Discovery.Headers["x-extra"], "1"},
		{"log level", c.Log.Level, "debug"},
		{"annotation", c.Node.Metadata["ANNOTATIONS"].(map[string]any)["note"].(string), `a "quoted" one`},
		{"proxy metadata", c.Node.Metadata["NOTE"].(string), "yes"},
		{"version", c.Node.Metadata["ISTIO_VERSION"].(string), "1.31.1"},
		{"no tunnels", c.Node.Metadata["DISABLE_HBONE_SEND"].(string), "true"},
	} {
		if check.got != check.want {
			t.Errorf("%s: got %q, want %q", check.what, check.got, check.want)
		}
	}
	for _, name := range []string{"ENABLE_HBONE", "DNS_CAPTURE"} {
		if _, ok := c.Node.Metadata[name]; ok {
			t.Errorf("%s must not be reported: there is no such part", name)
		}
	}
	if _, ok := c.Node.Labels["pod-template-hash"]; ok {
		t.Error("pod-template-hash must not be among the labels")
	}
	if c.Drain.Termination != 7*time.Second || c.Drain.Chain != 45*time.Second {
		t.Errorf("drain: got %+v", c.Drain)
	}
	if !c.Log.JSON || len(c.Warnings) != 2 {
		t.Errorf("JSON %v, warnings %q", c.Log.JSON, c.Warnings)
	}
}

func TestAnnotationWinsOverEnvironment(t *testing.T) {
	t.Parallel()
	src := injected()
	read := src.ReadFile
	src.ReadFile = func(name string) ([]byte, error) {
		if name == "/etc/istio/pod/annotations" {
			return []byte(`proxy.istio.io/config="concurrency: 3\nterminationDrainDuration: 9s\nproxyMetadata:\n  ISTIO_META_NETWORK: n1\n"` + "\n"), nil
		}
		return read(name)
	}
	c := load(t, src)
	if c.Concurrency != 3 || c.Drain.Termination != 9*time.Second {
		t.Errorf("got concurrency %d, drain %v", c.Concurrency, c.Drain.Termination)
	}
	if c.Node.Metadata["NETWORK"] != "n1" || c.Node.Metadata["NOTE"] != "yes" {
		t.Errorf("proxyMetadata is not merged: %v", c.Node.Metadata)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		edit func(*config.Source)
		want string
	}{
		{"role", func(s *config.Source) { s.Args[0] = "router" }, "sidecar"},
		{"namespace", func(s *config.Source) { s.Environ = append(s.Environ, "POD_NAMESPACE=") }, "POD_NAMESPACE"},
		{"address", func(s *config.Source) { s.Environ = append(s.Environ, "INSTANCE_IP=ten") }, "INSTANCE_IP"},
		{"proxy config", func(s *config.Source) { s.Environ = append(s.Environ, "PROXY_CONFIG={") }, "PROXY_CONFIG"},
		{"duration", func(s *config.Source) { s.Environ = append(s.Environ, `PROXY_CONFIG={"drainDuration":"soon"}`) }, "drainDuration"},
		{"ttl", func(s *config.Source) { s.Environ = append(s.Environ, "SECRET_TTL=-1h") }, "SECRET_TTL"},
		{"concurrency", func(s *config.Source) { s.Args = append(s.Args, "--concurrency", "many") }, "--concurrency"},
		{"health port", func(s *config.Source) { s.Environ = append(s.Environ, "ENVOY_STATUS_PORT=x") }, `ENVOY_STATUS_PORT="x"`},
		{"metrics port", func(s *config.Source) { s.Environ = append(s.Environ, "ENVOY_PROMETHEUS_PORT=70000") }, "ENVOY_PROMETHEUS_PORT: 70000"},
		{"admin port", func(s *config.Source) { s.Environ = append(s.Environ, `PROXY_CONFIG={"proxyAdminPort":-1}`) }, "proxyAdminPort: -1"},
		{"authority's address", func(s *config.Source) { s.Environ = append(s.Environ, "CA_ADDR=https://ca:15012") }, "CA_ADDR: "},
		{"istiod without port", func(s *config.Source) {
			s.Environ = append(s.Environ, `PROXY_CONFIG={"discoveryAddress":"istiod"}`)
		}, `discoveryAddress in PROXY_CONFIG: "istiod"`},
		{"flag without value", func(s *config.Source) { s.Args = append(s.Args, "--domain") }, "--domain needs a value"},
		{"labels", func(s *config.Source) { s.Environ = append(s.Environ, "ISTIO_METAJSON_LABELS=[]") }, "ISTIO_METAJSON_LABELS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			src := injected()
			c.edit(&src)
			_, err := config.Load(src)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error that names %s", err, c.want)
			}
		})
	}
}

func TestUnknownFlagIsNamedOnce(t *testing.T) {
	t.Parallel()
	src := injected()
	src.Args = append(src.Args, "--newFlag=1")
	c := load(t, src)
	if n := strings.Count(strings.Join(c.Warnings, "\n"), "--newFlag"); n != 1 {
		t.Errorf("got %q, want one warning about --newFlag", c.Warnings)
	}
}

func TestSettingsWithoutEffectAreNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		edit func(*config.Source)
		want string
	}{
		{"misspelt field", func(s *config.Source) {
			s.Environ = append(s.Environ, `PROXY_CONFIG={"discoveryAdress":"istiod:15010"}`)
		}, "PROXY_CONFIG: discoveryAdress"},
		{"missing mesh file", func(s *config.Source) { s.Args = append(s.Args, "--meshConfig=/nowhere") }, "mesh configuration: "},
		{"unknown level", func(s *config.Source) { s.Args = append(s.Args, "--log_output_level=default:loud") }, `"loud"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			plain := load(t, injected())
			src := injected()
			c.edit(&src)
			warnings := load(t, src).Warnings
			if !strings.Contains(strings.Join(warnings, "\n"), c.want) {
				t.Errorf("got %q, want a warning that names %s", warnings, c.want)
			}
			if strings.Contains(strings.Join(plain.Warnings, "\n"), c.want) {
				t.Errorf("an injected container is warned: %q", plain.Warnings)
			}
		})
	}
}

func TestHelpIsToldWithoutConfiguration(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"--help", "-h", "-help"} {
		_, err := config.Load(config.Source{Args: []string{"sidecar", word}})
		if !errors.Is(err, config.ErrHelp) {
			t.Errorf("%s: got %v, want %v", word, err, config.ErrHelp)
		}
	}
}

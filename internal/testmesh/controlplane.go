package testmesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/kubestub"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/launch"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/netns"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/pki"
)

// The network of every mesh: pods have addresses of 10.0.0.0/16 and, if they
// want, the same one embedded in a unique local IPv6 prefix.
var (
	gateway4 = netip.AddrFrom4([4]byte{10, 0, 255, 1})
	gateway6 = embed(gateway4) //nolint:gochecknoglobals // derived from the other one
)

const (
	bridge  = "br0"
	bits4   = 16
	bits6   = 64
	apiAddr = "127.0.0.1:16443" // in the control plane's namespace
	jwkAddr = "127.0.0.1:18080"
)

// embed returns the IPv6 address that belongs to an IPv4 one.
func embed(a netip.Addr) netip.Addr {
	four := a.As4()
	return netip.AddrFrom16([16]byte{0xfd, 0x6f, 0x75, 0x74, 0x72, 0x67, 12: four[0], 13: four[1], 14: four[2], 15: four[3]})
}

// controlPlane is the namespace with the bridge, what listens in it, and istiod.
type controlPlane struct {
	// immutable
	ns      *netns.Namespace
	starter *launch.Starter
	client  *http.Client
	log     string
	spec    *launch.Spec
	servers []*http.Server
	served  sync.WaitGroup

	mu      sync.Mutex
	process *launch.Process // guarded by mu; the last istiod started
}

// newControlPlane makes the namespace and starts the stub API and the key server.
func newControlPlane(ctx context.Context, name string, store *kubestub.Store, issuer *pki.Issuer) (*controlPlane, error) {
	ns, err := netns.Create(name)
	if err != nil {
		return nil, err
	}
	c := &controlPlane{ns: ns}
	c.client = &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{DialContext: ns.Dial, MaxIdleConnsPerHost: 4},
	}
	if err := errors.Join(
		c.makeNetwork(),
		c.serve(ctx, apiAddr, kubestub.NewServer(store, issuer.Verify)),
		c.serve(ctx, jwkAddr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(issuer.JWKS()) // istiod asks again
		})),
	); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// makeNetwork makes the bridge and a router that knows no way out.
func (c *controlPlane) makeNetwork() error {
	prefixes := []netip.Prefix{netip.PrefixFrom(gateway4, bits4)}
	unknown := []netip.Addr{netip.IPv4Unspecified()}
	sysctls := map[string]string{"ipv4/ip_forward": "1", "ipv4/icmp_ratelimit": "0", "ipv4/conf/all/send_redirects": "0"}
	if hasIPv6() {
		prefixes = append(prefixes, netip.PrefixFrom(gateway6, bits6))
		unknown = append(unknown, netip.IPv6Unspecified())
		sysctls["ipv6/conf/all/forwarding"] = "1"
		sysctls["ipv6/icmp/ratelimit"] = "0"
	}
	err := errors.Join(c.ns.LoopbackUp(), c.ns.AddBridge(bridge, prefixes...), c.ns.RejectUnknown(unknown...))
	for name, value := range sysctls {
		err = errors.Join(err, c.ns.Sysctl(name, value))
	}
	return err
}

// hasIPv6 reports whether the kernel speaks IPv6 at all.
func hasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

func (c *controlPlane) serve(ctx context.Context, addr string, h http.Handler) error {
	l, err := c.ns.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	c.servers = append(c.servers, s)
	c.served.Go(func() { _ = s.Serve(l) }) // returns when closed
	return nil
}

// istiodEnv is what makes istiod run without a cluster.
func istiodEnv(work string, extra []string) []string {
	env := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": work,
		"POD_NAME": "istiod-test", "POD_NAMESPACE": "istio-system",
		"CLUSTER_ID":                     "Kubernetes", // the sidecars say the same
		"ROOT_CA_DIR":                    filepath.Join(work, "cacerts"),
		"JWT_RULE":                       fmt.Sprintf(`{"issuer":%q,"jwks_uri":"http://%s/jwks","audiences":[%q]}`, pki.Name, jwkAddr, pki.Audience),
		"ISTIO_KUBE_CLIENT_CONTENT_TYPE": "json",  // the stub speaks no protobuf
		"KUBE_FEATURE_WatchListClient":   "false", // plain LIST and WATCH
		"ENABLE_LEADER_ELECTION":         "false",
		"PILOT_ENABLE_GATEWAY_API":       "false",
		"VALIDATION_WEBHOOK_CONFIG_NAME": "",
		"INJECTION_WEBHOOK_CONFIG_NAME":  "",
		"UNSAFE_ENABLE_ADMIN_ENDPOINTS":  "true",
		"ENABLE_DEBUG_ENDPOINT_AUTH":     "false",
	}
	return environ(env, extra)
}

// environ returns the variables in order, overruled by NAME=value texts.
func environ(env map[string]string, extra []string) []string {
	for _, text := range extra {
		name, value, _ := strings.Cut(text, "=")
		env[name] = value
	}
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "http://` + apiAddr + `"}}]
users: [{name: test, user: {token: test}}]
contexts: [{name: test, context: {cluster: test, user: test}}]
current-context: test
`

// prepareIstiod says how istiod is to be started, now and at each restart.
func (c *controlPlane) prepareIstiod(work, binary, log string, extraEnv []string) error {
	home := filepath.Join(work, "istiod") // istiod reads ./etc and ./var of its working directory
	file := filepath.Join(work, "kubeconfig")
	if err := errors.Join(os.MkdirAll(home, 0o755), os.WriteFile(file, []byte(kubeconfig), 0o600)); err != nil {
		return err
	}
	at := func(port string) string { return net.JoinHostPort(gateway4.String(), port) }
	c.log = log
	c.spec = &launch.Spec{
		NetNS: c.ns.Path(), Dir: home, All: true, Env: istiodEnv(work, extraEnv),
		Argv: []string{
			binary, "discovery", "--registries=Kubernetes", "--kubeconfig=" + file,
			"--configDir=" + filepath.Join(work, "istio"), "--meshConfig=" + filepath.Join(work, "meshconfig.yaml"),
			"--httpAddr=" + at("8080"), "--grpcAddr=" + at("15010"), "--secureGRPCAddr=" + at("15012"),
			"--monitoringAddr=:15014", "--httpsAddr=" + at("15017"), "--ctrlz_port=0",
		},
	}
	return nil
}

// startIstiod starts istiod and waits until it is ready.
func (c *controlPlane) startIstiod(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process != nil && c.process.Running() {
		return errors.New("istiod is running")
	}
	p, err := startLogged(c.starter, c.spec, c.log)
	if err != nil {
		return err
	}
	c.process = p
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = poll(ctx, p, func() error {
		return c.expectOK(ctx, "http://"+gateway4.String()+":8080/ready")
	})
	if err != nil {
		return errors.Join(fmt.Errorf("istiod does not become ready: %w\n%s", err, tail(c.log)), p.Kill())
	}
	return nil
}

// stopIstiod ends istiod; a grace of zero kills it.
func (c *controlPlane) stopIstiod(grace time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil || !c.process.Running() {
		return nil
	}
	if grace == 0 {
		return c.process.Kill()
	}
	return c.process.Stop(syscall.SIGTERM, grace)
}

func (c *controlPlane) running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.process != nil && c.process.Running()
}

func (c *controlPlane) expectOK(ctx context.Context, url string) error {
	_, err := c.get(ctx, url)
	return err
}

// get fetches a URL from inside the control plane's namespace.
func (c *controlPlane) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
	}
	return body, err
}

func (c *controlPlane) close() error {
	err := c.stopIstiod(0)
	for _, s := range c.servers {
		err = errors.Join(err, s.Close())
	}
	c.served.Wait()
	c.client.CloseIdleConnections()
	return errors.Join(err, c.ns.Close(), netns.Remove(c.ns.Name()))
}

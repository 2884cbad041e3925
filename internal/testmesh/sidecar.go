package testmesh

import (
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/launch"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/pki"
)

// readyWait bounds the wait for a sidecar to be ready.
const readyWait = 2 * time.Minute

// Places in the sidecar's view of the file system, as the injection template
// mounts them.
const (
	tokenDir = "/var/run/secrets/tokens"
	rootDir  = "/var/run/secrets/istio"
	infoDir  = "/etc/istio/pod"
)

// writable are the sidecar's empty folders; all else is read-only.
var writable = []string{
	"/etc/istio/proxy", "/var/lib/istio/data", "/var/run/secrets/workload-spiffe-uds",
	"/var/run/secrets/credential-uds", "/var/run/secrets/workload-spiffe-credentials",
}

// File returns where a file of the sidecar's view, such as
// /var/run/secrets/tokens/istio-token, is on the host.
func (p *Pod) File(path string) string { return p.path("files", path) }

// writeFiles makes what Kubernetes mounts into the sidecar.
func (p *Pod) writeFiles() error {
	hosts, err := p.mesh.folder.hostsFile(p.of.Namespace)
	if err != nil {
		return err
	}
	p.hosts = hosts
	token, err := p.mesh.Issuer.Token(pki.ServiceAccount(p.of.Namespace, p.of.ServiceAccount))
	if err != nil {
		return err
	}
	search := p.of.Namespace + clusterSuffix + " svc.cluster.local cluster.local"
	files := map[string]string{
		tokenDir + "/istio-token":  token,
		rootDir + "/root-cert.pem": string(p.mesh.CA.Root()),
		infoDir + "/labels":        downward(p.labels()),
		infoDir + "/annotations":   downward(p.of.Annotations),
		"/etc/resolv.conf":         "search " + search + "\nnameserver " + gateway4.String() + "\noptions ndots:5 timeout:1 attempts:1\n",
		"/etc/passwd":              "root:x:0:0::/:/\nistio-proxy:x:1337:1337::/:/\napp:x:1000:1000::/:/\n",
	}
	for path, text := range files {
		if err := os.MkdirAll(filepath.Dir(p.File(path)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(p.File(path), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, dir := range writable {
		if err := errors.Join(os.MkdirAll(p.File(dir), 0o755), os.Chown(p.File(dir), proxyUID, proxyUID)); err != nil {
			return err
		}
	}
	return errors.Join(
		os.MkdirAll(p.path("root"), 0o755),
		linkNamespaceFiles(p.ns.Name(), map[string]string{"hosts": p.hosts, "resolv.conf": p.File("/etc/resolv.conf")}),
	)
}

// downward returns a map as the downward API writes it.
func downward(m map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "%s=%q\n", name, m[name])
	}
	return b.String()
}

// labels returns the workload's labels with those that injection adds.
func (p *Pod) labels() map[string]string {
	labels := map[string]string{"security.istio.io/tlsMode": "istio"}
	if app := p.of.Labels["app"]; app != "" {
		labels["service.istio.io/canonical-name"] = app
	}
	if version := p.of.Labels["version"]; version != "" {
		labels["service.istio.io/canonical-revision"] = version
	}
	if p.of.Locality != "" {
		labels["topology.istio.io/locality"] = strings.ReplaceAll(p.of.Locality, "/", ".")
	}
	return merged(labels, p.of.Labels)
}

// nameFiles are the mounts by which a program knows names.
func (p *Pod) nameFiles() []launch.Mount {
	return []launch.Mount{
		{Source: p.hosts, Target: "/etc/hosts", ReadOnly: true},
		{Source: p.File("/etc/resolv.conf"), Target: "/etc/resolv.conf", ReadOnly: true},
	}
}

// initArgs are the arguments of Istio's init container by default.
var initArgs = []string{
	"-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT",
	"-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020",
}

// capture installs the capture rules with our init binary, as root with the two
// capabilities an init container has.
func (p *Pod) capture(ctx context.Context) error {
	bin, err := p.mesh.productDir(ctx)
	if err != nil {
		return err
	}
	out, err := os.Create(p.log("init"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	err = p.mesh.starter.Run(ctx, &launch.Spec{
		NetNS: p.ns.Path(), Mounts: p.nameFiles(), Caps: []int{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW},
		Argv: slices.Concat([]string{filepath.Join(bin, "outrigger-init")}, initArgs, p.options.initArgs),
		Env:  environ(map[string]string{"PATH": os.Getenv("PATH")}, slices.Concat(p.mesh.config.SidecarEnv, p.options.env)),
	}, out, out)
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("install capture rules: %w\n%s", err, tail(p.log("init")))
	}
	return nil
}

// productDir returns the folder of the product's binaries, built at first use.
func (m *Mesh) productDir(ctx context.Context) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.product != "" {
		return m.product, nil
	}
	dir, err := m.config.buildProduct(ctx)
	if err == nil {
		m.product = dir
	}
	return dir, err
}

// StartSidecar starts the sidecar as an injected container is; it does not wait
// until it is ready.
func (p *Pod) StartSidecar() error {
	bin, err := p.mesh.productDir(context.Background())
	if err != nil {
		return err
	}
	spec, err := p.sidecarSpec(filepath.Join(bin, "outrigger"))
	if err != nil {
		return err
	}
	return p.startAsSidecar(spec)
}

// StartOther starts a program of the host in the sidecar's place: captured traffic
// goes to it, it has the sidecar's user and files, and all that is said of the
// sidecar is true of it. Its view of /etc/istio/proxy is File("/etc/istio/proxy").
func (p *Pod) StartOther(binary string, args, env []string) error {
	program := "/usr/local/bin/" + filepath.Base(binary)
	spec, err := p.viewSpec(binary, program)
	if err != nil {
		return err
	}
	spec.Argv, spec.Env = append([]string{program}, args...), env
	spec.Links = map[string]string{"/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2"}
	return p.startAsSidecar(spec)
}

func (p *Pod) startAsSidecar(spec *launch.Spec) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sidecar != nil && p.sidecar.Running() {
		return errors.New("sidecar is running")
	}
	var err error
	if p.sidecar, err = startLogged(p.mesh.starter, spec, p.log("sidecar")); err != nil {
		return err
	}
	return os.Chown(p.log("sidecar"), proxyUID, proxyUID) // Envoy opens its output anew
}

func (p *Pod) sidecarSpec(binary string) (*launch.Spec, error) {
	const program = "/usr/local/bin/outrigger"
	spec, err := p.viewSpec(binary, program)
	if err != nil {
		return nil, err
	}
	if spec.Env, err = p.sidecarEnv(); err != nil {
		return nil, err
	}
	spec.Links = map[string]string{"/usr/local/bin/pilot-agent": "outrigger"}
	spec.Argv = []string{
		program, "proxy", "sidecar", "--domain", p.of.Namespace + clusterSuffix,
		"--proxyLogLevel=warning", "--proxyComponentLogLevel=misc:error", "--log_output_level=default:info",
	}
	return spec, nil
}

// viewSpec is the sidecar's user and view of the file system, with a binary at a
// place in it.
func (p *Pod) viewSpec(binary, program string) (*launch.Spec, error) {
	mounts := append(p.nameFiles(),
		launch.Mount{Source: binary, Target: program, ReadOnly: true},
		launch.Mount{Source: p.File("/etc/passwd"), Target: "/etc/passwd", ReadOnly: true},
		launch.Mount{Source: p.File(tokenDir), Target: tokenDir, ReadOnly: true},
		launch.Mount{Source: p.File(rootDir), Target: rootDir, ReadOnly: true},
		launch.Mount{Source: p.File(infoDir), Target: infoDir, ReadOnly: true},
	)
	for _, dir := range writable {
		mounts = append(mounts, launch.Mount{Source: p.File(dir), Target: dir})
	}
	dynamic, err := dynamicallyLinked(binary)
	if err != nil {
		return nil, err
	}
	host := []string{"/etc/ssl/certs"}
	if dynamic { // a build with the race detector
		host = append(host, "/lib", "/lib64", "/usr/lib")
	}
	for _, dir := range host {
		if _, err := os.Stat(dir); err == nil {
			mounts = append(mounts, launch.Mount{Source: dir, Target: dir, ReadOnly: true})
		}
	}
	return &launch.Spec{
		NetNS: p.ns.Path(), Root: p.path("root"), Mounts: mounts, UID: proxyUID, GID: proxyUID, Dir: "/",
	}, nil
}

// dynamicallyLinked reports whether a program needs the host's libraries.
func dynamicallyLinked(binary string) (bool, error) {
	f, err := elf.Open(binary)
	if err != nil {
		return false, err
	}
	dynamic := slices.ContainsFunc(f.Progs, func(s *elf.Prog) bool { return s.Type == elf.PT_INTERP })
	return dynamic, f.Close()
}

// sidecarEnv is the environment of an injected container.
func (p *Pod) sidecarEnv() ([]string, error) {
	type containerPort struct {
		ContainerPort int    `json:"containerPort"`
		Protocol      string `json:"protocol"`
	}
	var ports []containerPort
	for _, e := range p.mesh.folder.topology().ports(p.of) {
		ports = append(ports, containerPort{ContainerPort: e.Number, Protocol: "TCP"})
	}
	podPorts, err := json.Marshal(ports)
	if err != nil {
		return nil, err
	}
	app := p.of.Labels["app"]
	if app == "" {
		app = p.of.Name
	}
	return environ(map[string]string{
		"PATH":                         "/usr/local/bin:/usr/bin:/bin",
		"PILOT_CERT_PROVIDER":          "istiod",
		"CA_ADDR":                      net.JoinHostPort(istiodHost, "15012"),
		"POD_NAME":                     p.of.Name,
		"POD_NAMESPACE":                p.of.Namespace,
		"INSTANCE_IP":                  p.of.Address.String(),
		"SERVICE_ACCOUNT":              p.of.ServiceAccount,
		"HOST_IP":                      gateway4.String(),
		"ISTIO_CPU_LIMIT":              "2",
		"GOMAXPROCS":                   "2",
		"GOMEMLIMIT":                   "1073741824",
		"PROXY_CONFIG":                 "{}\n",
		"ISTIO_META_POD_PORTS":         string(podPorts),
		"ISTIO_META_APP_CONTAINERS":    app,
		"ISTIO_META_CLUSTER_ID":        "Kubernetes",
		"ISTIO_META_NODE_NAME":         "node1",
		"ISTIO_META_INTERCEPTION_MODE": "REDIRECT",
		"ISTIO_META_WORKLOAD_NAME":     p.of.Name,
		"ISTIO_META_OWNER":             "kubernetes://apis/apps/v1/namespaces/" + p.of.Namespace + "/deployments/" + p.of.Name,
		"ISTIO_META_MESH_ID":           "cluster.local",
		"TRUST_DOMAIN":                 "cluster.local",
	}, slices.Concat(p.mesh.config.SidecarEnv, p.options.env)), nil
}

// Ready waits until the sidecar's readiness port says 200, asked from outside of
// the pod as the kubelet does, or ctx or the sidecar ends.
func (p *Pod) Ready(ctx context.Context) error {
	url := "http://" + net.JoinHostPort(p.of.Address.String(), "15021") + "/healthz/ready"
	err := poll(ctx, p.process(), func() error { return p.mesh.control.expectOK(ctx, url) })
	if err != nil {
		return fmt.Errorf("sidecar of %s is not ready: %w\n%s", p.of.Name, err, tail(p.log("sidecar")))
	}
	return nil
}

func (p *Pod) process() *launch.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sidecar
}

// StopSidecar sends a signal and waits for the sidecar's end, at most a minute.
func (p *Pod) StopSidecar(sig syscall.Signal) error {
	s := p.process()
	if s == nil || !s.Running() {
		return nil
	}
	return s.Stop(sig, time.Minute)
}

// SignalSidecar sends a signal and does not wait.
func (p *Pod) SignalSidecar(sig syscall.Signal) error {
	s := p.process()
	if s == nil {
		return errors.New("no sidecar")
	}
	return s.Signal(sig)
}

// SidecarDone is closed when the sidecar last started has ended.
func (p *Pod) SidecarDone() <-chan struct{} {
	if s := p.process(); s != nil {
		return s.Done()
	}
	none := make(chan struct{})
	close(none)
	return none
}

// KillSidecar ends the sidecar at once.
func (p *Pod) KillSidecar() error {
	if s := p.process(); s != nil {
		return s.Kill()
	}
	return nil
}

// RestartSidecar ends the sidecar in an orderly way, starts it again and waits
// until it is ready.
func (p *Pod) RestartSidecar(ctx context.Context) error {
	if err := p.StopSidecar(syscall.SIGTERM); err != nil {
		return err
	}
	if err := p.StartSidecar(); err != nil {
		return err
	}
	return p.Ready(ctx)
}

// SidecarPID returns the process id of the sidecar, 0 if it does not run.
func (p *Pod) SidecarPID() int {
	if s := p.process(); s != nil && s.Running() {
		return s.PID()
	}
	return 0
}

// SidecarRSS returns the sidecar's resident memory in bytes.
func (p *Pod) SidecarRSS() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.SidecarPID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib << 10, nil
		}
	}
	return 0, errors.New("status without VmRSS")
}

// SidecarCPU returns the processor time that the sidecar has used.
func (p *Pod) SidecarCPU() (time.Duration, error) {
	fields, err := stat(p.SidecarPID(), userField, systemField)
	if err != nil {
		return 0, err
	}
	var ticks int
	for _, field := range fields {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// clockTick is the kernel's unit of processor time for programs, USER_HZ.
const clockTick = time.Second / 100

// SidecarLog returns what the sidecar wrote, over all its starts.
func (p *Pod) SidecarLog() string {
	text, err := os.ReadFile(p.log("sidecar"))
	if err != nil {
		return ""
	}
	return string(text)
}

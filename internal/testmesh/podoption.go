package testmesh

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/echo"
)

// podOptions say how a pod differs from an ordinary one.
type podOptions struct {
	plain     bool
	unstarted bool
	unready   bool
	ipv6      bool
	namespace string
	account   string
	env       []string
	initArgs  []string
	labels    map[string]string
	ports     []echo.Port
}

// PodOption changes how a pod is made.
type PodOption func(*podOptions)

// WithoutSidecar leaves out capture rules and sidecar.
func WithoutSidecar() PodOption { return func(o *podOptions) { o.plain = true } }

// WithoutStart installs the capture rules but leaves the sidecar to StartSidecar,
// so that a test can first spoil its files.
func WithoutStart() PodOption { return func(o *podOptions) { o.unstarted = true } }

// WithoutWait returns before the sidecar is ready: see Pod.Ready.
func WithoutWait() PodOption { return func(o *podOptions) { o.unready = true } }

// WithIPv6 gives the pod an IPv6 address beside its IPv4 one. The annotation
// testmesh.outrigger/ipv6: "true" on the WorkloadEntry does the same.
func WithIPv6() PodOption { return func(o *podOptions) { o.ipv6 = true } }

// InNamespace puts a pod without a WorkloadEntry into a namespace; otherwise it
// is in "default".
func InNamespace(name string) PodOption { return func(o *podOptions) { o.namespace = name } }

// WithServiceAccount gives the pod's token another service account.
func WithServiceAccount(name string) PodOption { return func(o *podOptions) { o.account = name } }

// WithEnv sets environment variables of the sidecar, as NAME=value.
func WithEnv(env ...string) PodOption {
	return func(o *podOptions) { o.env = append(o.env, env...) }
}

// WithMetadata sets a field of the sidecar's node metadata.
func WithMetadata(name, value string) PodOption { return WithEnv("ISTIO_META_" + name + "=" + value) }

// WithProxyConfig sets the injected ProxyConfig, a text of JSON.
func WithProxyConfig(json string) PodOption { return WithEnv("PROXY_CONFIG=" + json) }

// WithInitArgs adds arguments to those that outrigger-init gets from Istio.
func WithInitArgs(args ...string) PodOption {
	return func(o *podOptions) { o.initArgs = append(o.initArgs, args...) }
}

// WithLabels adds labels to those of the WorkloadEntry.
func WithLabels(labels map[string]string) PodOption {
	return func(o *podOptions) { o.labels = merged(o.labels, labels) }
}

// WithPort makes the application listen on one more port, or otherwise on one
// that a service defines.
func WithPort(number int, kind echo.Kind) PodOption {
	return func(o *podOptions) { o.ports = append(o.ports, echo.Port{Number: number, Kind: kind}) }
}

// ipv6Annotation asks for an IPv6 address.
const ipv6Annotation = "testmesh.outrigger/ipv6"

// errNoWorkload is returned for a pod with sidecar that the folder does not have.
var errNoWorkload = errors.New("no WorkloadEntry or Pod of that name")

// workload returns what the pod of that name is made from. A plain pod that the
// configuration does not know has no address yet.
func (m *Mesh) workload(name string, o *podOptions) (*workload, error) {
	found, err := m.folder.topology().find(name)
	if err != nil {
		return nil, err
	}
	if found == nil && !o.plain {
		return nil, fmt.Errorf("pod %s: %w", name, errNoWorkload)
	}
	w := workload{Name: name, Namespace: o.namespace, ServiceAccount: "default"}
	if w.Namespace == "" {
		w.Namespace = "default"
	}
	if found != nil {
		w = *found
	}
	if o.account != "" {
		w.ServiceAccount = o.account
	}
	if w.ServiceAccount == "" {
		w.ServiceAccount = "default"
	}
	w.Labels = merged(w.Labels, o.labels)
	if w.Annotations[ipv6Annotation] == "true" {
		o.ipv6 = true
	}
	return &w, nil
}

// strangerAddress returns the address of the n-th pod if the configuration does
// not give it one. The range is kept free for them.
func strangerAddress(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, byte(240 + n/250), byte(1 + n%250)})
}

package testmesh

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/echo"
)

// object is a configuration object as decoded YAML.
type object = map[string]any

// workload is what a pod is made from: a WorkloadEntry or a Kubernetes Pod.
type workload struct {
	Name, Namespace string
	Address         netip.Addr
	ServiceAccount  string
	Locality        string
	Labels          map[string]string
	Annotations     map[string]string
	Ports           map[string]int // service port name → number to listen on
}

// service is a ServiceEntry or a Kubernetes Service.
type service struct {
	Namespace string
	Hosts     []string
	Addresses []netip.Addr
	Ports     []servicePort
	Selector  map[string]string
	Endpoints []endpoint
}

type servicePort struct {
	Number, Target int
	Name, Protocol string
}

type endpoint struct {
	Address netip.Addr
	Ports   map[string]int
}

// topology is what the objects in force say about who is where.
type topology struct {
	workloads []workload
	services  []service
}

// meta is the part of an object's head that we read.
type meta struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// newTopology reads all objects it has a use for.
func newTopology(objects []object) (*topology, error) {
	t := &topology{}
	for _, o := range objects {
		if err := t.add(o); err != nil {
			return nil, fmt.Errorf("%s: %w", describe(o), err)
		}
	}
	return t, nil
}

func (t *topology) add(o object) error {
	switch kind, _ := o["kind"].(string); kind {
	case "WorkloadEntry":
		return t.addWorkloadEntry(o)
	case "ServiceEntry":
		return t.addServiceEntry(o)
	case "Service":
		return t.addService(o)
	case "Pod":
		return t.addPod(o)
	}
	return nil
}

func (t *topology) addWorkloadEntry(o object) error {
	var e struct {
		Metadata meta
		Spec     struct {
			Address        string            `json:"address"`
			ServiceAccount string            `json:"serviceAccount"`
			Locality       string            `json:"locality"`
			Labels         map[string]string `json:"labels"`
			Ports          map[string]int    `json:"ports"`
		}
	}
	if err := convert(o, &e); err != nil {
		return err
	}
	addr, err := netip.ParseAddr(e.Spec.Address)
	if err != nil {
		return nil //nolint:nilerr // a name: there is no pod to be made of it
	}
	t.workloads = append(t.workloads, workload{
		Name: e.Metadata.Name, Namespace: e.Metadata.Namespace, Address: addr,
		ServiceAccount: e.Spec.ServiceAccount, Locality: e.Spec.Locality,
		Labels: merged(e.Metadata.Labels, e.Spec.Labels), Annotations: e.Metadata.Annotations, Ports: e.Spec.Ports,
	})
	return nil
}

func (t *topology) addServiceEntry(o object) error {
	var e struct {
		Metadata meta
		Spec     struct {
			Hosts     []string `json:"hosts"`
			Addresses []string `json:"addresses"`
			Ports     []struct {
				Number     int    `json:"number"`
				Name       string `json:"name"`
				Protocol   string `json:"protocol"`
				TargetPort int    `json:"targetPort"`
			} `json:"ports"`
			WorkloadSelector struct {
				Labels map[string]string `json:"labels"`
			} `json:"workloadSelector"`
			Endpoints []struct {
				Address string         `json:"address"`
				Ports   map[string]int `json:"ports"`
			} `json:"endpoints"`
		}
	}
	if err := convert(o, &e); err != nil {
		return err
	}
	s := service{
		Namespace: e.Metadata.Namespace, Hosts: e.Spec.Hosts,
		Addresses: addresses(e.Spec.Addresses), Selector: e.Spec.WorkloadSelector.Labels,
	}
	for _, p := range e.Spec.Ports {
		target := p.TargetPort
		if target == 0 {
			target = p.Number
		}
		s.Ports = append(s.Ports, servicePort{Number: p.Number, Target: target, Name: p.Name, Protocol: p.Protocol})
	}
	for _, ep := range e.Spec.Endpoints {
		if a, err := netip.ParseAddr(ep.Address); err == nil {
			s.Endpoints = append(s.Endpoints, endpoint{Address: a, Ports: ep.Ports})
		}
	}
	t.services = append(t.services, s)
	return nil
}

func (t *topology) addService(o object) error {
	var k struct {
		Metadata meta
		Spec     struct {
			ClusterIP  string            `json:"clusterIP"`
			ClusterIPs []string          `json:"clusterIPs"`
			Selector   map[string]string `json:"selector"`
			Ports      []struct {
				Name        string `json:"name"`
				Port        int    `json:"port"`
				TargetPort  any    `json:"targetPort"`
				AppProtocol string `json:"appProtocol"`
			} `json:"ports"`
		}
	}
	if err := convert(o, &k); err != nil {
		return err
	}
	ips := k.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{k.Spec.ClusterIP}
	}
	s := service{
		Namespace: k.Metadata.Namespace, Addresses: addresses(ips), Selector: k.Spec.Selector,
		Hosts: []string{k.Metadata.Name + "." + k.Metadata.Namespace + clusterSuffix},
	}
	for _, p := range k.Spec.Ports {
		target := p.Port
		if n, ok := p.TargetPort.(float64); ok {
			target = int(n)
		}
		protocol := p.AppProtocol
		if protocol == "" {
			protocol, _, _ = strings.Cut(p.Name, "-") // as Istio reads it from the name
		}
		s.Ports = append(s.Ports, servicePort{Number: p.Port, Target: target, Name: p.Name, Protocol: protocol})
	}
	t.services = append(t.services, s)
	return nil
}

func (t *topology) addPod(o object) error {
	var k struct {
		Metadata meta
		Spec     struct {
			ServiceAccountName string `json:"serviceAccountName"`
		}
		Status struct {
			PodIP string `json:"podIP"`
		}
	}
	if err := convert(o, &k); err != nil {
		return err
	}
	addr, err := netip.ParseAddr(k.Status.PodIP)
	if err != nil {
		return err
	}
	t.workloads = append(t.workloads, workload{
		Name: k.Metadata.Name, Namespace: k.Metadata.Namespace, Address: addr,
		ServiceAccount: k.Spec.ServiceAccountName, Labels: k.Metadata.Labels, Annotations: k.Metadata.Annotations,
	})
	return nil
}

// find returns the workload of this name, "name" or "name.namespace".
func (t *topology) find(name string) (*workload, error) {
	var found []*workload
	for i := range t.workloads {
		w := &t.workloads[i]
		if w.Name == name || w.Name+"."+w.Namespace == name {
			found = append(found, w)
		}
	}
	switch len(found) {
	case 0:
		return nil, nil //nolint:nilnil // not being there is an answer
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("pod name %q is in several namespaces; write name.namespace", name)
}

// ports returns what the application of w must listen on.
func (t *topology) ports(w *workload) []echo.Port {
	kinds := map[int]echo.Kind{}
	for _, s := range t.services {
		own, ok := s.has(w)
		if !ok {
			continue
		}
		for _, p := range s.Ports {
			number := p.Target
			if n := own[p.Name]; n != 0 {
				number = n
			}
			kinds[number] = kindOf(p)
		}
	}
	ports := make([]echo.Port, 0, len(kinds))
	for _, number := range slices.Sorted(maps.Keys(kinds)) {
		ports = append(ports, echo.Port{Number: number, Kind: kinds[number]})
	}
	return ports
}

// has reports whether w is an endpoint of s, and which ports it chose itself.
func (s *service) has(w *workload) (map[string]int, bool) {
	if len(s.Selector) > 0 && w.Namespace == s.Namespace && within(s.Selector, w.Labels) {
		return w.Ports, true
	}
	for _, e := range s.Endpoints {
		if e.Address == w.Address {
			return e.Ports, true
		}
	}
	return nil, false
}

// kindOf returns what listens on a port: by protocol, and for TCP by the words
// "greet" and "bulk" in the port's name.
func kindOf(p servicePort) echo.Kind {
	switch strings.ToUpper(p.Protocol) {
	case "", "HTTP", "HTTP2", "GRPC", "GRPC-WEB":
		return echo.HTTP
	}
	switch {
	case strings.Contains(p.Name, "greet"):
		return echo.Greet
	case strings.Contains(p.Name, "bulk"):
		return echo.Bulk
	}
	return echo.Echo
}

func within(selector, labels map[string]string) bool {
	for name, value := range selector {
		if labels[name] != value {
			return false
		}
	}
	return true
}

func merged(a, b map[string]string) map[string]string {
	m := map[string]string{}
	maps.Copy(m, a)
	maps.Copy(m, b)
	return m
}

// addresses returns the plain addresses among texts, leaving out ranges.
func addresses(texts []string) []netip.Addr {
	var addrs []netip.Addr
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// convert reads o into a struct.
func convert(o object, to any) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, to)
}

func metaOf(o object) meta {
	var head struct{ Metadata meta }
	if convert(o, &head) != nil {
		return meta{}
	}
	return head.Metadata
}

func describe(o object) string {
	m := metaOf(o)
	return fmt.Sprintf("%v %s/%s", o["kind"], m.Namespace, m.Name)
}

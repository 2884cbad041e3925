package testmesh

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// clusterSuffix ends the full name of every Kubernetes service.
const clusterSuffix = ".svc.cluster.local"

// istiodHost is the name in istiod's certificate.
const istiodHost = "istiod.istio-system.svc"

// hostTable maps names to addresses as a pod of one namespace sees them.
type hostTable struct {
	names []string // in order of definition
	addrs map[string][]netip.Addr
}

// newHostTable lists services by their names, full and short, and workloads by
// theirs. A service without addresses of its own has those of its endpoints.
func newHostTable(t *topology, namespace string) *hostTable {
	h := &hostTable{addrs: map[string][]netip.Addr{}}
	h.add([]netip.Addr{gateway4}, istiodHost, "istiod.istio-system"+clusterSuffix, "istiod.istio-system")
	for _, s := range t.services {
		addrs := s.Addresses
		if len(addrs) == 0 {
			addrs = t.endpointsOf(&s)
		}
		for _, host := range s.Hosts {
			if !strings.HasPrefix(host, "*") {
				h.add(addrs, variants(host, namespace)...)
			}
		}
	}
	for _, w := range t.workloads {
		names := []string{w.Name + "." + w.Namespace}
		if w.Namespace == namespace {
			names = append(names, w.Name)
		}
		h.add([]netip.Addr{w.Address}, names...)
	}
	return h
}

func (t *topology) endpointsOf(s *service) []netip.Addr {
	var addrs []netip.Addr
	for i := range t.workloads {
		if _, ok := s.has(&t.workloads[i]); ok {
			addrs = append(addrs, t.workloads[i].Address)
		}
	}
	for _, e := range s.Endpoints {
		if !slices.Contains(addrs, e.Address) {
			addrs = append(addrs, e.Address)
		}
	}
	return addrs
}

// add gives names their addresses, unless an earlier one has them.
func (h *hostTable) add(addrs []netip.Addr, names ...string) {
	for _, name := range names {
		if _, ok := h.addrs[name]; ok || len(addrs) == 0 {
			continue
		}
		h.names = append(h.names, name)
		h.addrs[name] = addrs
	}
}

// variants returns the names by which a pod of the namespace may call a host.
func variants(host, namespace string) []string {
	names := []string{host}
	short, ok := strings.CutSuffix(host, clusterSuffix)
	if !ok {
		return names
	}
	names = append(names, short+".svc", short)
	if name, ok := strings.CutSuffix(short, "."+namespace); ok {
		names = append(names, name)
	}
	return names
}

// lookup returns the addresses of a name or of a literal address.
func (h *hostTable) lookup(name string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return []netip.Addr{a}, nil
	}
	if name == "localhost" {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
	}
	if addrs := h.addrs[strings.TrimSuffix(name, ".")]; len(addrs) > 0 {
		return addrs, nil
	}
	return nil, fmt.Errorf("the mesh knows no host %q", name)
}

// text returns the table as a hosts file.
func (h *hostTable) text() string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost\n")
	for _, name := range h.names {
		for _, a := range h.addrs[name] {
			fmt.Fprintf(&b, "%s %s\n", a, name)
		}
	}
	return b.String()
}

// writeInPlace keeps the file's inode, since pods have it mounted, and shortens
// it only after the new text is there.
func writeInPlace(path, text string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), 0)
	if err == nil {
		err = f.Truncate(int64(len(text)))
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

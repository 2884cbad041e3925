package compile

import (
	"encoding/binary"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/xds/wire"
)

// The numbers of the fields that hold the localities of an assignment and the endpoints
// of a locality.
const (
	assignmentEndpoints = 2
	groupLBEndpoints    = 2
)

// assignmentReader decodes the load assignment of a cluster that has endpoints
// already. Most of them are described as before: these keep their specs, and are not
// decoded. It gives up on whatever it does not know.
type assignmentReader struct {
	known  []*lb.Endpoint
	at     int // where in known the next endpoint is likely to be
	misses int
	index  map[netip.AddrPort]int // of known, once there were enough misses

	group    *endpointv3.LocalityLbEndpoints // all but its endpoints
	locality string
}

// followEndpoints is decodeEndpoints for a cluster that has endpoints.
func followEndpoints(s scope, body []byte, known *lb.Set) []*lb.EndpointSpec {
	r := assignmentReader{known: known.Endpoints()}
	if specs, ok := r.read(body); ok {
		return specs
	}
	decoded := decodeEndpoints(s, body) // with the path of what is wrong
	specs := make([]*lb.EndpointSpec, len(decoded))
	for i := range decoded {
		specs[i] = &decoded[i]
	}
	return specs
}

func (r *assignmentReader) read(body []byte) ([]*lb.EndpointSpec, bool) {
	specs := make([]*lb.EndpointSpec, 0, len(r.known)+1)
	top := wire.Cursor{Rest: body}
	for top.Next() {
		if top.Num != assignmentEndpoints {
			continue
		}
		var ok bool
		if specs, ok = r.readGroup(specs, top.Val); !ok {
			return nil, false
		}
	}
	return specs, top.Err == nil
}

func (r *assignmentReader) readGroup(to []*lb.EndpointSpec, body []byte) ([]*lb.EndpointSpec, bool) {
	var head []byte
	top := wire.Cursor{Rest: body}
	for top.Next() {
		if top.Num != groupLBEndpoints {
			head = append(head, top.Raw...)
		}
	}
	r.group = &endpointv3.LocalityLbEndpoints{}
	if top.Err != nil || proto.Unmarshal(head, r.group) != nil {
		return nil, false
	}
	r.locality = localityKey(r.group.GetLocality())
	top = wire.Cursor{Rest: body}
	for top.Next() {
		if top.Num != groupLBEndpoints {
			continue
		}
		if spec := r.unchanged(top.Val); spec != nil {
			to = append(to, spec)
			continue
		}
		spec, ok := r.decode(top.Val)
		if !ok {
			return nil, false
		}
		to = append(to, spec...)
	}
	return to, true
}

// decode compiles one endpoint as decodeEndpoints does.
func (r *assignmentReader) decode(body []byte) ([]*lb.EndpointSpec, bool) {
	e := new(endpointv3.LbEndpoint)
	if proto.Unmarshal(body, e) != nil {
		return nil, false
	}
	r.group.LbEndpoints = []*endpointv3.LbEndpoint{e}
	defer func() { r.group.LbEndpoints = nil }()
	s := newScope()
	specs := endpoints(s, &endpointv3.ClusterLoadAssignment{Endpoints: []*endpointv3.LocalityLbEndpoints{r.group}})
	if s.err() != nil {
		return nil, false
	}
	out := make([]*lb.EndpointSpec, len(specs))
	for i := range specs {
		out[i] = &specs[i]
	}
	return out, true
}

// fields reads a message as marshallers write it: each field at most once, in the order
// of their numbers. Whoever asks names the field by its tag.
type fields []byte

// bytes takes a length-delimited field, if it comes next.
func (f *fields) bytes(tag byte) ([]byte, bool) {
	b := *f
	if len(b) < 2 || b[0] != tag {
		return nil, false
	}
	n, size := uint64(b[1]), 1
	if n >= 0x80 {
		n, size = binary.Uvarint(b[1:])
	}
	if size <= 0 || n > uint64(len(b)-1-size) {
		return nil, false
	}
	end := 1 + size + int(n) //nolint:gosec // within b
	*f = b[end:]
	return b[1+size : end], true
}

// number takes a number, if it comes next; without it, it is 0.
func (f *fields) number(tag byte) uint64 {
	b := *f
	if len(b) < 2 || b[0] != tag {
		return 0
	}
	n, size := binary.Uvarint(b[1:])
	if size > 0 {
		*f = b[1+size:]
	}
	return n
}

// The tags of fields 1 to 4.
const (
	text1, text2, text3, text4 = 1<<3 | 2, 2<<3 | 2, 3<<3 | 2, 4<<3 | 2
	number1, number2, number3  = 1 << 3, 2 << 3, 3 << 3
)

// unchanged finds the spec that an endpoint has, if what is said of it would make the
// same spec again.
func (r *assignmentReader) unchanged(body []byte) *lb.EndpointSpec {
	e := fields(body)
	endpoint, first := e.bytes(text1)
	state := e.number(number2)
	metadata, _ := e.bytes(text3)
	wrapped, weighed := e.bytes(text4)
	if !first { // members of a oneof are written last
		endpoint, _ = e.bytes(text1)
	}
	host := fields(endpoint)
	address, _ := host.bytes(text1)
	hostname, _ := host.bytes(text3)
	where := fields(address)
	socket, _ := where.bytes(text1)
	at := fields(socket)
	ip, ok := at.bytes(text2)
	port := at.number(number3)
	if !ok || len(e)+len(host)+len(where)+len(at) > 0 { // something else is said
		return nil
	}
	weight := uint64(1)
	if weighed {
		w := fields(wrapped)
		if weight = w.number(number1); len(w) > 0 {
			return nil
		}
	}
	spec := r.find(ip, port)
	if spec == nil || spec.Name != "" || spec.Hostname != string(hostname) || uint64(spec.Weight) != weight ||
		spec.Health != health(corev3.HealthStatus(state)) || //nolint:gosec // the rules bound it
		spec.Priority != r.group.GetPriority() || spec.Locality != r.locality ||
		spec.LocalityWeight != r.group.GetLoadBalancingWeight().GetValue() || !sameMetadata(spec, metadata) {
		return nil
	}
	return spec
}

// find looks for an endpoint near to where the last one was.
func (r *assignmentReader) find(addr []byte, port uint64) *lb.EndpointSpec {
	ip, ok := parseAddr(addr)
	if !ok || port > 65535 {
		return nil
	}
	want := netip.AddrPortFrom(ip, uint16(port))
	for i := r.at; i < min(r.at+3, len(r.known)); i++ {
		if r.known[i].Addr() == want {
			r.at = i + 1
			return r.known[i].Spec()
		}
	}
	if r.misses++; r.misses < fewMisses {
		return nil
	}
	if r.index == nil {
		r.index = make(map[netip.AddrPort]int, len(r.known))
		for i, e := range r.known {
			r.index[e.Addr()] = i
		}
	}
	i, ok := r.index[want]
	if !ok {
		return nil
	}
	r.at = i + 1
	return r.known[i].Spec()
}

// fewMisses is how many endpoints are decoded, though they may be known, before they are
// looked up.
const fewMisses = 32

// parseAddr is netip.ParseAddr, without an allocation for IPv4.
func parseAddr(text []byte) (netip.Addr, bool) {
	var ip [4]byte
	n, digits, value := 0, 0, 0
	for i := 0; i <= len(text); i++ {
		switch {
		case i == len(text) || text[i] == '.':
			if digits == 0 || value > 255 || n == len(ip) || digits > 1 && text[i-digits] == '0' {
				return netip.Addr{}, false
			}
			ip[n] = byte(value)
			n, digits, value = n+1, 0, 0
		case text[i] >= '0' && text[i] <= '9' && digits < 3:
			digits, value = digits+1, value*10+int(text[i]-'0')
		default:
			a, err := netip.ParseAddr(string(text))
			return a.Unmap(), err == nil && a.Zone() == ""
		}
	}
	return netip.AddrFrom4(ip), n == len(ip)
}

// sameMetadata reports whether metadata says what the spec has of it.
func sameMetadata(spec *lb.EndpointSpec, body []byte) bool {
	var workload, hashKey, match int // how often they were said
	for rest := fields(body); len(rest) > 0; {
		entry, ok := rest.bytes(text1)
		if !ok {
			return false
		}
		e := fields(entry)
		kind, _ := e.bytes(text1)
		key, value, ok := onlyText(&e)
		if !ok || len(e) > 0 {
			return false
		}
		switch {
		case string(kind) == "istio" && string(key) == "workload":
			ok = spec.Workload == string(value)
			workload++
		case string(kind) == "envoy.lb" && string(key) == "hash_key":
			ok = spec.HashKey == string(value)
			hashKey++
		case string(kind) == "envoy.transport_socket_match":
			ok = spec.Match[string(key)] == string(value)
			match++
		default:
			return false
		}
		if !ok {
			return false
		}
	}
	said := func(n int, something bool) bool { return n <= 1 && (n == 1 || !something) }
	return said(workload, spec.Workload != "") && said(hashKey, spec.HashKey != "") &&
		match == len(spec.Match) && match <= 1
}

// onlyText takes a struct with one field, a string.
func onlyText(from *fields) (key, value []byte, ok bool) {
	object, ok := from.bytes(text2)
	if !ok {
		return nil, nil, false
	}
	of := fields(object)
	entry, ok := of.bytes(text1)
	if !ok || len(of) > 0 {
		return nil, nil, false
	}
	e := fields(entry)
	key, _ = e.bytes(text1)
	held, ok := e.bytes(text2)
	if !ok || len(e) > 0 {
		return nil, nil, false
	}
	v := fields(held)
	value, ok = v.bytes(text3)
	return key, value, ok && len(v) == 0
}

package resolve

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Family says which addresses are wanted, as Envoy's dns_lookup_family does.
type Family uint8

// The families.
const (
	// V6Preferred asks for IPv6, and for IPv4 where there is none: Envoy's AUTO.
	V6Preferred Family = iota
	V4Only
	V6Only
	// V4Preferred asks for IPv4, and for IPv6 where there is none.
	V4Preferred
	// All asks for both; those of IPv6 come first.
	All
)

// ErrNoAddress means that the name does not exist or has no address of the family:
// an answer, other than a failure to get one.
var ErrNoAddress = errors.New("has no address")

// Answer is what a name stands for.
type Answer struct {
	// Addrs are the addresses as the name server ordered them.
	Addrs []netip.Addr
	// TTL is how long they may be used; 0 where nothing said so.
	TTL time.Duration
}

const (
	// queryTimeout is how long one name server may take for one question.
	queryTimeout = 2 * time.Second
	// lookupTimeout bounds a lookup with all of its questions.
	lookupTimeout = 4500 * time.Millisecond
	// maxAttempts bounds how often each name server is asked the same.
	maxAttempts = 3
	// udpSize is what answers by UDP may measure (RFC 9715 recommends 1,400 at most).
	udpSize = 1232
	// maxAddrs bounds what is taken of one answer.
	maxAddrs = 1024
)

// Options are what a resolver is made of. The zero value is the system's resolver.
type Options struct {
	// Conf and Hosts are the paths of resolv.conf and hosts; empty means those in
	// /etc.
	Conf, Hosts string
	// Port is where name servers listen; empty means 53.
	Port string
}

// Resolver finds addresses. Its methods may be called from any goroutine.
type Resolver struct {
	system system

	// immutable
	running context.Context //nolint:containedctx // ends with Close, as every watch does
	end     context.CancelFunc
	watches sync.WaitGroup
}

// New makes a resolver.
func New(o Options) *Resolver {
	if o.Conf == "" {
		o.Conf = "/etc/resolv.conf"
	}
	if o.Hosts == "" {
		o.Hosts = "/etc/hosts"
	}
	if o.Port == "" {
		o.Port = "53"
	}
	r := &Resolver{system: system{conf: o.Conf, hosts: o.Hosts, port: o.Port}}
	r.running, r.end = context.WithCancel(context.Background())
	return r
}

// Close stops every watch and returns when nothing of them runs any more.
func (r *Resolver) Close() {
	r.end()
	r.watches.Wait()
}

// Lookup finds the addresses of a name, which may be an address itself. It takes no
// longer than 4.5 s.
func (r *Resolver) Lookup(ctx context.Context, name string, f Family) (Answer, error) {
	if addr, err := netip.ParseAddr(name); err == nil {
		return literal(name, addr.Unmap(), f)
	}
	ctx, stop := context.WithTimeout(ctx, lookupTimeout)
	defer stop()
	s := r.system.settings()
	if addrs := s.hosts[hostKey(name)]; len(addrs) > 0 {
		if chosen := choose(f, ofFamily(addrs, true), ofFamily(addrs, false)); len(chosen) > 0 {
			return Answer{Addrs: chosen}, nil
		}
	}
	var failure error
	for _, full := range s.dns.NameList(name) {
		answer, err := lookupFull(ctx, s.dns, full, f)
		switch {
		case err == nil:
			return answer, nil
		case !errors.Is(err, ErrNoAddress):
			failure = err
		}
	}
	if failure == nil {
		failure = ErrNoAddress
	}
	return Answer{}, fmt.Errorf("look up %s: %w", name, failure)
}

func literal(name string, addr netip.Addr, f Family) (Answer, error) {
	if f == V4Only && !addr.Is4() || f == V6Only && addr.Is4() {
		return Answer{}, fmt.Errorf("look up %s: %w", name, ErrNoAddress)
	}
	return Answer{Addrs: []netip.Addr{addr}}, nil
}

func ofFamily(addrs []netip.Addr, v4 bool) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return a.Is4() != v4 })
}

// choose picks what the family asks for.
func choose(f Family, v4, v6 []netip.Addr) []netip.Addr {
	switch {
	case f == V4Only, f == V4Preferred && len(v4) > 0, f == V6Preferred && len(v6) == 0:
		return v4
	case f == All:
		return append(v6, v4...)
	default:
		return v6
	}
}

// lookupFull asks for one full name, both families at once where both may matter.
func lookupFull(ctx context.Context, conf *dns.ClientConfig, full string, f Family) (Answer, error) {
	var v4, v6 reply
	second := make(chan struct{})
	go func() {
		defer close(second)
		if f != V4Only {
			v6 = ask(ctx, conf, full, dns.TypeAAAA)
		}
	}()
	if f != V6Only {
		v4 = ask(ctx, conf, full, dns.TypeA)
	}
	<-second
	addrs := choose(f, v4.addrs, v6.addrs)
	if len(addrs) > 0 {
		return Answer{Addrs: addrs[:min(len(addrs), maxAddrs)], TTL: shorter(v4, v6)}, nil
	}
	// Without an answer to one of the questions nobody knows that there is none.
	for _, r := range []reply{v4, v6} {
		if r.err != nil && !errors.Is(r.err, ErrNoAddress) {
			return Answer{}, r.err
		}
	}
	return Answer{}, ErrNoAddress
}

func shorter(a, b reply) time.Duration {
	switch {
	case len(a.addrs) == 0:
		return b.ttl
	case len(b.addrs) == 0:
		return a.ttl
	}
	return min(a.ttl, b.ttl)
}

// reply is what one question brought.
type reply struct {
	addrs []netip.Addr
	ttl   time.Duration
	err   error
}

// ask asks the name servers one after the other until one answers.
func ask(ctx context.Context, conf *dns.ClientConfig, full string, kind uint16) reply {
	last := errors.New("no name server was asked")
	for range min(max(conf.Attempts, 1), maxAttempts) {
		for _, server := range conf.Servers {
			if ctx.Err() != nil {
				return reply{err: last}
			}
			m, err := exchange(ctx, net.JoinHostPort(server, conf.Port), full, kind)
			if err != nil {
				last = fmt.Errorf("name server %s: %w", server, err)
				continue
			}
			return read(m, kind)
		}
	}
	return reply{err: last}
}

// exchange puts one question to one name server, over TCP where the answer does not
// fit a datagram.
func exchange(ctx context.Context, server, full string, kind uint16) (*dns.Msg, error) {
	q := new(dns.Msg)
	q.SetQuestion(full, kind)
	q.SetEdns0(udpSize, false)
	m, err := roundTrip(ctx, "udp", server, q)
	if err == nil && m.Truncated {
		m, err = roundTrip(ctx, "tcp", server, q)
	}
	if err != nil {
		return nil, err
	}
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
		return m, nil
	case dns.RcodeFormatError, dns.RcodeNotImplemented: // it may not know EDNS (RFC 6891, section 7)
		q.Extra = nil
		if m, err = roundTrip(ctx, "udp", server, q); err != nil {
			return nil, err
		}
		if m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError {
			return m, nil
		}
	}
	return nil, fmt.Errorf("answers %s", dns.RcodeToString[m.Rcode])
}

// roundTrip sends a question from a port of its own, with an id of its own, and takes
// only an answer to that question.
func roundTrip(ctx context.Context, network, server string, q *dns.Msg) (*dns.Msg, error) {
	ctx, stop := context.WithTimeout(ctx, queryTimeout)
	defer stop()
	c := &dns.Client{Net: network, Timeout: queryTimeout, UDPSize: udpSize}
	conn, err := c.DialContext(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	q.Id = dns.Id()
	m, _, err := c.ExchangeWithConnContext(ctx, q, conn)
	if err != nil {
		return nil, err
	}
	if !m.Response || len(m.Question) != 1 || !sameQuestion(m.Question[0], q.Question[0]) {
		return nil, errors.New("the answer is for another question")
	}
	return m, nil
}

func sameQuestion(a, b dns.Question) bool {
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && hostKey(a.Name) == hostKey(b.Name)
}

// read takes the addresses of the kind out of an answer, which is valid for as long as
// each record on the way to them is.
func read(m *dns.Msg, kind uint16) reply {
	out := reply{ttl: math.MaxInt64}
	at := hostKey(m.Question[0].Name)
	for _, rr := range m.Answer {
		h := rr.Header()
		if hostKey(h.Name) != at {
			continue // not asked for
		}
		switch r := rr.(type) {
		case *dns.CNAME:
			at = hostKey(r.Target)
			out.ttl = min(out.ttl, lifetime(h))
		case *dns.A:
			out.add(kind == dns.TypeA, r.A, h)
		case *dns.AAAA:
			out.add(kind == dns.TypeAAAA, r.AAAA, h)
		}
	}
	if len(out.addrs) == 0 {
		return reply{err: ErrNoAddress}
	}
	return out
}

func (r *reply) add(wanted bool, ip net.IP, h *dns.RR_Header) {
	addr, ok := netip.AddrFromSlice(ip)
	if !wanted || !ok {
		return
	}
	r.addrs = append(r.addrs, addr.Unmap())
	r.ttl = min(r.ttl, lifetime(h))
}

// lifetime is a record's; one with the highest bit set counts as 0 (RFC 2181, section 8).
func lifetime(h *dns.RR_Header) time.Duration {
	if h.Ttl > math.MaxInt32 {
		return 0
	}
	return time.Duration(h.Ttl) * time.Second
}

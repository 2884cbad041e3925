package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/match"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// VirtualHost is an ordered list of entries.
type VirtualHost[T any] struct {
	Name    string
	entries []Entry[T]
	index   *index // nil where there are few
}

// NewVirtualHost checks and compiles the entries; the error names each bad one by
// its index.
func NewVirtualHost[T any](name string, entries []Entry[T]) (*VirtualHost[T], error) {
	v := &VirtualHost[T]{Name: name, entries: slices.Clone(entries)}
	var errs []error
	for i := range v.entries {
		if err := v.entries[i].Matcher.compile(); err != nil {
			errs = append(errs, fmt.Errorf("routes[%d].match: %w", i, err))
		}
	}
	if len(errs) == 0 {
		v.index = newIndex(len(v.entries), func(i int) *Matcher { return &v.entries[i].Matcher })
	}
	return v, errors.Join(errs...)
}

// Match returns the value of the first entry that matches. The same random must
// be given for every decision about one request.
func (v *VirtualHost[T]) Match(r *httpmsg.Request, random uint64) (T, bool) {
	path := match.PathOnly(r.Path)
	if v.index != nil {
		if i := v.index.first(path, func(i int32) bool { return v.entries[i].Matcher.matches(r, path, random) }); i >= 0 {
			return v.entries[i].Value, true
		}
		var none T
		return none, false
	}
	for i := range v.entries {
		if v.entries[i].Matcher.matches(r, path, random) {
			return v.entries[i].Value, true
		}
	}
	var none T
	return none, false
}

// Values lists what the entries lead to, in order.
func (v *VirtualHost[T]) Values() []T {
	values := make([]T, len(v.entries))
	for i := range v.entries {
		values[i] = v.entries[i].Value
	}
	return values
}

// Table finds a virtual host by authority and an entry within it.
type Table[T any] struct {
	exact    map[string]*VirtualHost[T]
	suffixes radix[*VirtualHost[T]] // reversed, without "*"
	prefixes radix[*VirtualHost[T]] // without "*"
	named    bool                   // there are domains beside "*"
	any      *VirtualHost[T]
}

// Hosts pairs domains with the virtual host that serves them.
type Hosts[T any] struct {
	Domains []string
	Host    *VirtualHost[T]
}

// NewTable builds a table. A domain that occurs twice is an error, as in Envoy.
func NewTable[T any](hosts []Hosts[T]) (*Table[T], error) {
	t := &Table[T]{exact: make(map[string]*VirtualHost[T])}
	seen := make(map[string]string)
	var errs []error
	for _, h := range hosts {
		for _, d := range h.Domains {
			d = strings.ToLower(d)
			if first, twice := seen[d]; twice {
				errs = append(errs, fmt.Errorf("domain %q is in virtual hosts %q and %q", d, first, h.Host.Name))
				continue
			}
			seen[d] = h.Host.Name
			if err := t.add(d, h.Host); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return t, errors.Join(errs...)
}

func (t *Table[T]) add(domain string, host *VirtualHost[T]) error {
	t.named = t.named || domain != "*"
	switch {
	case domain == "":
		return fmt.Errorf("virtual host %q has an empty domain", host.Name)
	case domain == "*":
		t.any = host
	case domain[0] == '*':
		at, _ := t.suffixes.put(reversed(domain[1:]))
		*at = host
	case domain[len(domain)-1] == '*':
		at, _ := t.prefixes.put(domain[:len(domain)-1])
		*at = host
	default:
		t.exact[domain] = host
	}
	return nil
}

// Match finds the virtual host of the request's authority and the first matching
// entry in it. No second virtual host is tried.
func (t *Table[T]) Match(r *httpmsg.Request, random uint64) (T, bool) {
	if v := t.Host(r.Authority); v != nil {
		return v.Match(r, random)
	}
	var none T
	return none, false
}

// Host finds the virtual host of an authority, port and case ignored: exact
// names, then the longest suffix wildcard, the longest prefix wildcard, and "*".
// A wildcard stands for at least one character.
func (t *Table[T]) Host(authority string) *VirtualHost[T] {
	if !t.named {
		return t.any
	}
	host := HostOnly(authority)
	if v, ok := t.exact[host]; ok {
		return v
	}
	if host == "" {
		return t.any
	}
	if v, ok := t.suffixes.suffixOf(host[1:]); ok {
		return v
	}
	if v, ok := t.prefixes.prefixOf(host[:len(host)-1]); ok {
		return v
	}
	return t.any
}

// HostOnly returns an authority in lower case and without its port, as Envoy does
// with ignore_port_in_host_matching: "[v6]:p" is cut after the bracket, anything
// else at its last colon where digits follow.
func HostOnly(authority string) string {
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') && digits(authority[i+1:]) {
		authority = authority[:i]
	}
	return strings.ToLower(authority)
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

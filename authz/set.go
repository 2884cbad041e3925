package authz

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Action is what a policy that matches means.
type Action uint8

// The actions of Envoy's RBAC.
const (
	// Allow lets in what some policy matches, and nothing else.
	Allow Action = iota
	// Deny keeps out what some policy matches.
	Deny
	// Log lets everything in and notes what some policy matches.
	Log
)

// String returns the action's name.
func (a Action) String() string {
	switch a {
	case Allow:
		return "allow"
	case Deny:
		return "deny"
	case Log:
		return "log"
	default:
		return "unknown"
	}
}

// ErrPolicy is wrapped by every error of this package.
var ErrPolicy = errors.New("invalid policy")

// Policy matches where one of its permissions and one of its principals do.
type Policy struct {
	Name        string
	Permissions []Clause
	Principals  []Clause
}

// Set is a compiled list of policies with one action. It is immutable.
type Set struct {
	action   Action
	policies []policy
	header   bool // a clause looks at headers
}

// policy is a Policy with the alternatives of each half joined into one clause.
type policy struct {
	name string
	what Clause
	who  Clause
}

// Decision is the answer of a Set.
type Decision struct {
	Allowed bool
	// Matched is set where a policy matched; Policy is the first such by name.
	Matched bool
	Policy  string
}

// NewSet compiles policies. They are asked in the order of their names, so that the
// same one decides each time, as Envoy's sorted map has it.
func NewSet(action Action, policies []Policy) (*Set, error) {
	if action > Log {
		return nil, fmt.Errorf("%w: unknown action %d", ErrPolicy, action)
	}
	s := &Set{action: action, policies: make([]policy, 0, len(policies))}
	for _, p := range policies {
		if len(p.Permissions) == 0 || len(p.Principals) == 0 {
			return nil, fmt.Errorf("%w %q: needs a permission and a principal", ErrPolicy, p.Name)
		}
		compiled := policy{name: p.Name, what: Or(p.Permissions...), who: Or(p.Principals...)}
		s.header = s.header || compiled.what.looksAtHeaders() || compiled.who.looksAtHeaders()
		s.policies = append(s.policies, compiled)
	}
	slices.SortFunc(s.policies, func(a, b policy) int { return cmp.Compare(a.name, b.name) })
	for i := 1; i < len(s.policies); i++ {
		if s.policies[i].name == s.policies[i-1].name {
			return nil, fmt.Errorf("%w %q: comes twice", ErrPolicy, s.policies[i].name)
		}
	}
	return s, nil
}

// Check decides. The facts are not kept.
func (s *Set) Check(f *Facts) Decision {
	d := Decision{}
	for i := range s.policies {
		p := &s.policies[i]
		if p.what.match(f) && p.who.match(f) {
			d.Matched, d.Policy = true, p.name
			break
		}
	}
	switch s.action {
	case Allow:
		d.Allowed = d.Matched
	case Deny:
		d.Allowed = !d.Matched
	case Log:
		d.Allowed = true
	}
	return d
}

// Action is what a match means.
func (s *Set) Action() Action { return s.action }

// Len is the number of policies.
func (s *Set) Len() int { return len(s.policies) }

// Each calls f with the policies' names in their order.
func (s *Set) Each(f func(name string)) {
	for i := range s.policies {
		f(s.policies[i].name)
	}
}

// NeedsHeader reports whether a clause looks at headers, which connections do not
// have.
func (s *Set) NeedsHeader() bool { return s.header }

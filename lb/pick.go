package lb

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// ErrNoEndpoint means that the set has no endpoint that may be used.
var ErrNoEndpoint = errors.New("no healthy upstream")

// Hint is what a pick may take into account. The zero value is a plain pick.
type Hint struct {
	// Hash is what policies that hash pick by, where Hashed is set. Without it, and
	// with the other policies, chance is asked afresh at each pick, so that a retry may
	// land elsewhere.
	Hash   uint64
	Hashed bool
	// Prefer is the endpoint to take, whatever the policy, if the policy's Override
	// admits its health. It counts for one pick. Strict wants no other.
	Prefer netip.AddrPort
	Strict bool
	// Active is the number of the cluster's requests in progress, for policies that
	// balance.
	Active int64
	// OrigDst is where the downstream wanted to go, for clusters that follow it.
	OrigDst netip.AddrPort
	// Tried lists endpoints to avoid. A pick that hits one is repeated until
	// MaxPicks picks were made; then any that was not tried is taken, where there is
	// one.
	Tried []*Endpoint
	// MaxPicks bounds the picks; less than 1 means 1.
	MaxPicks int

	// Panicked is set by Pick when the endpoint came from a priority in panic.
	Panicked bool
}

// Pick chooses an endpoint, or returns ErrNoEndpoint.
func (s *Set) Pick(h *Hint) (*Endpoint, error) {
	h.Panicked = false
	if h.Prefer.IsValid() {
		if e := s.preferred(h); e != nil || h.Strict {
			return e, orNone(e)
		}
	}
	if s.policy.hashes() {
		return s.pickByHash(h)
	}
	for picks := max(h.MaxPicks, 1); ; picks-- {
		e, sh := s.pick()
		if e == nil {
			h.Panicked = sh != nil && sh.panicked
			return nil, ErrNoEndpoint
		}
		tried := slices.Contains(h.Tried, e)
		if tried && picks == 1 && h.MaxPicks > 1 {
			e = sh.untried(h.Tried, e)
		}
		if picks == 1 || !tried {
			h.Panicked = sh.panicked
			return e, nil
		}
	}
}

// preferred finds the endpoint that the hint asks for, and clears that.
func (s *Set) preferred(h *Hint) *Endpoint {
	want := h.Prefer
	h.Prefer = netip.AddrPort{}
	i, ok := s.byAddr()[want]
	if !ok || !s.policy.Override.Has(s.endpoints[i].Health()) {
		return nil
	}
	return s.endpoints[i]
}

func orNone(e *Endpoint) error {
	if e == nil {
		return ErrNoEndpoint
	}
	return nil
}

// byAddr finds endpoints by address. Most clusters are never asked.
func (s *Set) byAddr() map[netip.AddrPort]int {
	if m := s.addrs.Load(); m != nil {
		return *m
	}
	m := make(map[netip.AddrPort]int, len(s.endpoints))
	for i, e := range s.endpoints {
		m[e.Addr()] = i
	}
	s.addrs.Store(&m)
	return m
}

// pickByHash looks the hash up, and further on for each endpoint that was tried.
func (s *Set) pickByHash(h *Hint) (*Endpoint, error) {
	hash := h.Hash
	if !h.Hashed {
		hash = rand.Uint64()
	}
	sh := s.share(uint32(hash % 100))
	if sh == nil {
		return nil, ErrNoEndpoint
	}
	h.Panicked = sh.panicked
	for attempt := 0; ; attempt++ {
		e := sh.table.pick(h, hash, attempt)
		if e == nil {
			return nil, ErrNoEndpoint
		}
		if attempt+1 >= h.MaxPicks || !slices.Contains(h.Tried, e) {
			return e, nil
		}
	}
}

// untried is an endpoint of the share that was not tried, or else: chance may hit
// tried endpoints at every pick, and a retry there is lost for certain.
func (sh *share) untried(tried []*Endpoint, otherwise *Endpoint) *Endpoint {
	for _, g := range sh.groups {
		n := len(g.endpoints)
		for i, at := 0, int(below(rand.Uint32(), uint32(max(n, 1)))); i < n; i++ {
			if e := g.endpoints[(at+i)%n]; !slices.Contains(tried, e) {
				return e
			}
		}
	}
	return otherwise
}

func (s *Set) pick() (*Endpoint, *share) {
	var sh *share
	switch len(s.shares) {
	case 0:
		return nil, nil
	case 1:
		sh = &s.shares[0]
	default:
		sh = s.share(below(rand.Uint32(), 100))
	}
	if sh == nil || sh.fails {
		return nil, sh
	}
	switch len(sh.groups) {
	case 0:
		return nil, sh
	case 1:
		return sh.groups[0].pick(&s.policy), sh
	default:
		return sh.groups[sh.order.pick()].pick(&s.policy), sh
	}
}

// share returns the priority that a number below 100 falls to.
func (s *Set) share(drawn uint32) *share {
	for i := range s.shares {
		if drawn < s.shares[i].upTo {
			return &s.shares[i]
		}
	}
	return nil // the loads add up to 100, or to nothing
}

func (g *group) pick(p *Policy) *Endpoint {
	n := uint32(len(g.endpoints)) //nolint:gosec // a set never holds 2^32 endpoints
	switch {
	case n == 1:
		return g.endpoints[0]
	case g.edf != nil:
		return g.endpoints[g.edf.pick()]
	case g.next != nil:
		return g.endpoints[(g.next.Add(1)-1)%uint64(n)]
	case p.Kind == LeastRequest:
		return g.leastOf(p.ChoiceCount, n)
	default:
		return g.endpoints[below(rand.Uint32(), n)]
	}
}

// leastOf draws endpoints with replacement and returns the one with the fewest
// active requests; the first drawn wins a tie.
func (g *group) leastOf(choices int, n uint32) *Endpoint {
	r := rand.Uint64()
	best := g.endpoints[below(uint32(r), n)] //nolint:gosec // the lower half is meant
	least := best.Active()
	for range choices - 1 {
		r >>= 32
		e := g.endpoints[below(uint32(r), n)] //nolint:gosec // one half is meant
		if active := e.Active(); active < least {
			best, least = e, active
		}
		if choices > 2 {
			r = rand.Uint64() << 32
		}
	}
	return best
}

// below maps a random 32-bit number to [0, n) by its upper bits.
func below(r, n uint32) uint32 { return uint32(uint64(r) * uint64(n) >> 32) } //nolint:gosec // less than n

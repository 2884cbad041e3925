package lb

// fewChanges is up to how many endpoints an update is searched for without a map.
const fewChanges = 16

// adopt returns one endpoint for each identity of specs, those of prev where they
// exist. Most updates leave most of the list as it was: what is alike at both ends
// needs no looking up.
func adopt(prev *Set, specs []*EndpointSpec) []*Endpoint {
	var old []*Endpoint
	if prev != nil {
		old = prev.endpoints
	}
	head := 0
	for head < len(old) && head < len(specs) && old[head].id == specs[head].identity() {
		head++
	}
	if head == len(old) && head == len(specs) {
		describe(old, specs)
		return old
	}
	tail := 0
	for tail < min(len(old), len(specs))-head && old[len(old)-1-tail].id == specs[len(specs)-1-tail].identity() {
		tail++
	}
	within := specs[head : len(specs)-tail]
	if len(within) > fewChanges || repeats(old[:head], within) || repeats(old[len(old)-tail:], within) {
		return adoptAny(old, specs)
	}
	all := make([]*Endpoint, 0, len(specs))
	all = append(all, old[:head]...)
	describe(old[:head], specs)
	all = append(all, adoptAny(old[head:len(old)-tail], within)...)
	describe(old[len(old)-tail:], specs[len(specs)-tail:])
	return append(all, old[len(old)-tail:]...)
}

// describe gives endpoints their new specs.
func describe(endpoints []*Endpoint, specs []*EndpointSpec) {
	for i, e := range endpoints {
		if e.Spec() != specs[i] {
			e.describe(specs[i])
		}
	}
}

// repeats reports whether a spec names one of the endpoints.
func repeats(endpoints []*Endpoint, specs []*EndpointSpec) bool {
	for _, s := range specs {
		id := s.identity()
		for _, e := range endpoints {
			if e.id == id {
				return true
			}
		}
	}
	return false
}

// adoptAny is adopt whatever has changed.
func adoptAny(old []*Endpoint, specs []*EndpointSpec) []*Endpoint {
	known := make(map[identity]*Endpoint, len(specs)) // nil: already taken
	for _, e := range old {
		known[e.id] = e
	}
	endpoints := make([]*Endpoint, 0, len(specs))
	for _, spec := range specs {
		id := spec.identity()
		e, ok := known[id]
		switch {
		case !ok:
			e = NewEndpoint(spec)
		case e == nil:
			continue
		case e.Spec() != spec:
			e.describe(spec)
		}
		known[id] = nil
		endpoints = append(endpoints, e)
	}
	return endpoints
}

package route

import (
	"slices"

	"github.com/outrigger-mesh/outrigger/match"
)

// indexed is from how many entries on an index is cheaper than asking one by one.
const indexed = 8

// maxListed bounds what an index may hold, per entry: a list for each prefix names
// what the prefixes above it lead to, too.
const maxListed = 64

// maxFolded is how long a path may be that is compared without regard to case by
// index; longer ones are rare and asked one by one.
const maxFolded = 512

// index says which entries a path may meet, in their order: those that can be found
// by an exact path or a prefix are not asked one by one. It keeps Envoy's order of
// the list, and leaves the rest of the question to the entries.
type index struct {
	plain, folded *paths
	// rest are the entries that no path leads to.
	rest []int32
}

// paths leads from paths to entries.
type paths struct {
	exact  map[string][]int32
	prefix radix[[]int32]
}

// newIndex makes the index of a list of matchers, or nil where asking each of them
// serves as well.
func newIndex(n int, matcher func(int) *Matcher) *index {
	if n < indexed {
		return nil
	}
	x := &index{}
	for i := range n {
		p := &matcher(i).Path
		prefix := p.Value
		switch p.Kind {
		case PathConnect:
			x.rest = append(x.rest, int32(i)) //nolint:gosec // few entries
			continue
		case PathRegex:
			if prefix = match.LiteralPrefix(p.Value); prefix == "" {
				x.rest = append(x.rest, int32(i)) //nolint:gosec // as above
				continue
			}
		case PathPrefix, PathExact, PathSeparated:
		}
		if p.AnyCase && len(prefix) > maxFolded {
			x.rest = append(x.rest, int32(i)) //nolint:gosec // as above
			continue
		}
		x.of(p.AnyCase).add(p.Kind == PathExact, prefix, int32(i)) //nolint:gosec // as above
	}
	room := maxListed * n
	for _, ps := range []*paths{x.plain, x.folded} {
		if ps != nil && !ps.complete(matcher, &room) {
			return nil
		}
	}
	return x
}

func (x *index) of(folded bool) *paths {
	at := &x.plain
	if folded {
		at = &x.folded
	}
	if *at == nil {
		*at = &paths{exact: make(map[string][]int32)}
	}
	return *at
}

func (ps *paths) add(exact bool, path string, i int32) {
	if exact {
		ps.exact[path] = append(ps.exact[path], i)
		return
	}
	list, _ := ps.prefix.put(path)
	*list = append(*list, i)
}

// complete has each list name all entries that its path may meet, up to the first
// that takes everything. It reports false where that is too much.
func (ps *paths) complete(matcher func(int) *Matcher, room *int) bool {
	ps.prefix.each("", nil, func(_ string, above, list *[]int32) {
		if above != nil {
			*list = merged(*above, *list)
		}
		*list = upToFirst(*list, func(i int32) bool { return matcher(int(i)).takesPrefix() })
		*room -= len(*list)
	})
	for path, list := range ps.exact {
		if above, ok := ps.prefix.prefixOf(path); ok {
			list = merged(above, list)
		}
		list = upToFirst(list, func(i int32) bool {
			m := matcher(int(i))
			return m.takesPrefix() || m.Path.Kind == PathExact && !m.conditional()
		})
		ps.exact[path] = list
		*room -= len(list)
	}
	return *room >= 0
}

func merged(a, b []int32) []int32 {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return out
}

// upToFirst cuts a list behind the first entry that takes whatever gets to it.
func upToFirst(list []int32, takes func(int32) bool) []int32 {
	if at := slices.IndexFunc(list, takes); at >= 0 {
		list = list[:at+1]
	}
	return slices.Clip(list)
}

// candidates are the entries that a path may meet, in order.
func (ps *paths) candidates(path string) []int32 {
	if ps == nil {
		return nil
	}
	if list, ok := ps.exact[path]; ok {
		return list
	}
	list, _ := ps.prefix.prefixOf(path)
	return list
}

// candidatesFolded is candidates without regard to ASCII case.
func (ps *paths) candidatesFolded(path string) []int32 {
	if ps == nil {
		return nil
	}
	var room [maxFolded]byte
	b := room[:copy(room[:], path)]
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	if list, ok := ps.exact[string(b)]; ok { // does not copy
		return list
	}
	list, _ := ps.prefix.prefixOfBytes(b)
	return list
}

// first asks the entries that a path may meet in their order, and returns the first
// that says yes, or -1.
func (x *index) first(path string, yes func(int32) bool) int {
	plain := x.plain.candidates(path)
	if x.folded == nil && len(x.rest) == 0 {
		for _, i := range plain {
			if yes(i) {
				return int(i)
			}
		}
		return -1
	}
	lists := [...][]int32{plain, x.folded.candidatesFolded(path), x.rest}
	for {
		next := -1
		for l := range lists {
			if len(lists[l]) > 0 && (next < 0 || lists[l][0] < lists[next][0]) {
				next = l
			}
		}
		if next < 0 {
			return -1
		}
		i := lists[next][0]
		if yes(i) {
			return int(i)
		}
		lists[next] = lists[next][1:]
	}
}

// takesPrefix reports whether the matcher takes every request whose path has led to
// it by its prefix.
func (m *Matcher) takesPrefix() bool { return m.Path.Kind == PathPrefix && !m.conditional() }

// conditional reports whether the matcher asks for more than a path.
func (m *Matcher) conditional() bool {
	return len(m.Headers)+len(m.Queries) > 0 || m.Fraction != nil || m.GRPC
}

// Command gen makes the dictionary of the packer from recorded responses of istiod.
//
// Life: it counts in how many resources each short byte string occurs, then picks, again and again, the segment that
// covers most of what is not covered yet, and puts the best segments last, nearest to the data.
// It runs at build time only and must not be imported.
package main

import (
	"cmp"
	"log"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/s2"

	"github.com/outrigger-mesh/outrigger/xds/wire"
)

const (
	shingle = 6
	segment = 64
	budget  = 12 << 10
)

func main() {
	out := "dict.bin"
	if len(os.Args) > 1 {
		out = os.Args[1]
	}
	resources, err := read("../testdata/*/*.pb")
	if err != nil {
		log.Fatal(err)
	}
	d := s2.MakeDict(train(resources), nil)
	if d == nil {
		log.Fatal("no dictionary")
	}
	if err := os.WriteFile(out, d.Bytes(), 0o644); err != nil {
		log.Fatal(err)
	}
}

// read returns the resources of all recorded responses: DeltaDiscoveryResponse.resources 2 → Resource.resource 2 → Any.value 2.
func read(pattern string) ([][]byte, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		inner(b, 3, func(b []byte) { all = append(all, b) })
	}
	return all, nil
}

// inner visits field 2 of field 2 … of a message.
func inner(b []byte, depth int, use func([]byte)) {
	if depth == 0 {
		use(b)
		return
	}
	for c := (wire.Cursor{Rest: b}); c.Next(); {
		if c.Num == 2 {
			inner(c.Val, depth-1, use)
		}
	}
}

// train picks segments up to the budget.
func train(resources [][]byte) []byte {
	count := map[string]int{}
	for _, r := range resources {
		seen := map[string]bool{}
		for i := 0; i+shingle <= len(r); i++ {
			if s := string(r[i : i+shingle]); !seen[s] {
				seen[s] = true
				count[s]++
			}
		}
	}
	var picks []pick
	for size := 0; size < budget; {
		best := bestSegment(resources, count)
		if best.score == 0 {
			break
		}
		picks = append(picks, best)
		size += len(best.text)
		for i := 0; i+shingle <= len(best.text); i++ {
			count[best.text[i:i+shingle]] = 0
		}
	}
	slices.SortStableFunc(picks, func(a, b pick) int { return cmp.Compare(a.score, b.score) })
	var dict []byte
	for _, p := range picks {
		dict = append(dict, p.text...)
	}
	return dict
}

// pick is a segment and how much it covers.
type pick struct {
	text  string
	score int
}

// bestSegment finds the segment whose byte strings occur most.
func bestSegment(resources [][]byte, count map[string]int) pick {
	best := pick{}
	for _, r := range resources {
		score := 0
		for i := 0; i+shingle <= len(r); i++ {
			score += count[string(r[i:i+shingle])]
			if i < segment {
				continue
			}
			score -= count[string(r[i-segment:i-segment+shingle])]
			if score > best.score {
				best = pick{string(r[i-segment+1 : i+shingle]), score}
			}
		}
	}
	return best
}

//go:build !race

package compile_test

import "testing"

func TestMatchingManyHostsDoesNotAllocate(t *testing.T) {
	table := manyHosts(t, 300).compiler.Routes("80")
	for _, name := range []string{"h00000.example", "h00299.example:80", "x.wild.example", "else.example"} {
		r := request(name)
		if n := testing.AllocsPerRun(100, func() { table.Match(r, 7) }); n != 0 {
			t.Errorf("%s: a match allocates %v times, want 0", name, n)
		}
	}
}

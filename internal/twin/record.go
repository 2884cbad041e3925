package twin

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ReadRecord reads what exactly the listed differences are: a line for each, with the
// request, the part, and what Envoy and Outrigger say, quoted and between tabs.
func ReadRecord(file string) ([]Difference, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	all := []Difference{}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		d, err := parseRecord(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		all = append(all, d)
	}
	return all, nil
}

func parseRecord(line string) (d Difference, err error) {
	cells := strings.Split(line, "\t")
	if len(cells) != 4 {
		return d, fmt.Errorf("got %d cells, want request, part and two values", len(cells))
	}
	for i, to := range []*string{&d.Trial, &d.Part, &d.Envoy, &d.Outrigger} {
		if *to, err = strconv.Unquote(cells[i]); err != nil {
			return d, fmt.Errorf("cell %d: %w", i+1, err)
		}
	}
	return d, nil
}

// WriteRecord keeps the differences of a run as those that are known.
func (r *Report) WriteRecord(file string) error {
	lines := make([]string, 0, len(r.diffs))
	for _, d := range r.diffs {
		lines = append(lines, fmt.Sprintf("%q\t%q\t%q\t%q\n", d.Trial, d.Part, d.Envoy, d.Outrigger))
	}
	slices.Sort(lines)
	return os.WriteFile(file, []byte(strings.Join(lines, "")), 0o644) //nolint:gosec // it is public
}

package report

import (
	"slices"
)

// Collector gathers the values of all rounds. It is owned by one goroutine.
type Collector struct {
	order  []key
	values map[key][]float64
}

type key struct{ name, subject, metric string }

// Add notes the value of one round.
func (c *Collector) Add(name, subject, metric string, value float64) {
	k := key{name, subject, metric}
	if c.values == nil {
		c.values = make(map[key][]float64)
	}
	if _, known := c.values[k]; !known {
		c.order = append(c.order, k)
	}
	c.values[k] = append(c.values[k], value)
}

// Values returns what was added, round by round.
func (c *Collector) Values(name, subject, metric string) []float64 {
	return c.values[key{name, subject, metric}]
}

// Rows returns one row for each figure, in the order in which they first came.
func (c *Collector) Rows() []Row {
	rows := make([]Row, 0, len(c.order))
	for _, k := range c.order {
		v := c.values[k]
		rows = append(rows, Row{
			Case: k.name, Subject: k.subject, Metric: k.metric,
			Median: Median(v), Min: slices.Min(v), Max: slices.Max(v), Rounds: len(v),
		})
	}
	return rows
}

// Median returns the middle value, or the mean of the two in the middle.
func Median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	if n == 0 {
		return 0
	}
	return (s[(n-1)/2] + s[n/2]) / 2
}

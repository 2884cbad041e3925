// Package report makes the benchmark's figures readable: statistics over rounds, a
// table for the terminal, JSON, and a page for the browser.
//
// Its life: a Collector takes one value per round, case, subject and metric; Rows
// makes medians of them; a Document holds rows, machine and commit and writes itself
// as text, JSON or HTML.
//
// It must not know how a figure was taken.
package report

// Subjects, in the order in which they are shown.
const (
	Direct    = "direct"
	Outrigger = "outrigger"
	Envoy     = "envoy"
	HAProxy   = "haproxy"
	Nginx     = "nginx"
)

// Row is one figure.
type Row struct {
	Case    string  `json:"case"`
	Subject string  `json:"subject"`
	Metric  string  `json:"metric"`
	Median  float64 `json:"median"`
	Min     float64 `json:"min"`
	Max     float64 `json:"max"`
	Rounds  int     `json:"rounds"`
}

// Document is what a run of the benchmark found.
type Document struct {
	Machine string `json:"machine"`
	Commit  string `json:"commit"`
	Rows    []Row  `json:"rows"`

	// For the page and the table only.
	Title    string            `json:"-"`
	Taken    string            `json:"-"` // when, for people
	Versions []Version         `json:"-"`
	Cases    map[string]string `json:"-"` // a sentence about each case
	Curves   []Curve           `json:"-"`
	Notes    []string          `json:"-"` // what the reader must know: skipped cases, a loaded machine
}

// Version is a program that took part.
type Version struct{ Name, Version string }

// Curve is the distribution of latencies of one subject in one case.
type Curve struct {
	Case, Subject string
	Points        []Point
}

// Point says that the share Quantile of requests took at most so long.
type Point struct{ Quantile, Millis float64 }

package metrics

import (
	"bufio"
	"io"
	"slices"
	"strconv"
	"strings"
)

// PrometheusType is the content type of WritePrometheus.
const PrometheusType = "text/plain; version=0.0.4; charset=utf-8"

// Query narrows what is written. The zero value asks for everything.
type Query struct {
	// Match, where set, chooses by Envoy's full name of a statistic.
	Match func(name string) bool
	// UsedOnly leaves out what is zero.
	UsedOnly bool
}

// family is all samples of one name, as Prometheus wants them together.
type family struct {
	name       string
	kind       Kind
	samples    []sample
	histograms []histogramSample
}

// sample is one value; its labels are bytes of the scrape's arena.
type sample struct {
	value    float64
	from, to int
}

type histogramSample struct {
	reading  reading
	from, to int
}

// scrape collects families. Labels are rendered once for all samples in a row that
// have the same ones, so that many clusters cost a few dozen bytes per sample.
type scrape struct {
	query    Query
	families map[string]*family
	arena    []byte
	name     []byte // room for the plain name

	last     []Label
	from, to int
}

// WritePrometheus writes all values in Prometheus' text format, sorted by name.
func (r *Registry) WritePrometheus(w io.Writer, q Query) error {
	s := scrape{query: q, families: make(map[string]*family)}
	values, histograms := r.snapshot()
	for _, e := range values {
		e.values(s.add)
	}
	for _, e := range histograms {
		e.histograms(s.addHistogram)
	}
	names := make([]string, 0, len(s.families))
	for name := range s.families {
		names = append(names, name)
	}
	slices.Sort(names)
	out := bufio.NewWriterSize(w, 32<<10)
	for _, name := range names {
		if err := s.write(out, s.families[name]); err != nil {
			return err
		}
	}
	return out.Flush()
}

func (s *scrape) add(name string, labels []Label, value float64, kind Kind) {
	if s.query.UsedOnly && value == 0 || !s.wanted(name, labels) {
		return
	}
	f := s.family(name, kind)
	from, to := s.labels(labels)
	f.samples = append(f.samples, sample{value: value, from: from, to: to})
}

func (s *scrape) addHistogram(name string, labels []Label, h *Histogram) {
	r := h.read()
	if s.query.UsedOnly && r.count() == 0 || !s.wanted(name, labels) {
		return
	}
	f := s.family(name, Counter)
	from, to := s.labels(labels)
	f.histograms = append(f.histograms, histogramSample{reading: r, from: from, to: to})
}

func (s *scrape) wanted(name string, labels []Label) bool {
	if s.query.Match == nil {
		return true
	}
	s.name = appendPlainName(s.name[:0], name, labels)
	return s.query.Match(string(s.name))
}

func (s *scrape) family(name string, kind Kind) *family {
	f := s.families[name]
	if f == nil {
		f = &family{name: prometheusName(name), kind: kind}
		s.families[name] = f
	}
	return f
}

// labels renders `a="1",b="2"` without braces.
func (s *scrape) labels(labels []Label) (from, to int) {
	if slices.Equal(labels, s.last) {
		return s.from, s.to
	}
	s.from = len(s.arena)
	for i, l := range labels {
		if i > 0 {
			s.arena = append(s.arena, ',')
		}
		s.arena = append(s.arena, sanitize(l.Name)...)
		s.arena = append(s.arena, '=', '"')
		s.arena = appendLabelValue(s.arena, l.Value)
		s.arena = append(s.arena, '"')
	}
	s.to = len(s.arena)
	s.last = append(s.last[:0], labels...)
	return s.from, s.to
}

func (s *scrape) write(w *bufio.Writer, f *family) error {
	kind := "counter"
	switch {
	case f.histograms != nil:
		kind = "histogram"
	case f.kind == Gauge:
		kind = "gauge"
	}
	line := w.AvailableBuffer()
	line = append(line, "# TYPE "+f.name+" "+kind+"\n"...)
	if _, err := w.Write(line); err != nil {
		return err
	}
	for _, m := range f.samples {
		line = appendSample(w.AvailableBuffer(), f.name, s.arena[m.from:m.to], m.value)
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	for i := range f.histograms {
		line = s.appendHistogram(w.AvailableBuffer(), f.name, &f.histograms[i])
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return nil
}

func appendSample(dst []byte, name string, labels []byte, value float64) []byte {
	dst = append(dst, name...)
	if len(labels) > 0 {
		dst = append(dst, '{')
		dst = append(dst, labels...)
		dst = append(dst, '}')
	}
	dst = append(dst, ' ')
	return append(appendFloat(dst, value), '\n')
}

func (s *scrape) appendHistogram(dst []byte, name string, h *histogramSample) []byte {
	labels := s.arena[h.from:h.to]
	for i, n := range h.reading.counts {
		dst = append(dst, name+"_bucket{"...)
		if len(labels) > 0 {
			dst = append(dst, labels...)
			dst = append(dst, ',')
		}
		dst = append(dst, `le="`...)
		if i < len(bounds) {
			dst = appendFloat(dst, bounds[i])
		} else {
			dst = append(dst, "+Inf"...)
		}
		dst = append(dst, `"} `...)
		dst = append(strconv.AppendUint(dst, n, 10), '\n')
	}
	dst = appendSample(dst, name+"_sum", labels, h.reading.sum)
	return appendSample(dst, name+"_count", labels, float64(h.reading.count()))
}

// appendFloat writes whole numbers without an exponent, as people expect of
// counters.
func appendFloat(dst []byte, v float64) []byte {
	if v == float64(int64(v)) && v < 1<<53 && v > -1<<53 {
		return strconv.AppendInt(dst, int64(v), 10)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}

// prometheusName is "envoy_" and the name with underscores; a name without a dot
// is not Envoy's and stays.
func prometheusName(name string) string {
	if !strings.Contains(name, ".") {
		return sanitize(name)
	}
	return "envoy_" + sanitize(name)
}

func sanitize(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_':
			return r
		default:
			return '_'
		}
	}, name)
}

// appendLabelValue escapes what the format reserves and replaces invalid UTF-8,
// which Prometheus would refuse together with the whole scrape.
func appendLabelValue(dst []byte, v string) []byte {
	for _, r := range v {
		switch r {
		case '\\':
			dst = append(dst, `\\`...)
		case '"':
			dst = append(dst, `\"`...)
		case '\n':
			dst = append(dst, `\n`...)
		default:
			dst = append(dst, string(r)...)
		}
	}
	return dst
}

package metrics

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
)

// scopes are the first words of Envoy's names after which a label's value stands.
var scopes = map[string]string{
	"cluster":  ClusterName,
	"http":     HTTPPrefix,
	"listener": ListenerAddr,
	"tcp":      TCPPrefix,
}

// appendPlainName joins a name and its labels to Envoy's dotted name. Labels that
// are no part of such a name follow as ".name.value", as Envoy prints tags.
func appendPlainName(dst []byte, name string, labels []Label) []byte {
	scope, rest, dotted := strings.Cut(name, ".")
	carrier := ""
	if dotted {
		carrier = scopes[scope]
	}
	start := len(dst)
	for _, l := range labels {
		if carrier != "" && l.Name == carrier {
			dst = append(dst, scope...)
			dst = append(dst, '.')
			dst = append(dst, l.Value...)
			dst = append(dst, '.')
			break
		}
	}
	if len(dst) > start {
		name = rest
	}
	for _, l := range labels {
		if l.Name == ResponseClass && strings.HasSuffix(name, "_xx") {
			dst = append(dst, strings.TrimSuffix(name, "xx")...)
			dst = append(dst, l.Value...)
			name = "xx"
			break
		}
	}
	dst = append(dst, name...)
	for _, l := range labels {
		if l.Name == carrier || l.Name == ResponseClass {
			continue
		}
		dst = append(dst, '.')
		dst = append(dst, l.Name...)
		dst = append(dst, '.')
		dst = append(dst, l.Value...)
	}
	return dst
}

// stat is a line of Envoy's form; the name is in the listing's arena.
type stat struct {
	from, to  int
	value     float64
	histogram *reading
}

type listing struct {
	query Query
	arena []byte
	stats []stat
}

func (l *listing) add(name string, labels []Label, value float64, _ Kind) {
	if l.query.UsedOnly && value == 0 {
		return
	}
	l.keep(name, labels, stat{value: value})
}

func (l *listing) addHistogram(name string, labels []Label, h *Histogram) {
	r := h.read()
	if l.query.UsedOnly && r.count() == 0 {
		return
	}
	l.keep(name, labels, stat{histogram: &r})
}

func (l *listing) keep(name string, labels []Label, s stat) {
	s.from = len(l.arena)
	l.arena = appendPlainName(l.arena, name, labels)
	s.to = len(l.arena)
	if l.query.Match != nil && !l.query.Match(string(l.arena[s.from:])) {
		l.arena = l.arena[:s.from]
		return
	}
	l.stats = append(l.stats, s)
}

func (l *listing) name(s *stat) []byte { return l.arena[s.from:s.to] }

// list returns all values sorted by name; histograms come last, as in Envoy.
func (r *Registry) list(q Query) *listing {
	l := &listing{query: q}
	values, histograms := r.snapshot()
	for _, e := range values {
		e.values(l.add)
	}
	for _, e := range histograms {
		e.histograms(l.addHistogram)
	}
	slices.SortStableFunc(l.stats, func(a, b stat) int {
		if (a.histogram == nil) != (b.histogram == nil) {
			if a.histogram == nil {
				return -1
			}
			return 1
		}
		return bytes.Compare(l.name(&a), l.name(&b))
	})
	return l
}

// quantiles are those that Envoy prints.
var quantiles = [...]float64{0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1}

// WriteText writes all values as Envoy's /stats does, one "name: value" a line.
func (r *Registry) WriteText(w io.Writer, q Query) error {
	l := r.list(q)
	out := bufio.NewWriterSize(w, 32<<10)
	for i := range l.stats {
		s := &l.stats[i]
		line := append(out.AvailableBuffer(), l.name(s)...)
		line = append(line, ": "...)
		if s.histogram != nil {
			line = appendQuantiles(line, s.histogram)
		} else {
			line = appendFloat(line, s.value)
		}
		if _, err := out.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return out.Flush()
}

// appendQuantiles writes "P50(nan,7)": Envoy's pair is the last interval, which is
// not kept here, and the whole life.
func appendQuantiles(dst []byte, r *reading) []byte {
	if r.count() == 0 {
		return append(dst, "No recorded values"...)
	}
	for i, q := range quantiles {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, 'P')
		dst = strconv.AppendFloat(dst, q*100, 'g', 4, 64)
		dst = append(dst, "(nan,"...)
		dst = strconv.AppendFloat(dst, r.quantile(q), 'g', 6, 64)
		dst = append(dst, ')')
	}
	return dst
}

// jsonStat is a member of /stats?format=json.
type jsonStat struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// WriteJSON writes single values as Envoy's /stats?format=json does. Histograms
// appear as their count and sum.
func (r *Registry) WriteJSON(w io.Writer, q Query) error {
	l := r.list(q)
	out := bufio.NewWriterSize(w, 32<<10)
	if _, err := out.WriteString(`{"stats":[`); err != nil {
		return err
	}
	first := true
	put := func(name string, value float64) error {
		text, err := json.Marshal(jsonStat{Name: name, Value: value})
		if err != nil {
			return err
		}
		if !first {
			text = append([]byte{','}, text...)
		}
		first = false
		_, err = out.Write(text)
		return err
	}
	for i := range l.stats {
		s := &l.stats[i]
		name := string(l.name(s))
		if s.histogram == nil {
			if err := put(name, s.value); err != nil {
				return err
			}
			continue
		}
		if err := put(name+".count", float64(s.histogram.count())); err != nil {
			return err
		}
		if err := put(name+".sum", s.histogram.sum); err != nil {
			return err
		}
	}
	if _, err := out.WriteString("]}\n"); err != nil {
		return err
	}
	return out.Flush()
}

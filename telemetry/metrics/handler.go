package metrics

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// maxFilter bounds the filter expression of a request.
const maxFilter = 1024

// Prometheus answers every request with all values in Prometheus' text format.
// "usedonly" and "filter" narrow it.
func (r *Registry) Prometheus() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.serve(w, req, PrometheusType, r.WritePrometheus)
	})
}

// Stats answers as Envoy's /stats does: "filter" is a regular expression on names,
// "usedonly" leaves out zeros, "format" is text, json or prometheus.
func (r *Registry) Stats() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch format := req.URL.Query().Get("format"); format {
		case "", "text":
			r.serve(w, req, "text/plain; charset=utf-8", r.WriteText)
		case "json":
			r.serve(w, req, "application/json", r.WriteJSON)
		case "prometheus":
			r.serve(w, req, PrometheusType, r.WritePrometheus)
		default:
			http.Error(w, "unknown format: use text, json or prometheus", http.StatusBadRequest)
		}
	})
}

func (r *Registry) serve(w http.ResponseWriter, req *http.Request, contentType string, write func(io.Writer, Query) error) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET is possible here", http.StatusMethodNotAllowed)
		return
	}
	q, err := parseQuery(req.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Vary", "Accept-Encoding")
	var out io.Writer = w
	if acceptsGzip(req.Header.Get("Accept-Encoding")) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		defer func() { _ = z.Close() }() // fails only when the scraper left
		out = z
	}
	_ = write(out, q) // fails only when the scraper left
}

func parseQuery(v url.Values) (Query, error) {
	q := Query{UsedOnly: v.Has("usedonly")}
	filter := v.Get("filter")
	if filter == "" {
		return q, nil
	}
	if len(filter) > maxFilter {
		return Query{}, fmt.Errorf("filter is longer than %d bytes", maxFilter)
	}
	re, err := regexp.Compile(filter)
	if err != nil {
		return Query{}, fmt.Errorf("invalid filter: %w", err)
	}
	q.Match = re.MatchString
	return q, nil
}

// acceptsGzip reports whether gzip is offered and not refused by a zero weight.
func acceptsGzip(accept string) bool {
	for offer := range strings.SplitSeq(accept, ",") {
		coding, weight, _ := strings.Cut(strings.TrimSpace(offer), ";")
		if strings.TrimSpace(coding) == "gzip" {
			w := strings.ReplaceAll(weight, " ", "")
			return w != "q=0" && w != "q=0.0" && w != "q=0.00" && w != "q=0.000"
		}
	}
	return false
}

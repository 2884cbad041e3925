package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

func (m *Mux) quit(w http.ResponseWriter, _ *http.Request) {
	if m.config.Hooks.Quit == nil {
		notProvided(w)
		return
	}
	writeText(w, "OK\n")
	_ = http.NewResponseController(w).Flush() // the answer comes before the end
	m.config.Logger.Info("quit requested on the admin port")
	m.config.Hooks.Quit()
}

func (m *Mux) drain(w http.ResponseWriter, r *http.Request) {
	if m.config.Hooks.DrainListeners == nil {
		notProvided(w)
		return
	}
	q := r.URL.Query()
	m.config.Hooks.DrainListeners(q.Has("graceful"), q.Has("inboundonly"))
	writeText(w, "OK\n")
}

func (m *Mux) health(failed bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if m.config.Hooks.FailHealth == nil {
			notProvided(w)
			return
		}
		m.config.Hooks.FailHealth(failed)
		writeText(w, "OK\n")
	}
}

// levelNames are those that Envoy and istioctl know.
var levelNames = []string{"trace", "debug", "info", "warning", "error", "critical", "off"}

// logging lists the levels, and changes them by POST before that.
func (m *Mux) logging(w http.ResponseWriter, r *http.Request) {
	changes, err := levelChanges(r)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case len(changes) > 0 && r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "log levels are changed by POST", http.StatusMethodNotAllowed)
		return
	case len(changes) > 0 && m.config.Hooks.SetLevel == nil:
		notProvided(w)
		return
	}
	for _, c := range changes {
		if err := m.config.Hooks.SetLevel(c.Component, c.Level); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	var b strings.Builder
	b.WriteString("active loggers:\n")
	if m.config.Hooks.Levels != nil {
		for _, l := range m.config.Hooks.Levels() {
			fmt.Fprintf(&b, "  %s: %s\n", l.Component, l.Level)
		}
	}
	writeText(w, b.String())
}

// levelChanges reads ?level=x, ?paths=a:x,b:y and ?a=x.
func levelChanges(r *http.Request) ([]Level, error) {
	var changes []Level
	query := r.URL.Query()
	if len(query) > 1 {
		return nil, fmt.Errorf("one of level, paths or a component's name is expected, not %d", len(query))
	}
	for key, values := range query {
		for _, v := range values {
			switch key {
			case "level":
				changes = append(changes, Level{"", v})
			case "paths":
				for pair := range strings.SplitSeq(v, ",") {
					component, level, _ := strings.Cut(pair, ":")
					changes = append(changes, Level{component, level})
				}
			default:
				changes = append(changes, Level{key, v})
			}
		}
	}
	for _, c := range changes {
		if !slices.Contains(levelNames, c.Level) {
			return nil, fmt.Errorf("unknown log level %q: use one of %s", c.Level, strings.Join(levelNames, ", "))
		}
	}
	return changes, nil
}

package admin

import (
	"bufio"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
)

// State is the life stage of the process, in Envoy's words.
type State string

// The life stages.
const (
	PreInitializing State = "PRE_INITIALIZING"
	Initializing    State = "INITIALIZING"
	Live            State = "LIVE"
	Draining        State = "DRAINING"
)

// Config lends the mux what it shows and does. Every field may be absent: what is
// missing is shown as empty or answered by 501.
type Config struct {
	Logger *slog.Logger
	Server Server
	Dump   Dump
	Hooks  Hooks

	Clusters     iter.Seq[Cluster]
	Listeners    iter.Seq[Listener]
	Certificates iter.Seq[Certificate]

	// Stats and Prometheus answer /stats and /stats/prometheus.
	Stats      http.Handler
	Prometheus http.Handler
}

// Server is what /server_info and /ready tell.
type Server struct {
	// Version is "<commit>/<version>/Clean/RELEASE/<TLS library>".
	Version string
	Start   time.Time
	State   func() State
	// Node is the JSON of the node that istiod was told, or nil.
	Node json.RawMessage
	// Options are shown as command_line_options.
	Options map[string]any
}

func (s *Server) state() State {
	if s.State == nil {
		return Live
	}
	return s.State()
}

// Hooks are the things that a POST can do. They must return soon.
type Hooks struct {
	// Quit ends the process; it is called once the answer is sent.
	Quit func()
	// Levels lists the components with their log levels, sorted.
	Levels func() []Level
	// SetLevel changes the level of a component, or of all where it is empty.
	SetLevel func(component, level string) error
	// DrainListeners stops taking new work; gracefully, and only inbound, as asked.
	DrainListeners func(graceful, inboundOnly bool)
	// FailHealth makes the sidecar unready, or takes that back.
	FailHealth func(failed bool)
}

// Level is the log level of a component.
type Level struct{ Component, Level string }

// Mux is the admin interface.
type Mux struct {
	config Config
	routes map[string]route
}

// route is a path of the interface.
type route struct {
	help   string
	change bool // only by POST
	serve  http.HandlerFunc
}

// New returns the admin interface.
func New(c Config) *Mux {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Mux{config: c}
	m.routes = map[string]route{
		"/":                 {help: "this page", serve: m.help},
		"/help":             {help: "this page", serve: m.help},
		"/certs":            {help: "certificates in use", serve: m.certs},
		"/clusters":         {help: "clusters with their endpoints; ?format=json", serve: m.clusters},
		"/config_dump":      {help: "received configuration; ?include_eds, ?mask=, ?resource=, ?name_regex=", serve: m.configDump},
		"/drain_listeners":  {help: "stop taking new work; ?graceful, ?inboundonly", change: true, serve: m.drain},
		"/healthcheck/fail": {help: "make readiness fail", change: true, serve: m.health(true)},
		"/healthcheck/ok":   {help: "undo /healthcheck/fail", change: true, serve: m.health(false)},
		"/listeners":        {help: "listeners with their addresses; ?format=json", serve: m.listeners},
		"/logging":          {help: "log levels; ?level=, ?paths=name:level,..., ?name=level", serve: m.logging},
		"/memory":           {help: "memory of the process", serve: memory},
		"/quitquitquit":     {help: "end the process", change: true, serve: m.quit},
		"/ready":            {help: "200 where the server is live", serve: m.ready},
		"/server_info":      {help: "version, state and uptime", serve: m.serverInfo},
		"/stats":            {help: "all statistics; ?filter=, ?usedonly, ?format=json|prometheus", serve: lent(c.Stats)},
		"/stats/prometheus": {help: "all statistics for Prometheus; ?usedonly", serve: lent(c.Prometheus)},
	}
	return m
}

func lent(h http.Handler) http.HandlerFunc {
	if h == nil {
		return func(w http.ResponseWriter, _ *http.Request) { notProvided(w) }
	}
	return h.ServeHTTP
}

func notProvided(w http.ResponseWriter) {
	http.Error(w, "this sidecar does not provide it", http.StatusNotImplemented)
}

// ServeHTTP guards and routes a request.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	if why := refuse(r); why != "" {
		m.config.Logger.Warn("admin request refused", slog.String("reason", why), slog.String("remote", r.RemoteAddr))
		http.Error(w, why, http.StatusForbidden)
		return
	}
	rt, ok := m.routes[r.URL.Path]
	if !ok {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprintf(w, "invalid path. admin commands are:\n%s", m.commands())
		return
	}
	allowed := []string{http.MethodGet, http.MethodHead}
	switch {
	case rt.change:
		allowed = []string{http.MethodPost}
	case r.URL.Path == "/logging":
		allowed = []string{http.MethodGet, http.MethodPost}
	}
	if !slices.Contains(allowed, r.Method) {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		http.Error(w, "use "+strings.Join(allowed, " or ")+" here", http.StatusMethodNotAllowed)
		return
	}
	rt.serve(w, r)
}

func (m *Mux) help(w http.ResponseWriter, _ *http.Request) {
	writeText(w, "admin commands are:\n"+m.commands())
}

func (m *Mux) commands() string {
	var b strings.Builder
	paths := make([]string, 0, len(m.routes))
	for p := range m.routes {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		post := ""
		if m.routes[p].change {
			post = " (POST)"
		}
		fmt.Fprintf(&b, "  %s%s: %s\n", p, post, m.routes[p].help)
	}
	return b.String()
}

// writeText answers a text. Writing fails only when the asker left.
func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(text))
}

// writeJSON answers a small value as indented JSON.
func writeJSON(w http.ResponseWriter, v any) {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n'))
}

// stream answers with what write puts into a buffer that is flushed as it fills.
func stream(w http.ResponseWriter, contentType string, write func(*bufio.Writer)) {
	w.Header().Set("Content-Type", contentType)
	out := bufio.NewWriterSize(w, 32<<10)
	write(out)
	_ = out.Flush() // fails only when the asker left
}

package kubestub

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// Verify checks a bearer token and returns its claims.
type Verify func(token string) (map[string]any, error)

// Server answers for a store.
type Server struct {
	store  *Store
	verify Verify
}

// NewServer returns a server of the store; token reviews are decided by verify.
func NewServer(store *Store, verify Verify) *Server {
	return &Server{store: store, verify: verify}
}

// maxBody bounds what a request may carry.
const maxBody = 16 << 20

// request is one API call taken apart.
type request struct {
	*http.Request
	key      key // name is empty for a whole collection
	sub      string
	query    url.Values
	metaOnly bool
	body     Object
}

// ServeHTTP answers one API call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seg := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case r.URL.Path == "/version":
		answer(w, http.StatusOK, Object{"major": "1", "minor": "36", "gitVersion": "v1.36.0", "platform": "linux/amd64"})
	case r.URL.Path == "/apis":
		answer(w, http.StatusOK, Object{"kind": "APIGroupList", "apiVersion": "v1", "groups": []any{}})
	case r.URL.Path == "/api":
		answer(w, http.StatusOK, Object{"kind": "APIVersions", "versions": []string{"v1"}})
	case len(seg) >= 2 && seg[0] == "api":
		s.serveGroup(w, r, "/"+seg[1], seg[2:])
	case len(seg) >= 3 && seg[0] == "apis":
		s.serveGroup(w, r, seg[1]+"/"+seg[2], seg[3:])
	default:
		answer(w, http.StatusOK, "ok") // health
	}
}

func (s *Server) serveGroup(w http.ResponseWriter, r *http.Request, group string, seg []string) {
	if len(seg) == 0 {
		answer(w, http.StatusOK, Object{
			"kind": "APIResourceList", "apiVersion": "v1",
			"groupVersion": strings.TrimPrefix(group, "/"), "resources": []any{},
		})
		return
	}
	q, err := parse(w, r, group, seg)
	if err != nil {
		refuse(w, http.StatusBadRequest, "BadRequest", err.Error())
		return
	}
	switch {
	case r.Method == http.MethodPost && seg[0] == "tokenreviews":
		s.reviewToken(w, q.body)
	case r.Method == http.MethodPost && strings.HasSuffix(seg[0], "accessreviews"):
		q.body["status"] = Object{"allowed": true}
		answer(w, http.StatusCreated, q.body)
	case q.key.name != "" || r.Method == http.MethodPost:
		s.serveObject(w, q)
	case r.Method != http.MethodGet:
		refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "collections can only be read")
	case q.watching():
		s.watch(w, q)
	default:
		s.list(w, q)
	}
}

func parse(w http.ResponseWriter, r *http.Request, group string, seg []string) (*request, error) {
	q := &request{
		Request: r, query: r.URL.Query(), body: Object{},
		metaOnly: strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata"),
	}
	if seg[0] == "namespaces" && len(seg) >= 3 && seg[2] != "status" && seg[2] != "finalize" {
		q.key.namespace, seg = seg[1], seg[2:]
	}
	q.key.collection = group + "/" + seg[0]
	if len(seg) > 1 {
		q.key.name = seg[1]
	}
	if len(seg) > 2 {
		q.sub = seg[2]
	}
	if r.Method != http.MethodPost && r.Method != http.MethodPut && r.Method != http.MethodPatch {
		return q, nil
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, err
	}
	err = yaml.Unmarshal(b, &q.body)
	if r.Method == http.MethodPatch && err != nil {
		q.body, err = nil, nil // a JSON patch is a list: accepted, not applied
	} else if q.body == nil {
		q.body = Object{}
	}
	return q, err
}

func (q *request) watching() bool {
	v := q.query.Get("watch")
	return v != "" && v != "0" && v != "false"
}

// keeps reports whether an object belongs to the answer.
func (q *request) keeps(k key, o Object) bool {
	if q.key.namespace != "" && k.namespace != q.key.namespace {
		return false
	}
	for field := range strings.SplitSeq(q.query.Get("fieldSelector"), ",") {
		if name, ok := strings.CutPrefix(field, "metadata.name="); ok && k.name != name {
			return false
		}
	}
	labels, _ := metaOf(o)["labels"].(map[string]any)
	return selects(q.query.Get("labelSelector"), labels)
}

// view returns o as the caller asked for it.
func (q *request) view(o Object) Object {
	if !q.metaOnly {
		return o
	}
	return Object{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metaOf(o)}
}

func (s *Server) list(w http.ResponseWriter, q *request) {
	found, version := s.store.list(q.key.collection, q.keeps)
	items := make([]any, 0, len(found))
	for _, o := range found {
		items = append(items, q.view(o))
	}
	l := Object{"metadata": Object{"resourceVersion": strconv.FormatInt(version, 10)}, "items": items}
	if q.metaOnly {
		l["kind"], l["apiVersion"] = "PartialObjectMetadataList", "meta.k8s.io/v1"
	}
	answer(w, http.StatusOK, l)
}

// watch sends changes until the request ends.
func (s *Server) watch(w http.ResponseWriter, q *request) {
	if q.query.Get("sendInitialEvents") == "true" {
		refuse(w, http.StatusUnprocessableEntity, "Invalid", "sendInitialEvents is not supported") // callers then list
		return
	}
	from, err := strconv.ParseInt(q.query.Get("resourceVersion"), 10, 64)
	if err != nil {
		from = 0
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	enc, flush := json.NewEncoder(w), http.NewResponseController(w).Flush
	for n := 0; ; {
		var changes []change
		var grown <-chan struct{}
		changes, n, grown = s.store.since(n)
		for _, c := range changes {
			if c.version <= from || c.key.collection != q.key.collection || !q.keeps(c.key, c.object) {
				continue
			}
			if enc.Encode(Object{"type": c.kind, "object": q.view(c.object)}) != nil {
				return
			}
		}
		if flush() != nil {
			return
		}
		select {
		case <-grown:
		case <-q.Context().Done():
			return
		}
	}
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the caller has gone
}

func refuse(w http.ResponseWriter, code int, reason, message string) {
	answer(w, code, Object{
		"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
	})
}

package kubestub

import (
	"net/http"
	"strconv"
	"strings"
)

// serveObject reads or changes one object.
func (s *Server) serveObject(w http.ResponseWriter, q *request) {
	if q.key.name == "" {
		q.key.name = text(metaOf(q.body)["name"])
	}
	code, o := s.store.change(q)
	switch code {
	case http.StatusNotFound:
		refuse(w, code, "NotFound", q.key.collection+"/"+q.key.name+" not found")
	case http.StatusConflict:
		refuse(w, code, "AlreadyExists", q.key.collection+"/"+q.key.name+" exists")
	default:
		answer(w, code, q.view(o))
	}
}

// change carries out q and returns the status and the object that results.
func (s *Store) change(q *request) (int, Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.key.name == "" {
		q.key.name = text(metaOf(q.body)["generateName"]) + strconv.FormatInt(s.version+1, 36)
	}
	old := s.objects[q.key]
	create := q.Method == http.MethodPost && q.sub == "" ||
		q.Method == http.MethodPatch && strings.Contains(q.Header.Get("Content-Type"), "apply")
	switch {
	case old == nil && create:
		return http.StatusCreated, s.record("ADDED", q.key, q.body)
	case old == nil:
		return http.StatusNotFound, nil
	}
	switch q.Method {
	case http.MethodPost:
		if q.sub == "" {
			return http.StatusConflict, nil
		}
	case http.MethodDelete:
		return http.StatusOK, s.record("DELETED", q.key, old)
	case http.MethodPut:
		o := q.body
		if q.sub == "status" {
			o = clone(old)
			o["status"] = q.body["status"]
		}
		return http.StatusOK, s.record("MODIFIED", q.key, o)
	case http.MethodPatch:
		if q.body != nil {
			o := clone(old)
			merge(o, q.body)
			return http.StatusOK, s.record("MODIFIED", q.key, o)
		}
	}
	return http.StatusOK, old
}

// merge applies a merge patch.
func merge(dst, patch Object) {
	for name, v := range patch {
		inner, ok := v.(map[string]any)
		if old, both := dst[name].(map[string]any); ok && both {
			merge(old, inner)
			continue
		}
		if v == nil {
			delete(dst, name)
		} else {
			dst[name] = v
		}
	}
}

// reviewToken answers a TokenReview as the API server does for a pod's token.
func (s *Server) reviewToken(w http.ResponseWriter, review Object) {
	spec, _ := review["spec"].(map[string]any)
	claims, err := s.verify(text(spec["token"]))
	if err != nil {
		review["status"] = Object{"authenticated": false, "error": err.Error()}
		answer(w, http.StatusCreated, review)
		return
	}
	groups := []string{"system:serviceaccounts", "system:authenticated"}
	if parts := strings.Split(text(claims["sub"]), ":"); len(parts) == 4 {
		groups = append(groups, "system:serviceaccounts:"+parts[2])
	}
	review["status"] = Object{
		"authenticated": true, "audiences": claims["aud"],
		"user": Object{"username": claims["sub"], "uid": "testmesh", "groups": groups},
	}
	answer(w, http.StatusCreated, review)
}

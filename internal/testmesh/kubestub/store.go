// Package kubestub is a small stand-in for the Kubernetes API, enough for istiod
// to start and to read Services, EndpointSlices, Pods and Namespaces from it.
//
// New makes an empty store; Put and Delete change it as kubectl would; ServeHTTP
// answers LIST, WATCH, GET, POST, PUT, PATCH and DELETE of any resource, says yes
// to every access review and checks tokens by the function it was given. Watches
// end with their request. JSON only; nothing is validated.
//
// It knows nothing of Istio and keeps no files.
package kubestub

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Object is any Kubernetes object as decoded JSON.
type Object = map[string]any

// key names an object: its collection is "group/version/resource", the group of
// the core API being empty.
type key struct{ collection, namespace, name string }

// change is one entry of the log that watches read.
type change struct {
	version int64
	kind    string // ADDED, MODIFIED, DELETED
	key     key
	object  Object
}

// Store keeps the objects and every change since the start. Objects in it are
// never modified, only replaced.
type Store struct {
	mu      sync.Mutex
	version int64          // guarded by mu
	objects map[key]Object // guarded by mu
	log     []change       // guarded by mu
	grown   chan struct{}  // guarded by mu; closed and replaced at each change
}

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{objects: map[key]Object{}, grown: make(chan struct{})}
}

// Put adds or replaces an object; one that is there already and equal is left alone.
func (s *Store) Put(o Object) error {
	k, err := keyOf(o)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.objects[k]
	switch {
	case old == nil:
		s.record("ADDED", k, o)
	case !same(old, o):
		s.record("MODIFIED", k, o)
	}
	return nil
}

// Delete removes the object that o names; it need not exist.
func (s *Store) Delete(o Object) error {
	k, err := keyOf(o)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.objects[k]; old != nil {
		s.record("DELETED", k, old)
	}
	return nil
}

// record stores a copy of o with its server-side metadata; mu is held.
func (s *Store) record(kind string, k key, o Object) Object {
	s.version++
	o = clone(o)
	m := metaOf(o)
	m["name"], m["resourceVersion"] = k.name, strconv.FormatInt(s.version, 10)
	if k.namespace != "" {
		m["namespace"] = k.namespace
	}
	if m["uid"] == nil {
		m["uid"] = fmt.Sprintf("00000000-0000-0000-0000-%012d", s.version)
	}
	if m["creationTimestamp"] == nil {
		m["creationTimestamp"] = time.Now().UTC().Format(time.RFC3339)
	}
	if kind == "DELETED" {
		delete(s.objects, k)
	} else {
		s.objects[k] = o
	}
	s.log = append(s.log, change{version: s.version, kind: kind, key: k, object: o})
	close(s.grown)
	s.grown = make(chan struct{})
	return o
}

// list returns the objects of a collection for which keep is true, and the
// version of the store they belong to.
func (s *Store) list(collection string, keep func(key, Object) bool) ([]Object, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := []Object{}
	for k, o := range s.objects {
		if k.collection == collection && keep(k, o) {
			items = append(items, o)
		}
	}
	return items, s.version
}

// since returns the changes after the first n of the log, the log's length and a
// channel that is closed when there are more.
func (s *Store) since(n int) ([]change, int, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log[n:], len(s.log), s.grown
}

func keyOf(o Object) (key, error) {
	api, kind, m := text(o["apiVersion"]), text(o["kind"]), metaOf(o)
	if api == "" || kind == "" || text(m["name"]) == "" {
		return key{}, fmt.Errorf("object needs apiVersion, kind and metadata.name, got %q %q %q", api, kind, text(m["name"]))
	}
	if !strings.Contains(api, "/") {
		api = "/" + api
	}
	return key{collection: api + "/" + plural(kind), namespace: text(m["namespace"]), name: text(m["name"])}, nil
}

func plural(kind string) string {
	s := strings.ToLower(kind)
	switch {
	case strings.HasSuffix(s, "endpoints"):
		return s
	case strings.HasSuffix(s, "y") && !strings.HasSuffix(s, "ay"):
		return strings.TrimSuffix(s, "y") + "ies"
	case strings.HasSuffix(s, "s"), strings.HasSuffix(s, "x"):
		return s + "es"
	}
	return s + "s"
}

// same compares two objects without what the server adds.
func same(a, b Object) bool {
	a, b = clone(a), clone(b)
	for _, o := range []Object{a, b} {
		for _, field := range []string{"resourceVersion", "uid", "creationTimestamp"} {
			delete(metaOf(o), field)
		}
	}
	return reflect.DeepEqual(a, b)
}

// metaOf returns o's metadata, added if it has none.
func metaOf(o Object) Object {
	m, ok := o["metadata"].(map[string]any)
	if !ok {
		m = Object{}
		o["metadata"] = m
	}
	return m
}

func text(v any) string { s, _ := v.(string); return s }

// clone copies by way of JSON, which all objects came from.
func clone(o Object) Object {
	b, err := json.Marshal(o)
	if err != nil {
		panic(fmt.Sprintf("object is no JSON: %v", err))
	}
	c := Object{}
	if err := json.Unmarshal(b, &c); err != nil {
		panic(fmt.Sprintf("object is no JSON: %v", err))
	}
	return c
}

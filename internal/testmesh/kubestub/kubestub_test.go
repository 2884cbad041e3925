package kubestub_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/kubestub"
)

func newServer(t *testing.T, objects ...kubestub.Object) (*kubestub.Store, *httptest.Server) {
	t.Helper()
	store := kubestub.NewStore()
	for _, o := range objects {
		if err := store.Put(o); err != nil {
			t.Fatal(err)
		}
	}
	s := httptest.NewServer(kubestub.NewServer(store, func(token string) (map[string]any, error) {
		if token != "good" {
			return nil, errors.New("bad token")
		}
		return map[string]any{"sub": "system:serviceaccount:shop:web", "aud": []any{"istio-ca"}}, nil
	}))
	t.Cleanup(s.Close)
	return store, s
}

func service(name string, labels kubestub.Object) kubestub.Object {
	return kubestub.Object{
		"apiVersion": "v1", "kind": "Service",
		"metadata": kubestub.Object{"name": name, "namespace": "shop", "labels": labels},
	}
}

func call(t *testing.T, s *httptest.Server, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestListSelects(t *testing.T) {
	_, s := newServer(t,
		service("a", kubestub.Object{"app": "a", "tier": "x"}), service("b", kubestub.Object{"app": "b"}), service("c", nil))
	for query, want := range map[string]string{
		"":                                          "abc",
		"?labelSelector=app":                        "ab",
		"?labelSelector=!app":                       "c",
		"?labelSelector=app=a":                      "a",
		"?labelSelector=app==a,tier=x":              "a",
		"?labelSelector=app!=a":                     "bc",
		"?labelSelector=app%20in%20(a,b),tier":      "a",
		"?labelSelector=app%20notin%20(a,z)":        "bc",
		"?fieldSelector=metadata.name=b":            "b",
		"?labelSelector=app&fieldSelector=spec.x=1": "ab",
	} {
		for _, path := range []string{"/api/v1/services", "/api/v1/namespaces/shop/services"} {
			_, text := call(t, s, http.MethodGet, path+query, "")
			var list struct {
				Items []struct{ Metadata struct{ Name string } }
			}
			if err := json.Unmarshal([]byte(text), &list); err != nil {
				t.Fatal(err)
			}
			got := map[string]bool{}
			for _, i := range list.Items {
				got[i.Metadata.Name] = true
			}
			for _, name := range "abc" {
				if got[string(name)] != strings.ContainsRune(want, name) {
					t.Errorf("%s%s: got %v, want %q", path, query, got, want)
				}
			}
		}
	}
	if _, text := call(t, s, http.MethodGet, "/api/v1/namespaces/other/services", ""); !strings.Contains(text, `"items":[]`) {
		t.Errorf("another namespace has services: %s", text)
	}
}

func TestObjectIsCreatedChangedAndDeleted(t *testing.T) {
	_, s := newServer(t)
	const all, one = "/apis/apps/v1/namespaces/n/deployments", "/apis/apps/v1/namespaces/n/deployments/d"
	steps := []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"GET", one, "", 404, "NotFound"},
		{"POST", all, `{"metadata":{"name":"d"},"spec":{"a":1}}`, 201, `"resourceVersion":"1"`},
		{"POST", all, `{"metadata":{"name":"d"}}`, 409, "AlreadyExists"},
		{"PATCH", one, `{"spec":{"a":null,"b":2}}`, 200, `"spec":{"b":2}`},
		{"PUT", one + "/status", `{"status":{"ok":true}}`, 200, `"status":{"ok":true}`},
		{"GET", one, "", 200, `"spec":{"b":2}`},
		{"PUT", one, `{"spec":{"c":3}}`, 200, `"spec":{"c":3}`},
		{"DELETE", one, "", 200, `"name":"d"`},
		{"GET", one, "", 404, "NotFound"},
		{"DELETE", all, "", 405, "MethodNotAllowed"},
		{"PUT", one, `{`, 400, "BadRequest"},
	}
	for _, step := range steps {
		code, text := call(t, s, step.method, step.path, step.body)
		if code != step.code || !strings.Contains(text, step.want) {
			t.Errorf("%s %s %s: got %d %s, want %d with %s", step.method, step.path, step.body, code, text, step.code, step.want)
		}
	}
}

func TestWatchTellsEachChangeOnce(t *testing.T) {
	store, s := newServer(t, service("old", nil))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api/v1/services?watch=1&resourceVersion=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	a := service("a", nil)
	changed := service("a", kubestub.Object{"x": "y"})
	for _, o := range []kubestub.Object{a, a, changed} {
		if err := store.Put(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Delete(changed); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(resp.Body)
	for _, want := range []string{"ADDED", "MODIFIED", "DELETED"} {
		if !lines.Scan() {
			t.Fatal(lines.Err())
		}
		var got struct{ Type string }
		if err := json.Unmarshal(lines.Bytes(), &got); err != nil || got.Type != want {
			t.Errorf("got %s, %v, want %s", got.Type, err, want)
		}
	}
}

func TestReviews(t *testing.T) {
	_, s := newServer(t)
	const review = "/apis/authentication.k8s.io/v1/tokenreviews"
	if _, got := call(t, s, "POST", review, `{"spec":{"token":"good"}}`); !strings.Contains(got, `"authenticated":true`) {
		t.Errorf("got %s", got)
	}
	if _, got := call(t, s, "POST", review, `{"spec":{"token":"x"}}`); !strings.Contains(got, `"authenticated":false`) {
		t.Errorf("got %s", got)
	}
	if _, got := call(t, s, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", `{}`); !strings.Contains(got, `"allowed":true`) {
		t.Errorf("got %s", got)
	}
}

func TestPutNamesWhatIsMissing(t *testing.T) {
	if err := kubestub.NewStore().Put(kubestub.Object{"kind": "Pod"}); err == nil {
		t.Error("an object without a name is taken")
	}
}

package match

import "strings"

// Query matches one query parameter. Keys and values are compared undecoded, and
// of a repeated key only the first value counts, as in Envoy.
type Query struct {
	Name string
	// Value is nil where only presence matters.
	Value *String
	// Absent wants the parameter to be missing.
	Absent bool
}

// Match looks at a request path with its query.
func (q *Query) Match(path string) bool {
	value, ok := QueryValue(path, q.Name)
	if q.Absent {
		return !ok
	}
	return ok && (q.Value == nil || q.Value.Match(value))
}

// QueryValue returns the first value of a query parameter.
func QueryValue(path, name string) (string, bool) {
	_, query, _ := strings.Cut(path, "?")
	query, _, _ = strings.Cut(query, "#")
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		if key == name && key != "" {
			return value, true
		}
	}
	return "", false
}

// PathOnly cuts a request path at its query or fragment.
func PathOnly(path string) string {
	if i := strings.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	if i := strings.IndexByte(path, '#'); i >= 0 {
		path = path[:i]
	}
	return path
}

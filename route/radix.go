package route

import "strings"

// radix finds, among strings that were put in, the longest one that is a prefix of
// another string, or a suffix where it is built of reversed strings. It is read-only
// once built.
type radix[T any] struct {
	// label is what leads here from the parent.
	label string
	// begins holds the first byte of each child's label.
	begins   string
	children []*radix[T]
	value    T
	here     bool // value is set: a string ends here
}

// put returns the value of a key, to be set; fresh tells that it is new.
func (n *radix[T]) put(key string) (value *T, fresh bool) {
	for {
		if key == "" {
			fresh = !n.here
			n.here = true
			return &n.value, fresh
		}
		i := strings.IndexByte(n.begins, key[0])
		if i < 0 {
			leaf := &radix[T]{label: key, here: true}
			n.begins += key[:1]
			n.children = append(n.children, leaf)
			return &leaf.value, true
		}
		child := n.children[i]
		same := common(child.label, key)
		if same < len(child.label) { // the way forks within the label
			fork := &radix[T]{label: child.label[:same], begins: child.label[same : same+1], children: []*radix[T]{child}}
			child.label = child.label[same:]
			n.children[i] = fork
			child = fork
		}
		n, key = child, key[same:]
	}
}

func common(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// prefixOf finds the value of the longest key that s begins with; ok is false where
// there is none.
func (n *radix[T]) prefixOf(s string) (value T, ok bool) {
	for {
		if n.here {
			value, ok = n.value, true
		}
		if s == "" {
			return value, ok
		}
		i := strings.IndexByte(n.begins, s[0])
		if i < 0 {
			return value, ok
		}
		n = n.children[i]
		if !strings.HasPrefix(s, n.label) {
			return value, ok
		}
		s = s[len(n.label):]
	}
}

// prefixOfBytes is prefixOf without a string to be made.
func (n *radix[T]) prefixOfBytes(s []byte) (value T, ok bool) {
	for {
		if n.here {
			value, ok = n.value, true
		}
		if len(s) == 0 {
			return value, ok
		}
		i := strings.IndexByte(n.begins, s[0])
		if i < 0 {
			return value, ok
		}
		n = n.children[i]
		if len(s) < len(n.label) || string(s[:len(n.label)]) != n.label {
			return value, ok
		}
		s = s[len(n.label):]
	}
}

// suffixOf is prefixOf of the reversed s, for keys that were reversed.
func (n *radix[T]) suffixOf(s string) (value T, ok bool) {
	for {
		if n.here {
			value, ok = n.value, true
		}
		if s == "" {
			return value, ok
		}
		i := strings.IndexByte(n.begins, s[len(s)-1])
		if i < 0 {
			return value, ok
		}
		n = n.children[i]
		if !endsReversed(s, n.label) {
			return value, ok
		}
		s = s[:len(s)-len(n.label)]
	}
}

// endsReversed reports whether s ends with the reverse of label.
func endsReversed(s, label string) bool {
	if len(s) < len(label) {
		return false
	}
	for i := range len(label) {
		if s[len(s)-1-i] != label[i] {
			return false
		}
	}
	return true
}

func reversed(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

// each visits all values, parents first, each with its key and the value of the
// longest key above it.
func (n *radix[T]) each(key string, above *T, f func(key string, above, value *T)) {
	key += n.label
	if n.here {
		f(key, above, &n.value)
		above = &n.value
	}
	for _, c := range n.children {
		c.each(key, above, f)
	}
}

package kubestub

import (
	"slices"
	"strings"
)

// selects reports whether a label selector in Kubernetes' text form matches.
func selects(selector string, labels Object) bool {
	for selector != "" {
		var term string
		term, selector = cutTerm(selector)
		if !termMatches(strings.TrimSpace(term), labels) {
			return false
		}
	}
	return true
}

// cutTerm splits off the first term; commas inside parentheses do not split.
func cutTerm(s string) (term, rest string) {
	depth := 0
	for i, r := range s {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				return s[:i], s[i+1:]
			}
		}
	}
	return s, ""
}

func termMatches(term string, labels Object) bool {
	if name, set, ok := strings.Cut(term, " "); ok && strings.HasSuffix(set, ")") {
		word, values, _ := strings.Cut(strings.TrimSuffix(set, ")"), "(")
		in := labels[name] != nil && slices.Contains(strings.Split(values, ","), text(labels[name]))
		return in == (strings.TrimSpace(word) == "in")
	}
	if name, value, ok := strings.Cut(term, "!="); ok {
		return text(labels[name]) != value
	}
	if name, value, ok := strings.Cut(term, "="); ok {
		return labels[name] != nil && text(labels[name]) == strings.TrimPrefix(value, "=")
	}
	if name, ok := strings.CutPrefix(term, "!"); ok {
		return labels[name] == nil
	}
	return labels[term] != nil
}

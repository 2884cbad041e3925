package wire

import (
	"fmt"
	"hash/maphash"
	"strings"

	"github.com/outrigger-mesh/outrigger/xds/wire/shape"
)

// Action says what becomes of an extension.
type Action uint8

// The actions of a Verdict.
const (
	// Accept walks the content with all rules.
	Accept Action = iota
	// Ignore walks the content for its structure only: the extension will not be used.
	Ignore
	// Reject makes the resource invalid, unless the extension is marked optional or disabled.
	Reject
)

// Verdict is the decision about one extension.
type Verdict struct {
	Action Action
	// Reason completes the sentence "<extension> …"; empty means "is not supported".
	Reason string
}

// Allow decides about the extensions of one context.
type Allow struct {
	// Types has a verdict per type name (of the content, where it is a TypedStruct). An extension that has a name but
	// no configuration is looked up by its name.
	Types map[string]Verdict
	// Other is for all types that Types does not have.
	Other Verdict
}

// Rules say which extensions are welcome.
type Rules struct {
	// Contexts is keyed by the full name of the field that holds the extension, for example
	// "envoy.config.listener.v3.Filter.typed_config". TypedExtensionConfig and FilterConfig stand for the field that
	// holds them; for a map of extensions the field is the map.
	Contexts map[string]Allow
	// Other is for contexts that are not listed.
	Other Allow
}

// Checker is compiled from Rules and may be shared.
type Checker struct {
	contexts []*Allow // by field index; nil means other
	other    *Allow
	seed     maphash.Seed
}

// NewChecker compiles rules; an unknown context is an error, so that a misspelt rule cannot fail open.
func NewChecker(r Rules) (*Checker, error) {
	c := &Checker{contexts: make([]*Allow, len(shape.Fields)), other: &r.Other, seed: maphash.MakeSeed()}
	var unknown []string
	for name, a := range r.Contexts {
		i := contextAt(name)
		if i < 0 {
			unknown = append(unknown, name)
			continue
		}
		c.contexts[i] = &a
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("no such field: %s", strings.Join(unknown, ", "))
	}
	return c, nil
}

// verdict looks an extension up; key is its type name or, without configuration, its name.
func (c *Checker) verdict(field int, key []byte) Verdict {
	a := c.contexts[field]
	if a == nil {
		a = c.other
	}
	if v, ok := a.Types[string(key)]; ok {
		return v
	}
	return a.Other
}

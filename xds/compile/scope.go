package compile

import (
	"errors"
	"fmt"
)

// scope is a place within a resource: it collects what is wrong below it under
// the field's path.
type scope struct {
	path string
	errs *[]error
}

func newScope() scope { return scope{errs: new([]error)} }

// in goes down to a field.
func (s scope) in(field string) scope {
	if s.path != "" {
		field = s.path + "." + field
	}
	return scope{path: field, errs: s.errs}
}

// at goes down to an element of a repeated field.
func (s scope) at(field string, i int) scope {
	return s.in(fmt.Sprintf("%s[%d]", field, i))
}

func (s scope) fail(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	if s.path != "" {
		err = fmt.Errorf("%s: %w", s.path, err)
	}
	*s.errs = append(*s.errs, err)
}

// check records err, if there is one, and reports whether there was none.
func (s scope) check(err error) bool {
	if err != nil {
		s.fail("%w", err)
	}
	return err == nil
}

func (s scope) err() error { return errors.Join(*s.errs...) }

package compile

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
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

// only refuses every field of a message that is set and not named: in a message
// that decides who may talk to whom, an unknown field must not be lost.
func (s scope) only(m proto.Message, names ...string) {
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if name := string(f.Name()); !slices.Contains(names, name) {
			s.in(name).fail("is not supported")
		}
		return true
	})
	if len(m.ProtoReflect().GetUnknown()) > 0 {
		s.fail("has fields that are not known")
	}
}

// hasUnknown reports whether a message has, on any level, a field that this
// program's version of it does not know.
func hasUnknown(m protoreflect.Message) bool {
	if len(m.GetUnknown()) > 0 {
		return true
	}
	found := false
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				found = hasUnknown(v.Message())
				return !found
			})
		case f.IsMap() || f.Message() == nil:
		case f.IsList():
			for i := 0; i < v.List().Len() && !found; i++ {
				found = hasUnknown(v.List().Get(i).Message())
			}
		default:
			found = hasUnknown(v.Message())
		}
		return !found
	})
	return found
}

// kindOf is the name of the field that is set in a oneof.
func kindOf(m proto.Message, oneof protoreflect.Name) string {
	r := m.ProtoReflect()
	if f := r.WhichOneof(r.Descriptor().Oneofs().ByName(oneof)); f != nil {
		return string(f.Name())
	}
	return "without content"
}

func (s scope) err() error { return errors.Join(*s.errs...) }

package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	anyName   = "google.protobuf.Any"
	redacted  = "[redacted]"
	unknown   = " (undecodable)"
	maxNested = 64
)

var errNested = errors.New("the message nests too deep")

// encoder turns Any values into JSON as Envoy prints it: original field names, and
// secrets replaced. Messages whose type is not registered here become
// {"@type": ..., "value": base64}.
type encoder struct {
	types     resolver
	mark      protoreflect.ExtensionType // the annotation of secrets
	sensitive map[protoreflect.FieldDescriptor]bool
}

// sensitiveName is the annotation of secret fields. It is registered together with
// the messages that use it.
const sensitiveName = "udpa.annotations.sensitive"

func newEncoder() *encoder {
	e := &encoder{sensitive: make(map[protoreflect.FieldDescriptor]bool)}
	if mark, err := protoregistry.GlobalTypes.FindExtensionByName(sensitiveName); err == nil {
		e.mark = mark
	}
	return e
}

// resolver answers every type: unknown ones are bytes, whose JSON form inside an
// Any is {"@type": ..., "value": base64}.
type resolver struct{}

func (resolver) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	mt, err := protoregistry.GlobalTypes.FindMessageByURL(url)
	if err != nil {
		return (*wrapperspb.BytesValue)(nil).ProtoReflect().Type(), nil
	}
	return mt, nil
}

func (resolver) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	return protoregistry.GlobalTypes.FindMessageByName(name)
}

func (resolver) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	return protoregistry.GlobalTypes.FindExtensionByName(name)
}

func (resolver) FindExtensionByNumber(name protoreflect.FullName, n protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	return protoregistry.GlobalTypes.FindExtensionByNumber(name, n)
}

// any encodes a resource. It never fails: of a type that is not known the bytes are
// shown; of one that is known and cannot be searched for secrets, nothing.
func (e *encoder) any(typeURL string, raw []byte) []byte {
	text, err := e.known(typeURL, raw)
	if err == nil {
		return text
	}
	if !errors.Is(err, protoregistry.NotFound) {
		raw = nil
	}
	text, err = json.Marshal(struct {
		Type  string `json:"@type"`
		Value []byte `json:"value"`
	}{typeURL, raw})
	if err != nil {
		return []byte("{}") // a string and bytes always marshal
	}
	return text
}

func (e *encoder) known(typeURL string, raw []byte) ([]byte, error) {
	mt, err := protoregistry.GlobalTypes.FindMessageByURL(typeURL)
	if err != nil {
		return nil, err
	}
	m := mt.New()
	if err := unmarshal(raw, m); err != nil {
		return nil, err
	}
	if err := e.settle(m, 0); err != nil {
		return nil, err
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true, AllowPartial: true, Resolver: e.types}.Marshal(m.Interface())
	if err != nil {
		return nil, err
	}
	quoted, err := json.Marshal(typeURL)
	if err != nil {
		return nil, err
	}
	// protojson varies its white space on purpose; Compact takes that out.
	var out bytes.Buffer
	out.WriteString(`{"@type":`)
	out.Write(quoted)
	if inside := bytes.TrimSpace(text[1:]); len(inside) > 0 && inside[0] != '}' {
		out.WriteByte(',')
	}
	out.Write(text[1:])
	var compact bytes.Buffer
	if err := json.Compact(&compact, out.Bytes()); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
}

func unmarshal(raw []byte, m protoreflect.Message) error {
	return proto.UnmarshalOptions{AllowPartial: true, Resolver: resolver{}}.Unmarshal(raw, m.Interface())
}

// settle makes a message encodable and free of secrets, in place.
func (e *encoder) settle(m protoreflect.Message, depth int) error {
	if depth > maxNested {
		return errNested
	}
	if m.Descriptor().FullName() == anyName {
		return e.settleAny(m, depth)
	}
	var err error
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if e.isSensitive(fd) {
			redact(m, fd, v)
			return true
		}
		err = eachMessage(fd, v, func(inner protoreflect.Message) error { return e.settle(inner, depth+1) })
		return err == nil
	})
	return err
}

// eachMessage calls f for the messages that a field holds.
func eachMessage(fd protoreflect.FieldDescriptor, v protoreflect.Value, f func(protoreflect.Message) error) error {
	switch {
	case fd.IsMap():
		if fd.MapValue().Message() == nil {
			return nil
		}
		var err error
		v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
			err = f(v.Message())
			return err == nil
		})
		return err
	case fd.Message() == nil:
		return nil
	case fd.IsList():
		for i := range v.List().Len() {
			if err := f(v.List().Get(i).Message()); err != nil {
				return err
			}
		}
		return nil
	default:
		return f(v.Message())
	}
}

// settleAny settles what an Any holds, or wraps what is not known.
func (e *encoder) settleAny(m protoreflect.Message, depth int) error {
	fields := m.Descriptor().Fields()
	urlField, valueField := fields.ByNumber(1), fields.ByNumber(2)
	url, raw := m.Get(urlField).String(), m.Get(valueField).Bytes()
	if url == "" {
		return nil
	}
	mt, err := protoregistry.GlobalTypes.FindMessageByURL(url)
	var inner protoreflect.Message
	if err == nil {
		inner = mt.New()
		if unmarshal(raw, inner) != nil {
			// Another name, since protojson would try the known type again.
			m.Set(urlField, protoreflect.ValueOfString(strings.TrimSuffix(url, unknown)+unknown))
			inner = nil
		}
	}
	if inner == nil {
		inner = wrapperspb.Bytes(raw).ProtoReflect()
	} else if err := e.settle(inner, depth+1); err != nil {
		return err
	}
	raw, err = proto.MarshalOptions{AllowPartial: true}.Marshal(inner.Interface())
	if err != nil {
		return err
	}
	m.Set(valueField, protoreflect.ValueOfBytes(raw))
	return nil
}

// isSensitive reports whether a field is annotated as a secret.
func (e *encoder) isSensitive(fd protoreflect.FieldDescriptor) bool {
	s, known := e.sensitive[fd]
	if !known && e.mark != nil {
		marked, ok := proto.GetExtension(fd.Options(), e.mark).(bool)
		s = ok && marked
		e.sensitive[fd] = s
	}
	return s
}

// redact replaces strings and bytes in a secret field, at any depth, and removes
// everything else.
func redact(m protoreflect.Message, fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch {
	case fd.IsMap() || fd.IsList():
		m.Clear(fd)
	case fd.Kind() == protoreflect.StringKind:
		m.Set(fd, protoreflect.ValueOfString(redacted))
	case fd.Kind() == protoreflect.BytesKind:
		m.Set(fd, protoreflect.ValueOfBytes([]byte(redacted)))
	case fd.Message() == nil || fd.Message().FullName() == anyName:
		m.Clear(fd)
	default:
		inner := v.Message()
		inner.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			redact(inner, fd, v)
			return true
		})
	}
}
